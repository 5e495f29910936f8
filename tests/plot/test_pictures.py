"""The picture of a scene beside its map: any size, the map's colours, nothing invented."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from matplotlib.image import imread

import geofm
from geofm import plot
from geofm.assess.chips import NOTHING, RIGHT, WRONG
from geofm.errors import BandError, GridError, OutputError, SceneError
from geofm.page import share_text
from geofm.plot.pictures import MISSED, save_scene_beside_map
from geofm.plot.sources import open_map
from geofm.scenes.facts import read_preview
from geofm.scenes.picture import scene_images, strips, thin_places
from geofm.scenes.window import Window
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
    assert pixels.shape[1] == 1350
    assert 200 < pixels.shape[0] < 6000


def images(figure):
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def colour(text):
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def test_the_map_keeps_its_colours(mapped) -> None:
    _, path = mapped()
    codes = read_preview(path, side=1600)[0]
    (image,) = images(plot.map(path))
    for code, kind in enumerate(FLOOD.classes):
        wanted = np.tile(colour(kind.color), ((codes == code).sum(), 1))
        np.testing.assert_allclose(image[codes == code], wanted, atol=1e-6)
    assert (image[codes == 255] == 1).all()


def test_a_map_looks_the_same_from_file_report_and_dataset(
    flood_folder, make_scene, tmp_path
) -> None:
    scene, model = geofm.open_scene(make_scene()), geofm.load_model(flood_folder)
    report = geofm.map_scene(model, scene, tmp_path / "out.tif")
    for draw in (plot.map, plot.confidence):
        first, *others = (
            images(draw(source))[0] for source in (report, str(report.path), model.map(scene))
        )
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_the_legend_tells_shares(mapped) -> None:
    _, path = mapped(height=64, width=64, nodata_corner=False)
    codes = read_preview(path, side=1600)[0]
    (legend,) = plot.map(path).legends
    share = share_text((codes == 1).mean())
    assert [text.get_text() for text in legend.get_texts()][1] == f"water  {share}"


@pytest.mark.parametrize(
    ("has", "bands", "name"),
    [
        (("blue", "green", "red"), "auto", "true colour"),
        (("red", "nir08", "swir16"), "auto", "false colour: swir16, nir08, red"),
        (("nir",), "auto", "nir"),
        (("blue", "green", "red", "nir"), "false", "false colour: nir, red, green"),
        (("blue", "green", "red", "nir"), ("nir", "nir", "blue"), "nir, nir, blue"),
        (("blue", "green", "red", "nir"), "green", "green"),
    ],
)
def test_colours_are_named(make_scene, has, bands, name) -> None:
    scene = geofm.open_scene(make_scene(bands=has))
    figure = plot.scene(scene, bands)
    assert figure.axes[0].get_title(loc="left").endswith(f"·  {name}")
    (image,) = images(figure)
    assert image.shape == (*scene.shape, 3)
    assert (image[-1, -1] == 1).all()  # the nodata corner is white
    assert 0 <= image.min() < image.max() <= 1


@pytest.mark.parametrize(
    ("bands", "said"),
    [
        ("true", "true colour needs red, green, blue; the scene has red, nir08"),
        (("red", "green"), "one band or three, of red, nir08"),
        ("blue", "it was asked for blue"),
    ],
)
def test_bands_that_are_not_there(make_scene, bands, said) -> None:
    with pytest.raises(BandError, match=said):
        plot.scene(geofm.open_scene(make_scene(bands=("red", "nir08"))), bands)


def test_all_dates_have_one_stretch(make_scene) -> None:
    scene = geofm.open_scene(make_scene(dates=3))
    pixels = scene.read(bands=("red", "green", "blue"))
    values = pixels.values.transpose(1, 0, 2, 3)[:, pixels.valid]
    low, high = np.percentile(values, (2, 98), axis=1)
    together = images(plot.scene(scene, date=None))
    for at in range(3):
        wanted = (pixels.values[at] - low[:, None, None]) / (high - low)[:, None, None]
        wanted = np.clip(wanted, 0, 1).transpose(1, 2, 0)
        wanted[~pixels.valid[at]] = 1
        np.testing.assert_allclose(together[at], wanted, atol=1e-4)
        np.testing.assert_array_equal(images(plot.scene(scene, date=at))[0], together[at])
    np.testing.assert_array_equal(images(plot.scene(scene))[0], together[-1])
    with pytest.raises(SceneError, match="has dates 0 to 2; asked for 3"):
        plot.scene(scene, date=3)


def test_a_small_picture_shows_the_same_pixels(make_scene) -> None:
    scene = geofm.open_scene(make_scene(height=130, width=90, nodata_corner=False))
    whole, _ = scene_images(scene, *thin_places((130, 90), 130))
    small, _ = scene_images(scene, *thin_places((130, 90), 26))
    assert small.shape[1:3] == (26, 18)
    np.testing.assert_allclose(small[0], whole[0, 2::5, 2::5], atol=0.1)


def test_errors_are_where_map_and_labels_differ(mapped) -> None:
    scene, path = mapped(nodata_corner=False)
    codes = read_preview(path, side=1600)[0]
    labels = (np.random.default_rng(0).random(codes.shape) < 0.3).astype(np.uint8)
    labels[:10] = 255
    figure = plot.compare(scene, path, labels)
    beside = images(figure)
    assert len(beside) == 4
    error = beside[3]
    both = labels != 255
    for where, wanted in (
        (~both, NOTHING),
        (both & (codes == labels), RIGHT),
        (both & (codes == 1) & (labels == 0), WRONG),
        (both & (codes == 0) & (labels == 1), MISSED),
    ):
        assert where.any()
        np.testing.assert_allclose(error[where], np.tile(colour(wanted), (where.sum(), 1)))
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    missed = (both & (codes == 0) & (labels == 1)).sum() / both.sum()
    assert f"water missed  {share_text(missed)}" in told
    with pytest.raises(GridError, match="give those of one grid"):
        plot.compare(scene, path, labels[1:])


def test_pictures_draw_into_axes_of_ones_own(mapped) -> None:
    scene, path = mapped()
    figure = Figure()
    for axes, draw in zip(
        figure.subplots(1, 3),
        (partial(plot.scene, scene), partial(plot.map, path), partial(plot.confidence, path)),
        strict=True,
    ):
        assert draw(ax=axes) is figure
        assert axes.images
    assert figure.axes[1].get_legend() is not None


def test_what_is_no_map(make_scene, tmp_path) -> None:
    scene = make_scene()
    with pytest.raises(SceneError, match="holds 6 bands"):
        plot.map(scene)
    with pytest.raises(SceneError, match="DataArray is no map"):
        plot.map(geofm.open_scene(scene).to_xarray())


def test_what_another_map_calls_no_data_is_no_class(tmp_path) -> None:
    codes = np.array([[0, 7, 9], [7, 0, 9]], np.uint8)
    path = tmp_path / "other.tif"
    grid = {"crs": "EPSG:32633", "transform": Affine(10, 0, 400_000, 0, -10, 5_000_000)}
    with rasterio.open(
        path, "w", width=3, height=2, count=1, dtype="uint8", nodata=0, **grid
    ) as file:
        file.write(codes, 1)
    opened = open_map(path)
    assert [kind.name for kind in opened.classes.values()] == ["7", "9"]
    np.testing.assert_array_equal(opened.codes(Window(0, 0, 2, 3)), np.where(codes, codes, 255))
    (image,) = images(plot.map(path))
    assert (image[codes == 0] == 1).all()


def test_what_cannot_be_drawn(mapped, tmp_path) -> None:
    scene, path = mapped()
    with pytest.raises(SceneError, match="there is no"):
        save_scene_beside_map(scene, tmp_path / "absent.tif", tmp_path / "out.png")
    with pytest.raises(OutputError, match="cannot write"):
        save_scene_beside_map(scene, path, Path(tmp_path / "absent" / "out.png"))


@given(
    arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-3, 90)),
    st.integers(1, 200),
)
@settings(max_examples=40)
def test_strips_hold_each_pixel_on_the_grid_once(rows, step) -> None:
    cols = rows.T.ravel()[: rows.size].reshape(rows.shape)
    raster = np.random.default_rng(0).integers(0, 250, (80, 85), np.uint8)
    found = np.full(rows.shape, 255, np.uint8)
    seen = np.zeros(rows.shape, int)
    for window, there, inside in strips(rows, cols, raster.shape, step):
        found[there] = raster[window.slices][inside]
        np.add.at(seen, there, 1)
    on = (rows >= 0) & (rows < 80) & (cols >= 0) & (cols < 85)
    np.testing.assert_array_equal(seen, on)
    np.testing.assert_array_equal(found[on], raster[rows[on], cols[on]])
