"""What a map leaves on the disk, and what it must never touch."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from geofm.errors import OutputError
from geofm.model.folder import save_model
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory, map_to_file
from geofm.predict.scratch import scratch_folder
from geofm.scenes.open import open_scene


@pytest.mark.parametrize("place", ["map.tif", "map_confidence.tif", "map_probabilities.tif"])
def test_no_output_replaces_what_the_map_is_made_from(
    tiny_model, write_raster, dn_of, tmp_path, place
):
    path = write_raster(dn_of(40, 40)).rename(tmp_path / place)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=f"{place} is what the map is made from"):
        map_to_file(
            tiny_model(),
            open_scene(path),
            tmp_path / "map.tif",
            options=MapOptions(overwrite=True),
        )
    assert path.read_bytes() == before


def test_a_link_to_the_scene_is_the_scene(tiny_model, write_raster, dn_of, tmp_path):
    path = write_raster(dn_of(40, 40))
    (tmp_path / "map.tif").hardlink_to(path)
    with pytest.raises(OutputError, match="would be lost"):
        map_to_file(
            tiny_model(),
            open_scene(path),
            tmp_path / "map.tif",
            options=MapOptions(overwrite=True),
        )


@pytest.mark.parametrize("name", ["map.json", "map_confidence.tif", "map_probabilities.tif"])
def test_a_file_beside_the_map_is_kept_unless_told(tiny_model, write_raster, dn_of, tmp_path, name):
    (tmp_path / name).write_text("somebody's")
    with pytest.raises(OutputError, match=f"{name} exists; .* --overwrite"):
        map_to_file(tiny_model(), open_scene(write_raster(dn_of(40, 40))), tmp_path / "map.tif")
    assert (tmp_path / name).read_text() == "somebody's"
    assert not (tmp_path / "map.tif").exists()


def test_no_probabilities_of_another_map_stay_beside_it(tiny_model, write_raster, dn_of, tmp_path):
    model, scene, out = tiny_model(), open_scene(write_raster(dn_of(40, 40))), tmp_path / "map.tif"
    map_to_file(model, scene, out, options=MapOptions(probabilities=True))
    assert (tmp_path / "map_probabilities.tif").exists()
    map_to_file(model, scene, out, options=MapOptions(overwrite=True))
    assert not (tmp_path / "map_probabilities.tif").exists()


def test_other_units_do_not_resume(tiny_model, write_raster, dn_of, tmp_path):
    model, path, out = tiny_model(), write_raster(dn_of(200, 150)), tmp_path / "map.tif"

    class Killed(Exception):
        pass

    def die(share: float, _: str) -> None:
        if share > 0.5:
            raise Killed

    with pytest.raises(Killed):
        map_to_file(model, open_scene(path), out, progress=die)
    assert scratch_folder(out).is_dir()
    lighter = open_scene(path, scale=1e-4, offset=0.1)
    report = map_to_file(model, lighter, out, options=MapOptions(resume=True))
    assert report.resumed_blocks == 0


def test_the_receipt_holds_the_units(tiny_model, write_raster, dn_of, tmp_path):
    scene = open_scene(write_raster(dn_of(40, 40)), scale=1e-4, offset=0.1)
    map_to_file(tiny_model(), scene, tmp_path / "map.tif")
    item = json.loads((tmp_path / "map.json").read_text())
    told = item["properties"]["geofm:receipt"]["scene"]
    assert told["level"] == "surface"
    assert told["offset"] == scene.offset.tolist()
    assert told["scale"] == scene.scale.tolist()


def test_an_unsaved_model_has_the_recipe_of_the_saved_one(
    tiny_model, write_raster, dn_of, tmp_path: Path
):
    model, scene = tiny_model(), open_scene(write_raster(dn_of(40, 40)))
    unsaved = map_in_memory(replace(model, sha256=None), scene).recipe
    saved = map_in_memory(save_model(model, tmp_path / "tiny.geofm"), scene).recipe
    assert unsaved == saved
    assert unsaved.weights != "unsaved"
