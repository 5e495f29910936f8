"""The three sets open as published: splits, units, fills, legends, dates; junk is overlooked."""

import shutil
from collections import Counter
from datetime import date

import numpy as np
import pytest
import rasterio

from geofm.datasets.layouts import find_layout
from geofm.datasets.open import open_dataset
from geofm.errors import DatasetError, SplitError
from geofm.tasks import find_task
from geofm.tiles.leakage import check_leakage
from geofm.tiles.roles import given_roles

NAMES = ("sen1floods11", "hls_burn_scars", "multi_temporal_crops")


@pytest.mark.parametrize("name", NAMES)
def test_every_pixel_is_what_the_files_hold(name, make_set, tmp_path):
    root = make_set(name, tmp_path / "set")
    layout = find_layout(name)
    task = find_task(layout.task)
    pairs = open_dataset(name, root)
    assert all(pair.split for pair in pairs)
    for pair in pairs:
        image = next(root.rglob(f"{pair.name}{layout.images}"))
        with rasterio.open(image) as file:
            stored = file.read().astype(np.float32)
        pixels = pair.scene.read()
        values = pixels.values.reshape(stored.shape)
        valid = np.repeat(pixels.valid, len(pair.scene.bands), axis=0)
        fill = layout.reading["nodata"]
        np.testing.assert_array_equal(~valid, (stored == fill))
        np.testing.assert_allclose(
            values[valid], stored[valid] * np.float32(layout.reading["scale"]), rtol=1e-6
        )
        with rasterio.open(next(root.rglob(f"{pair.name}{layout.labels}"))) as file:
            labels = file.read(1)
        expected = np.full(labels.shape, 255)
        for code, number in layout.codes.items():
            expected[labels == code] = number
        np.testing.assert_array_equal(pair.labels.read(), expected)
        assert expected.max() == 255
        assert set(np.unique(expected)) - {255} == set(range(len(task.classes)))


def test_floods(make_set, tmp_path):
    pairs = open_dataset("sen1floods11", make_set("sen1floods11", tmp_path))
    assert Counter(pair.split for pair in pairs) == {"train": 4, "val": 2, "test": 6}
    bolivia = [pair for pair in pairs if pair.facts["event"] == "Bolivia"]
    assert {pair.facts["list"] for pair in bolivia} == {"bolivia"}
    assert {pair.split for pair in bolivia} == {"test"}
    pair = pairs[0]
    assert pair.scene.dates == (date(2018, 2, 15),)
    assert pair.scene.level == "toa"
    assert pair.scene.bands[8] == "nir08"
    assert len(pair.scene.bands) == 13
    assert pair.scene.resolution == pytest.approx(10, rel=0.1)
    grouped = open_dataset("sen1floods11", tmp_path, groups="event")
    assert {pair.group for pair in grouped} == {pair.facts["event"] for pair in pairs}


def test_floods_by_lists_of_stems(make_set, tmp_path):
    """As others keep the splits: text files with a stem a line."""
    root = make_set("sen1floods11", tmp_path)
    before = {pair.name: pair.split for pair in open_dataset("sen1floods11", root)}
    for path in list(root.rglob("flood_*_data.csv")):
        stems = [line.split("_S1Hand")[0] for line in path.read_text().split()]
        path.with_suffix(".txt").write_text("\n".join(stems))
        path.unlink()
    assert {pair.name: pair.split for pair in open_dataset("sen1floods11", root)} == before


@pytest.mark.parametrize("newer", [False, True])
def test_burn_scars_in_both_layouts(make_set, tmp_path, newer):
    pairs = open_dataset("hls_burn_scars", make_set("hls_burn_scars", tmp_path, newer=newer))
    roles = Counter(pair.split for pair in pairs)
    assert roles == ({"train": 3, "val": 2, "test": 1} if newer else {"train": 4, "test": 2})
    pair = next(pair for pair in pairs if "2018190" in pair.name)
    assert pair.scene.dates == (date(2018, 7, 9),)
    assert pair.facts == {"tile": "T10SEH", "year": "2018", "sensor": "S30"}
    assert check_leakage(pairs, given_roles(pairs)).distance > 40_000


def test_crops(make_set, tmp_path):
    root = make_set("multi_temporal_crops", tmp_path)
    pairs = open_dataset("multi_temporal_crops", root)
    assert Counter(pair.split for pair in pairs) == {
        "train": 4,
        "test": 2,
    }  # its makers test on validation
    pair = next(pair for pair in pairs if pair.name == "chip_001_401")
    assert pair.scene.dates == (date(2022, 3, 11), date(2022, 6, 11), date(2022, 9, 11))
    assert pair.scene.bands == ("blue", "green", "red", "nir08", "swir16", "swir22")
    # Without lists and table, folders tell the split, and dates are unknown.
    for name in ("training_data.txt", "validation_data.txt", "chips_df.csv"):
        (root / name).unlink()
    bare = open_dataset("multi_temporal_crops", root)
    assert {p.name: p.split for p in bare} == {p.name: p.split for p in pairs}
    assert bare[0].scene.dates == (None, None, None)


def test_what_is_missing_is_told(make_set, tmp_path):
    root = make_set("sen1floods11", tmp_path)
    chips = sorted(root.rglob("*_S2Hand.tif"))
    chips = [path for path in chips if not path.name.startswith("._")]
    chips[0].unlink()
    next(root.rglob(chips[1].name.replace("S2Hand", "LabelHand"))).unlink()
    extra = chips[2].with_name("Nowhere_1_S2Hand.tif")
    shutil.copy(chips[2], extra)
    labels = next(root.rglob(chips[2].name.replace("S2Hand", "LabelHand")))
    shutil.copy(labels, labels.with_name("Nowhere_1_LabelHand.tif"))
    told = []
    pairs = open_dataset("sen1floods11", root, tell=told.append)
    assert len(pairs) == 10
    assert told == [
        "1 of 12 images have no labels: Bolivia_1",
        "1 of 11 chips are in no official split: Nowhere_1",
        "2 of 12 chips of the official splits are not here, so scores are not those of the whole "
        "set: Bolivia_0, Bolivia_1",
    ]
    with pytest.warns(UserWarning, match=" of "):
        open_dataset("sen1floods11", root)


def test_chips_that_touch_across_the_official_split_are_a_leak(make_set, tmp_path):
    """A chip of the training list, copied to the test list under another name."""
    root = make_set("hls_burn_scars", tmp_path, newer=True)
    test = (root / "splits" / "test.txt").read_text().strip()
    train = (root / "splits" / "train.txt").read_text().split()[0]
    for ending in ("_merged.tif", ".mask.tif"):
        shutil.copy(root / "data" / f"{train}{ending}", root / "data" / f"{test}{ending}")
    pairs = open_dataset("hls_burn_scars", root)
    with pytest.raises(SplitError, match=r"overlap; needed more than 0 m between roles"):
        check_leakage(pairs, given_roles(pairs))


def test_the_real_chip_opens(shared_data):
    (pair,) = open_dataset("sen1floods11", shared_data / "sen1floods11_spain")
    assert pair.name == "Spain_7370579"
    assert pair.scene.dates == (date(2019, 9, 18),)
    assert pair.facts["event"] == "Spain"
    read = pair.labels.read()
    assert set(np.unique(read)) <= {0, 1, 255}
    with rasterio.open(shared_data / "sen1floods11_spain/Spain_7370579_LabelHand.tif") as file:
        np.testing.assert_array_equal(read == 255, file.read(1) == -1)


def test_what_is_no_set_is_said(make_set, tmp_path, pack):
    with pytest.raises(DatasetError, match="unknown data set 'floods'; known: sen1floods11"):
        open_dataset("floods", tmp_path)
    with pytest.raises(DatasetError, match=r"no folder .* of HLS Burn Scars; .* --download"):
        open_dataset("hls_burn_scars", tmp_path / "absent")
    with pytest.raises(DatasetError, match="holds no chip of Sen1Floods11"):
        open_dataset("sen1floods11", tmp_path)
    root = make_set("hls_burn_scars", tmp_path / "set")
    pack(tmp_path / "hls_burn_scars.tar.gz", root, ["training"])
    with pytest.raises(DatasetError, match="hls_burn_scars.tar.gz is not unpacked yet"):
        open_dataset("hls_burn_scars", tmp_path)
