"""The public surface: in memory and on disk the same map; folders written whole."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

import geofm
from geofm.errors import BandError, ConfigError, LabelError, OutputError
from geofm.scenes.synthetic import make_labels


@pytest.fixture
def model(flood_folder: Path) -> geofm.Model:
    return geofm.load_model(flood_folder)


def test_printing_a_model_shows_its_contract(model) -> None:
    text = str(model)
    assert repr(model) == text
    for words in ("tiny flood", "flood", "water", "surface reflectance", "about 10 m", "swir22"):
        assert words in text
    assert (model.task, model.contract.level) == ("flood", "surface")


def test_memory_and_file_hold_the_same_map(model, make_scene, tmp_path) -> None:
    scene = geofm.open_scene(make_scene())
    found = model.map(scene, probabilities=True)
    report = geofm.map_scene(model, scene, tmp_path / "out.tif", probabilities=True)
    for role, step in (("classes", 1), ("confidence", 1), ("probabilities", 0.004)):
        with rasterio.open(report.files[role]) as file:
            stored = file.read()
            assert file.transform == scene.geobox.affine
        here = found[role].to_numpy().reshape(stored.shape)
        if role == "classes":
            np.testing.assert_array_equal(here, stored)
        else:
            np.testing.assert_array_equal(np.isnan(here), stored == 255)
            np.testing.assert_allclose(here[stored != 255], stored[stored != 255] * step, 1e-6)
    assert found.attrs["recipe_sha256"] == report.recipe.digest


def test_the_dataset_explains_itself(model, make_scene) -> None:
    scene = geofm.open_scene(make_scene())
    found = model.map(scene)
    assert set(found.data_vars) == {"classes", "confidence"}
    flags = found.classes.attrs
    assert dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True)) == {
        0: "not_water",
        1: "water",
        253: "unsure",
        254: "masked_by_QA",
        255: "no_data",
    }
    assert flags["flag_values"].dtype == found.classes.dtype == np.uint8
    assert set(np.unique(found.classes)) <= {0, 1, 253, 254, 255}
    grid = scene.to_xarray()
    for name in ("x", "y", "spatial_ref"):
        np.testing.assert_array_equal(found[name], grid[name])
    assert found.spatial_ref.attrs["crs_wkt"] == grid.spatial_ref.attrs["crs_wkt"]


def test_a_map_goes_through_netcdf_attributes(model, make_scene) -> None:
    """Attributes are of the kinds that files can hold."""
    attrs = model.map(geofm.open_scene(make_scene())).attrs
    assert all(isinstance(value, str | float | int) for value in attrs.values())


def test_progress_ends_at_all(model, make_scene) -> None:
    shares: list[float] = []
    model.map(geofm.open_scene(make_scene()), progress=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_scene_that_does_not_fit_is_refused(model, make_scene) -> None:
    with pytest.raises(BandError, match="swir16"):
        model.map(geofm.open_scene(make_scene(bands=("red", "nir08"))))


def test_folders_are_written_once(model, tmp_path) -> None:
    geofm.save(model, tmp_path / "a.geofm")
    with pytest.raises(OutputError, match="overwrite"):
        geofm.save(model, tmp_path / "a.geofm")
    geofm.save(model, tmp_path / "a.geofm", overwrite=True)
    assert str(geofm.load_model(tmp_path / "a.geofm")) == str(model)


def test_pretrain_finetune_map(make_scene, tmp_path) -> None:
    """The whole road in Python, with weights too few to be good."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for seed in (0, 1):
        scene = make_scene(f"images/s{seed}_image.tif", height=80, width=96, seed=seed)
        make_labels(labels / f"s{seed}_label.tif", scene, seed=seed)
    pairs = geofm.open_pairs(images, labels)
    assert [pair.name for pair in pairs] == ["s0_image", "s1_image"]
    shape = geofm.EncoderShape(image_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2)
    encoder = geofm.pretrain(
        [pair.scene for pair in pairs],
        geofm.PretrainConfig(
            encoder=shape, steps=2, batch_size=2, decoder_dim=32, decoder_depth=1, decoder_heads=2
        ),
    )
    geofm.save(encoder, tmp_path / "encoder.geofm")
    encoder = geofm.load_encoder(tmp_path / "encoder.geofm")
    config = geofm.FinetuneConfig(steps=2, batch_size=2, channels=8)
    model = geofm.finetune("flood", pairs, encoder=encoder, config=config)
    geofm.save(model, tmp_path / "flood.geofm")
    found = geofm.load_model(tmp_path / "flood.geofm").map(pairs[0].scene)
    assert found.classes.shape == (80, 96)
    with pytest.raises(ConfigError, match="unknown task"):
        geofm.finetune("floods", pairs)


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        ((), ("a.tif",), "holds no raster"),
        (("a.tif",), ("b.tif",), "no image has labels of its name"),
        (("a.tif",), ("a_label.tif", "a_mask.tif"), "labels of one name"),
    ],
)
def test_folders_that_do_not_pair(tmp_path, images, labels, said) -> None:
    for folder, names in (("images", images), ("labels", labels)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    with pytest.raises(LabelError, match=said):
        geofm.open_pairs(tmp_path / "images", tmp_path / "labels")
    with pytest.raises(LabelError, match="there is no folder"):
        geofm.open_pairs(tmp_path / "absent", tmp_path / "labels")


def test_polygons_pair_with_the_images_they_touch(make_scene, tmp_path) -> None:
    import geopandas
    import shapely

    (tmp_path / "images").mkdir()
    make_scene("images/here.tif")
    make_scene("images/far.tif", transform=rasterio.Affine(10, 0, 9e5, 0, -10, 5e6))
    scene = geofm.open_scene(tmp_path / "images" / "here.tif")
    square = shapely.box(*scene.geobox.extent.boundingbox.buffered(-100, -100))
    frame = geopandas.GeoDataFrame({"kind": ["lake"]}, geometry=[square], crs="EPSG:32633")
    frame.to_file(tmp_path / "water.gpkg")
    with pytest.warns(UserWarning, match="1 of 2 images have no labels: far"):
        pairs = geofm.open_pairs(tmp_path / "images", tmp_path / "water.gpkg", codes={"lake": 1})
    assert [pair.name for pair in pairs] == ["here"]
    assert set(np.unique(pairs[0].labels.read())) == {1, 255}
    with pytest.raises(LabelError, match="lake"):
        geofm.open_pairs(tmp_path / "images", tmp_path / "water.gpkg", codes={"river": 1})
