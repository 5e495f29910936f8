"""What is said of a batch before it runs is arithmetic on forecasts of some of its scenes."""

import json

import pytest
import torch

import geofm
from geofm.cli.app import main as command_line
from geofm.errors import SceneError


@pytest.fixture
def scenes(scene_folder):
    folder = scene_folder(4, height=64, width=64)
    (folder / "broken.tif").write_bytes(b"II*\0 no raster")
    return folder


@pytest.mark.slow
def test_a_batch_is_its_scenes_over_its_workers(flood_folder, scenes, tmp_path):
    model = geofm.load_model(flood_folder)
    torch.set_num_threads(2)
    found = geofm.estimate_batch(model, scenes, tmp_path / "maps", workers=2, device="cpu")
    assert torch.get_num_threads() == 2  # the caller's own again
    assert (found.scenes, found.probed, found.workers) == (5, 3, 2)
    assert found.least * 2.5 <= found.seconds <= found.most * 2.5
    assert not (tmp_path / "maps").exists()
    assert sorted(path.name for path in scenes.iterdir()) == [
        "broken.tif", "s0.tif", "s1.tif", "s2.tif", "s3.tif",
    ]  # fmt: skip


def test_the_command_maps_nothing(flood_folder, scenes, tmp_path, capsys):
    words = ["batch", flood_folder, scenes, "-o", tmp_path / "maps", "--workers", "1", "--estimate"]
    assert command_line([*map(str, words), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["scenes"] == 5
    assert facts["disk_free"] > facts["disk"] > 0
    assert not (tmp_path / "maps").exists()


def test_no_scene_to_probe_is_said(flood_folder, tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "broken.tif").write_bytes(b"II*\0 no raster")
    model = geofm.load_model(flood_folder)
    with pytest.raises(SceneError, match="none of 1 scenes that were probed can be mapped: .*brok"):
        geofm.estimate_batch(model, tmp_path / "scenes", tmp_path / "maps", device="cpu")
