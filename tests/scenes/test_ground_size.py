"""Chips without a CRS: their ground size is what the user says, and only then."""

import pytest

from geofm.errors import GridError
from geofm.scenes.open import open_scene


def test_a_bare_grid_has_the_size_that_is_given(make_scene):
    path = make_scene(crs=None)
    assert open_scene(path).resolution is None
    scene = open_scene(path, ground_size=30)
    assert scene.resolution == 30
    # What is said of the scene stays with it.
    assert scene.select(bands=["red"], dates=[0]).resolution == 30


def test_a_crs_and_a_size_are_one_too_many(make_scene):
    with pytest.raises(GridError, match=r"has a CRS, which tells .* 10 m on the ground; leave out"):
        open_scene(make_scene(), ground_size=10)


@pytest.mark.parametrize("size", [0, -30, float("nan"), float("inf")])
def test_a_size_is_a_length(make_scene, size):
    with pytest.raises(GridError, match="is no length; give metres such as 30"):
        open_scene(make_scene(crs=None), ground_size=size)
