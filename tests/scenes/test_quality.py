"""Quality layers: codes to classes, and which of them set a pixel aside."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geofm.contract import PixelContract
from geofm.errors import GridError, SceneError
from geofm.scenes.match import match_scene
from geofm.scenes.open import open_scene
from geofm.scenes.quality import (
    FMASK,
    QA_CLASSES,
    QA_PIXEL,
    QA_RADSAT_8_9,
    SCL,
    find_coding,
    qa_flags,
)

CONTRACT = PixelContract(
    bands=("red",),
    level="surface",
    mean=(0.1,),
    std=(0.1,),
    resolution=10,
    masked_qa=("cloud", "cirrus"),
)


@pytest.fixture
def clouded(make_scene, tmp_path):
    """A scene, and a mask on its grid: 4 cloud, 1 shadow."""
    path = make_scene()
    with rasterio.open(path) as file:
        profile, measured = file.profile, file.read_masks(1) != 0
    codes = np.zeros(measured.shape, np.uint8)
    codes[3:9, 5:17], codes[20:25, 30:40] = 4, 1
    mask = tmp_path / "mask.tif"
    with rasterio.open(
        mask, "w", **(profile | {"count": 1, "dtype": "uint8", "nodata": 0})
    ) as file:
        file.write(codes, 1)
    return path, mask, codes, measured


@given(st.sampled_from([FMASK, QA_PIXEL]), st.integers(0, 254))
def test_bits_tell_their_classes(coding, number):
    flags = coding.flags(np.array([number], np.uint16), ["red"])[0]
    told = {name for bit, name in coding.bits if number >> bit & 1}
    assert flags == qa_flags(list(told))


def test_codes_of_the_scene_classification():
    flags = SCL.flags(np.arange(12, dtype=np.uint8), ["red"])
    names = ["fill", "saturated", "", "shadow", "", "", "water", "", "cloud", "cloud", "cirrus"]
    names.append("snow")
    assert list(flags) == [qa_flags([name]) if name else 0 for name in names]


def test_fill_goes_before_the_bits():
    assert FMASK.flags(np.array([255], np.uint8), [])[0] == qa_flags(["fill"])


def test_saturation_counts_in_the_bands_read():
    number = np.array([1 << 3], np.uint16)
    assert QA_RADSAT_8_9.flags(number, ["red"])[0] == qa_flags(["saturated"])
    assert QA_RADSAT_8_9.flags(number, ["blue", "nir08"])[0] == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_any_dtype_tells_the_same(dtype):
    coding = find_coding({4: "cloud", 1: "shadow"})
    numbers = np.array([0, 1, 4, 7], dtype)
    assert list(coding.flags(numbers, [])) == [0, qa_flags(["shadow"]), qa_flags(["cloud"]), 0]


def test_a_cloud_mask_from_a_file(clouded):
    path, mask, codes, measured = clouded
    scene = open_scene(path, quality=mask, masked_qa=["cloud"])
    stored = scene.read_stored()
    np.testing.assert_array_equal(stored.masked[0], measured & (codes != 0))
    np.testing.assert_array_equal(stored.valid[0], measured & (codes == 0))
    named = open_scene(path, quality=mask, quality_codes={4: "cloud", 1: "shadow"})
    assert named.quality.classes == ("cloud", "shadow")
    stored = named.setting_aside(["shadow"]).read_stored()
    np.testing.assert_array_equal(stored.masked[0], measured & (codes == 1))
    # Until somebody chooses, nothing is set aside.
    np.testing.assert_array_equal(named.read_stored().valid[0], measured)


def test_a_scene_travels_with_its_quality(clouded):
    path, mask, *_ = clouded
    scene = open_scene(path, quality=mask, masked_qa=["cloud"])
    again = pickle.loads(pickle.dumps(scene))
    np.testing.assert_array_equal(again.read_stored().masked, scene.read_stored().masked)


def test_pixels_set_aside_are_zero_and_not_valid(clouded):
    path, mask, codes, measured = clouded
    pixels = open_scene(path, quality=mask, masked_qa=["cloud"]).read()
    assert (pixels.values[:, :, codes != 0] == 0).all()
    array = open_scene(path, quality=mask, masked_qa=["cloud"]).to_xarray()
    np.testing.assert_array_equal(np.isnan(array.values[0, 0]), ~measured | (codes != 0))


def test_the_model_chooses_unless_the_user_did(clouded):
    path, mask, codes, measured = clouded
    scene = open_scene(path, quality=mask)
    match = match_scene(CONTRACT, scene)
    assert (match.masked_qa, match.unmasked_qa) == (("cloud",), ("cirrus",))
    np.testing.assert_array_equal(match.scene.read_stored().masked[0], measured & (codes != 0))
    match = match_scene(CONTRACT, open_scene(path, quality=mask, masked_qa=[]))
    assert (match.masked_qa, match.unmasked_qa) == ((), ("cloud", "cirrus"))
    assert not match.scene.read_stored().masked.any()


def test_a_scene_without_quality_says_so(make_scene):
    scene = open_scene(make_scene())
    match = match_scene(CONTRACT, scene)
    assert (match.masked_qa, match.unmasked_qa) == ((), ("cloud", "cirrus"))
    assert "no layer: clouds are not known" in repr(scene)
    with pytest.raises(SceneError, match="has no quality layer; needed one to set aside cloud"):
        scene.setting_aside(["cloud"])
    assert match_scene(replace(CONTRACT, masked_qa=()), scene).unmasked_qa == ()


def test_dates_are_selected_with_their_quality(make_scene, tmp_path):
    days = ("20200105", "20200205")
    masks = []
    for at, day in enumerate(days):
        path = make_scene(f"s_{day}.tif", seed=at, nodata_corner=False)
        with rasterio.open(path) as file:
            profile = file.profile | {"count": 1, "dtype": "uint8", "nodata": None}
        masks.append(tmp_path / f"cloud_{day}.tif")
        with rasterio.open(masks[-1], "w", **profile) as file:
            codes = np.zeros((61, 83), np.uint8)
            codes[at] = 1
            file.write(codes, 1)
    scene = open_scene(
        [tmp_path / f"s_{day}.tif" for day in reversed(days)],
        dates=["2020-02-05", "2020-01-05"], quality=masks, masked_qa=["cloud"],
    )  # fmt: skip
    assert list(np.argwhere(scene.read_stored().masked.any(axis=2))[:, 1]) == [0, 1]
    last = scene.select(dates=[1])
    assert list(np.argwhere(last.read_stored().masked[0].any(axis=1))[:, 0]) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masked_qa": ["clouds"]}, "unknown quality class 'clouds'; known: fill, cloud"),
        ({"masked_qa": ["snow"]}, "tells cloud; asked to set aside snow too; leave it out"),
        ({"quality_codes": "qa"}, "unknown quality codes 'qa'; known: fmask, scl, qa_pixel"),
        ({"quality_codes": {1: "haze"}}, "unknown quality class 'haze'"),
    ],
)
def test_wrong_words(clouded, options, message):
    path, mask, *_ = clouded
    with pytest.raises(SceneError, match=message):
        open_scene(path, quality=mask, **options)


def test_a_mask_of_another_place(clouded, make_scene):
    from affine import Affine

    path, *_ = clouded
    far = make_scene("far.tif", transform=Affine(10, 0, 9e5, 0, -10, 5e5))
    with pytest.raises(GridError, match="far.tif does not overlap the scene's grid"):
        open_scene(path, quality=far)


def test_fmask_of_real_chips(shared_data):
    folder = shared_data / "flood_water_hls_chips"
    seen = 0
    for chip in sorted((folder / "images").glob("*.tif"))[:20]:
        fmask = folder / "fmask" / chip.name
        scene = open_scene(chip, quality=fmask, quality_codes="fmask", masked_qa=["water", "cloud"])
        with rasterio.open(fmask) as file:
            bits = file.read(1)
        aside = (bits != 255) & (bits & 0b100010 != 0)
        np.testing.assert_array_equal(scene.read_stored().masked[0], aside)
        seen += aside.sum()
    assert seen > 10_000


def test_every_class_has_a_bit():
    assert sorted(qa_flags([name]) for name in QA_CLASSES) == [1 << at for at in range(8)]
