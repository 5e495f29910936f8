"""A scene gives a model what its contract asks for, or is refused in a sentence."""

from dataclasses import replace

import numpy as np
import pytest

from geofm.contract import PixelContract
from geofm.errors import BandError, GridError, SceneError, UnitsError
from geofm.scenes.match import match_scene, similar_band
from geofm.scenes.open import open_scene

CONTRACT = PixelContract(
    bands=("red", "nir08"), level="surface", mean=(0.1, 0.2), std=(0.1, 0.1), resolution=10
)


@pytest.fixture
def scene(make_scene):
    return open_scene(make_scene(bands=("nir08", "blue", "red")))


def test_bands_come_in_the_models_order(scene):
    match = match_scene(CONTRACT, scene, need_crs=True)
    assert match.scene.bands == ("red", "nir08")
    assert match.substitutions == ()
    np.testing.assert_array_equal(
        match.scene.read().values, scene.read(bands=["red", "nir08"]).values
    )


def test_a_missing_band_and_its_likeness(make_scene, scene):
    other = open_scene(make_scene(bands=("nir", "red")))
    with pytest.raises(
        BandError, match=r"has nir, red; .* needs nir08 too; .* --accept nir08=nir$"
    ):
        match_scene(CONTRACT, other)
    match = match_scene(CONTRACT, other, accept={"nir08": "nir"})
    assert match.substitutions == ("nir08=nir",)
    np.testing.assert_array_equal(
        match.scene.read().values, other.read(bands=["red", "nir"]).values
    )
    # What is there needs no substitute.
    assert match_scene(CONTRACT, scene, accept={"nir08": "nir"}).substitutions == ()


def test_a_missing_band_without_any_likeness(make_scene):
    other = open_scene(make_scene(bands=("blue", "red")))
    with pytest.raises(BandError, match=r"needs nir08 too; choose a scene with them, or a model"):
        match_scene(CONTRACT, other)
    with pytest.raises(BandError, match=r"needs nir08 too"):
        match_scene(CONTRACT, other, accept={"nir08": "nir"})


def test_a_substitution_of_a_band_that_is_not_read(scene):
    with pytest.raises(BandError, match="--accept swir16=nir: the model does not read swir16"):
        match_scene(CONTRACT, scene, accept={"swir16": "nir"})


def test_level(scene):
    with pytest.raises(UnitsError, match="is top-of-atmosphere reflectance; the model needs surf"):
        match_scene(CONTRACT, replace(scene, level="toa"))
    with pytest.raises(UnitsError, match=r"does not say its .* level; .* \(--level surface\)"):
        match_scene(CONTRACT, replace(scene, level="unknown"))


def test_dates(make_scene):
    scene = open_scene(make_scene(dates=2))
    with pytest.raises(SceneError, match="has 2 dates; the model needs 1 date; open 1 date of"):
        match_scene(CONTRACT, scene)


def test_resolution(make_scene, scene):
    with pytest.raises(GridError, match=r"pixels of 10 m .* trained on 30 m; .*=any"):
        match_scene(replace(CONTRACT, resolution=30), scene)
    match = match_scene(replace(CONTRACT, resolution=30), scene, accept={"resolution": "any"})
    assert match.substitutions == ("resolution=any",)
    assert match_scene(replace(CONTRACT, resolution=14.9), scene).substitutions == ()
    assert match_scene(CONTRACT, scene, accept={"resolution": "any"}).substitutions == ()
    with pytest.raises(GridError, match="resolution=20 means nothing"):
        match_scene(CONTRACT, scene, accept={"resolution": "20"})


def test_no_crs(make_scene):
    bare = open_scene(make_scene(crs=None))
    assert match_scene(CONTRACT, bare).scene.geobox.crs is None
    with pytest.raises(GridError, match="has no CRS; needed one to place the map"):
        match_scene(CONTRACT, bare, need_crs=True)


@pytest.mark.parametrize(
    ("name", "among", "likeness"),
    [
        ("nir08", ["blue", "nir"], "nir"),
        ("nir", ["nir08", "nir09"], "nir08"),
        ("swir16", ["cirrus", "swir22"], None),
        ("green", ["pan", "blue"], None),
        ("vv", ["vh"], None),
        ("red", [], None),
    ],
)
def test_similar_bands(name, among, likeness):
    assert similar_band(name, among) == likeness
