"""The picture of a scene beside its map: any size, the map's colours, nothing invented."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import geofm
from geofm.errors import OutputError, SceneError
from geofm.plot.scene import class_image, save_scene_beside_map, scene_image
from geofm.scenes.facts import read_facts, read_preview
from geofm.tasks import FLOOD


@pytest.fixture
def mapped(flood_folder, make_scene, tmp_path):
    """Make a scene and its map; returns the scene and the map's path."""

    def run(**options):
        scene = geofm.open_scene(make_scene(**options))
        report = geofm.map_scene(geofm.load_model(flood_folder), scene, tmp_path / "out.tif")
        return scene, report.path

    return run


@pytest.mark.parametrize(
    "options", [{}, {"height": 1, "width": 1}, {"height": 1, "width": 300}, {"height": 200}]
)
def test_a_picture_of_any_size(mapped, tmp_path, options) -> None:
    picture = save_scene_beside_map(*mapped(**options), tmp_path / "out.png")
    pixels = imread(picture)
    assert pixels.shape[1] == 1500
    assert 200 < pixels.shape[0] < 6000


def test_the_map_keeps_its_colours(mapped) -> None:
    _, path = mapped()
    facts, codes = read_facts(path), read_preview(path, side=1600)[0]
    image = class_image(codes, facts)
    for code, kind in enumerate(FLOOD.classes):
        wanted = np.array([int(kind.color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        np.testing.assert_allclose(
            image[codes == code], np.tile(wanted, ((codes == code).sum(), 1)), atol=1e-6
        )


@pytest.mark.parametrize(
    ("bands", "name"),
    [
        (("blue", "green", "red"), "true colour"),
        (("red", "nir08", "swir16"), "false colour: swir16, nir08, red"),
        (("nir",), "nir"),
    ],
)
def test_colours_are_named(make_scene, bands, name) -> None:
    scene = geofm.open_scene(make_scene(bands=bands))
    image, said = scene_image(scene, scene.shape)
    assert said == name
    assert image.shape == (*scene.shape, 3)
    assert (image[-1, -1] == 1).all()  # the nodata corner is white
    assert 0 <= image.min() < image.max() <= 1


def test_a_small_picture_shows_the_same_pixels(make_scene) -> None:
    scene = geofm.open_scene(make_scene(height=130, width=90, nodata_corner=False))
    whole, _ = scene_image(scene, (130, 90))
    small, _ = scene_image(scene, (26, 18))
    np.testing.assert_allclose(small, whole[2::5, 2::5], atol=0.1)


def test_what_cannot_be_drawn(mapped, tmp_path) -> None:
    scene, path = mapped()
    with pytest.raises(SceneError, match="there is no"):
        save_scene_beside_map(scene, tmp_path / "absent.tif", tmp_path / "out.png")
    with pytest.raises(OutputError, match="cannot write"):
        save_scene_beside_map(scene, path, Path(tmp_path / "absent" / "out.png"))
