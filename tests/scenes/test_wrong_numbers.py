"""What would make a wrong map without a word: each is refused in a sentence, or comes out right."""

import http.server
import threading
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geofm.contract import PixelContract
from geofm.errors import BandError, SceneError, UnitsError
from geofm.scenes.match import match_scene
from geofm.scenes.open import open_scene

L2A = PixelContract(
    bands=("red",), level="surface", mean=(0.1,), std=(0.1,), resolution=10, masked_qa=("cloud",)
)


def safe(folder, level, *, offset=None, baseline="05.09", dn=2_000, day="2023-08-21"):
    """A small SAFE product of one band, with as much metadata as a reader needs."""
    name = f"S2A_MSI{level}_{day.replace('-', '')}T100000_N0500_R029_T33UUU_20230822T000000"
    root = folder / f"{name}.SAFE"
    images = root / "GRANULE/X/IMG_DATA"
    images.mkdir(parents=True)
    boa = "BOA" if level == "L2A" else "RADIO"
    quantity = "BOA_QUANTIFICATION_VALUE" if level == "L2A" else "QUANTIFICATION_VALUE"
    offsets = f'<{boa}_ADD_OFFSET band_id="3">{offset}</{boa}_ADD_OFFSET>' if offset else ""
    (root / f"MTD_MSI{level}.xml").write_text(
        f"<P><PROCESSING_LEVEL>Level-{level[1:]}</PROCESSING_LEVEL>"
        f"<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
        f"<PRODUCT_URI>{name}.SAFE</PRODUCT_URI>"
        f"<PRODUCT_START_TIME>{day}T10:00:00Z</PRODUCT_START_TIME>"
        "<IMAGE_FILE>GRANULE/X/IMG_DATA/T33UUU_20230821T100000_B04_10m</IMAGE_FILE>"
        f"<{quantity}>10000</{quantity}>{offsets}"
        '<Spectral_Information bandId="3" physicalBand="B4"/></P>'
    )
    with rasterio.open(
        images / "T33UUU_20230821T100000_B04_10m.jp2", "w", driver="JP2OpenJPEG", count=1,
        height=40, width=50, dtype="uint16", crs="EPSG:32633", QUALITY=100, REVERSIBLE="YES",
        transform=from_origin(500_000, 5_900_000, 10, 10),
    ) as file:  # fmt: skip
        spread = np.random.default_rng(0).integers(-20, 21, (40, 50))
        file.write((dn + spread).astype(np.uint16), 1)
    return root


def test_l1c_is_not_fed_to_a_model_of_l2a(tmp_path):
    scene = open_scene(safe(tmp_path, "L1C", offset=-1000))
    assert (scene.level, scene.offset[0, 0]) == ("toa", np.float32(-0.1))
    with pytest.raises(UnitsError, match=r"is top-of-atmosphere .* the model needs surface refl"):
        match_scene(L2A, scene)


def test_a_product_on_a_server_is_the_product(tmp_path):
    product = safe(tmp_path, "L2A", offset=-1000)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}/{product.name}"
        there, here = open_scene(f"{address}?sig=TOKEN"), open_scene(product)
        assert (there.id, there.dates, there.level) == (here.id, here.dates, here.level)
        np.testing.assert_array_equal(there.read().values, here.read().values)
        assert "TOKEN" not in repr(there)
        web.shutdown()


def test_missing_quality_is_said(tmp_path):
    match = match_scene(L2A, open_scene(safe(tmp_path, "L2A", offset=-1000)))
    assert match.unmasked_qa == ("cloud",)


def test_the_offset_is_applied_once(tmp_path):
    product = safe(tmp_path, "L2A", offset=-1000)
    assert open_scene(product).read().values.mean() == pytest.approx(0.1, abs=1e-3)
    # Of both, the caller's stands in place of the product's, not on top of it.
    assert open_scene(product, offset=-0.1).read().values.mean() == pytest.approx(0.1, abs=1e-3)
    with pytest.raises(UnitsError, match="states an offset .* scale= was given without offset="):
        open_scene(product, scale=1e-4)


def test_an_offset_on_numbers_that_had_it_is_noticed(tmp_path):
    product = safe(tmp_path, "L2A", dn=150)
    with pytest.raises(UnitsError, match="the offset has been applied already: give offset=0"):
        open_scene(product, offset=-0.1)


def test_files_of_one_date_twice(make_scene):
    one, other = make_scene("A_20200105.tif"), make_scene("B_20200105.tif", seed=1)
    for path in (one, other):
        with rasterio.open(path, "r+") as file:
            file.update_tags(GEOFM_DATES="2020-01-05")
    with pytest.raises(
        SceneError, match=r"A_20200105.tif and .*B_20200105.tif hold the same bands"
    ):
        open_scene([one, other])
    scene = open_scene([one, other], dates=["2020-01-05", "2020-01-06"])
    assert scene.dates == (date(2020, 1, 5), date(2020, 1, 6))


def test_bands_of_different_dates_do_not_make_one(tmp_path, make_scene):
    red = make_scene("red.tif", bands=("red",))
    nir = make_scene("nir.tif", bands=("nir",))
    with rasterio.open(nir, "r+") as file:
        file.update_tags(GEOFM_DATES="2020-03-01")
    with pytest.raises(SceneError, match=r"hold different bands on different dates \(2020-01-01, "):
        open_scene([red, nir])


def test_nothing_at_all():
    with pytest.raises(SceneError, match="an empty list of files was given"):
        open_scene([])


def test_a_band_that_no_model_asked_for_is_no_stand_in(tmp_path):
    scene = open_scene(safe(tmp_path, "L2A", offset=-1000))
    with pytest.raises(BandError, match=r"has red; the model needs nir08 too"):
        match_scene(replace(L2A, bands=("red", "nir08"), mean=(0.1, 0.1), std=(0.1, 0.1)), scene)
