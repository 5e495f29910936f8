"""Made landscapes: the same for the same seed, readable back, and about as hard as real ones."""

from pathlib import Path

import numpy as np
import pytest

from geofm.scenes.labels import open_labels
from geofm.scenes.landscape import CROPS, RESOLUTION, SEASON, make_fire, make_season
from geofm.scenes.open import open_scene
from geofm.tasks import IGNORE, SHARED_BANDS


@pytest.mark.parametrize("make", [make_fire, make_season])
def test_the_same_seed_makes_the_same_files(make, tmp_path: Path) -> None:
    paths = [(tmp_path / f"s{i}.tif", tmp_path / f"l{i}.tif") for i in range(3)]
    for (scene, labels), seed in zip(paths, (5, 5, 6), strict=True):
        make(scene, labels, height=90, width=121, seed=seed)
    stored = [(scene.read_bytes(), labels.read_bytes()) for scene, labels in paths]
    assert stored[0] == stored[1]
    assert stored[0][0] != stored[2][0]
    assert stored[0][1] != stored[2][1]


def test_a_fire_is_seen_in_the_scene_and_dark_soil_looks_like_it(tmp_path: Path) -> None:
    make_fire(tmp_path / "s.tif", tmp_path / "l.tif", height=200, width=260, seed=1)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.bands == SHARED_BANDS
    assert scene.level == "surface"
    assert scene.resolution == pytest.approx(RESOLUTION, rel=1e-3)
    burned = open_labels(tmp_path / "l.tif", scene.geobox).read()
    assert 0.03 < (burned == 1).mean() < 0.5
    nir, swir = scene.read(bands=("nir08", "swir22")).values[0]
    index = (nir - swir) / (nir + swir)
    assert np.median(index[burned == 1]) < 0 < np.median(index[burned == 0])
    # An index with the best of all bounds is wrong in places: there is something to learn.
    best = max(
        ((index < bound) & (burned == 1)).sum() / ((index < bound) | (burned == 1)).sum()
        for bound in np.linspace(-0.4, 0.4, 41)
    )
    assert 0.2 < best < 0.9


def test_a_season_tells_crops_apart_that_a_day_does_not(tmp_path: Path) -> None:
    make_season(
        tmp_path / "s.tif", tmp_path / "l.tif", height=160, width=200, seed=2, cloudy=(0, 0.3, 0, 0)
    )
    scene = open_scene(tmp_path / "s.tif")
    assert list(scene.dates) == list(SEASON)
    pixels = scene.read()
    assert 0.68 < pixels.valid[1].mean() < 0.72
    assert pixels.valid[[0, 2, 3]].all()
    target = open_labels(tmp_path / "l.tif", scene.geobox).read()
    assert set(np.unique(target)) == {*range(len(CROPS)), IGNORE}

    def right(dates: list[int]) -> float:
        """Share of the pixels that are nearest to their class's mean spectrum."""
        use = (target != IGNORE) & pixels.valid[dates].all(axis=0)
        values, codes = pixels.values[dates].reshape(-1, 160, 200)[:, use], target[use]
        means = np.stack([values[:, codes == k].mean(axis=1) for k in range(len(CROPS))])
        deviation = values.std(axis=1)
        far = ((values.T[:, None] - means) / deviation) ** 2
        return float((far.sum(axis=2).argmin(axis=1) == codes).mean())

    single = [right([date]) for date in range(len(SEASON))]
    assert max(single) + 0.05 < right([0, 1, 2, 3])
