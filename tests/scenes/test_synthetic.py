"""Synthetic scenes are the same each time, learnable, and as large as one likes."""

import time

import numpy as np
import pytest
import rasterio

from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_big_scene, water_truth
from geofm.scenes.window import Window


def test_same_arguments_same_scene(make_scene):
    one, same, other = (make_scene(f"{n}.tif", seed=s) for n, s in [(1, 1), (2, 1), (3, 2)])
    assert one.read_bytes() == same.read_bytes()
    assert one.read_bytes() != other.read_bytes()


def test_water_shows_in_the_infrared(make_scene):
    scene = open_scene(make_scene(height=200, width=200, seed=4))
    truth, pixels = water_truth(200, 200, seed=4), scene.read(bands=["nir08"])
    valid, nir = pixels.valid[0], pixels.values[0, 0]
    assert 0.1 < truth.mean() < 0.7
    guess = nir < 0.08
    assert (guess == truth)[valid].mean() > 0.98
    # Lakes, not noise: most neighbours agree.
    assert (truth[1:] == truth[:-1]).mean() > 0.9


def test_the_corner_is_nodata_and_nothing_else(make_scene):
    valid = open_scene(make_scene(height=61, width=83)).read().valid[0]
    assert not valid[-12:, -16:].any()
    assert valid.sum() == valid.size - 12 * 16


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_stored_numbers_say_their_units(make_scene, dtype):
    scene = open_scene(make_scene(dtype=dtype, scale=1.0 if dtype == "float32" else 1e-4))
    assert scene.dtype == dtype
    assert scene.level == "surface"
    assert 0.02 < scene.read().values.mean() < 0.3


@pytest.mark.parametrize("size", [(512, 512), (513, 100), (100, 1025), (40_000, 16_384)])
def test_a_big_scene_is_written_at_once_and_read_everywhere(tmp_path, size):
    started = time.monotonic()
    path = make_big_scene(tmp_path / "big.tif", height=size[0], width=size[1], bands=("red", "nir"))
    assert time.monotonic() - started < 10
    assert path.stat().st_size < 5e6
    scene = open_scene(path)
    assert scene.shape == size
    last = Window(size[0] // 512 * 512 % size[0], 0, 1, 1)
    np.testing.assert_array_equal(
        scene.read_stored(last).dn, scene.read_stored(Window(0, 0, 1, 1)).dn
    )
    with rasterio.open(path) as file:
        assert file.block_shapes[0] == (512, 512)
        assert file.read(1, window=rasterio.windows.Window(size[1] - 1, size[0] - 1, 1, 1)).all()
