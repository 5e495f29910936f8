"""A map made again from its receipt: the same bytes, or a sentence on what has changed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

import geofm
from geofm.cli.app import main
from geofm.errors import SceneError
from geofm.predict.again import receipt_of


@pytest.fixture
def first(flood_folder, make_scene, tmp_path, monkeypatch) -> Path:
    """A map that was made from the command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    make_scene("scene.tif", height=90, width=70)
    words = ["map", str(flood_folder), "scene.tif", "-o", "flood.tif", "--probabilities"]
    assert main(words) == 0
    return tmp_path / "flood.tif"


def test_the_same_bytes_on_other_threads(first, capsys) -> None:
    torch.set_num_threads(2)  # the receipt has one
    try:
        assert main(["info", "flood.tif", "--again", "check.tif", "--json"]) == 0
    finally:
        torch.set_num_threads(1)
    told = json.loads(capsys.readouterr().out)
    assert told["same"]
    assert told["equal"] == {"classes": True, "confidence": True, "probabilities": True}
    assert told["changed"] == []
    for name in ("", "_confidence", "_probabilities"):
        ours, theirs = (first.with_name(f"{stem}{name}.tif") for stem in ("check", "flood"))
        assert ours.read_bytes() == theirs.read_bytes()
    with pytest.raises(SceneError, match=r"no receipt beside it \(x\.json\)"):
        receipt_of(first.rename(first.with_name("x.tif")))


def test_a_scene_that_has_changed_is_named(first, capsys) -> None:
    with rasterio.open("scene.tif", "r+") as file:
        pixels = file.read()
        pixels[:, :40, :40] = pixels[:, 40:80, 20:60]
        file.write(pixels)
    assert main(["info", "flood.tif", "--again", "check.tif"]) == 1
    said = capsys.readouterr().out
    assert "other bytes: classes" in said
    assert "changed: the scene: scene.tif held other bytes then" in said
    with rasterio.open("flood.tif") as a, rasterio.open("check.tif") as b:
        share = (a.read() != b.read()).mean()
    assert f"{share:.4%} of the classes differ" in said


def test_a_model_that_has_changed_is_named(first, flood_folder, tmp_path) -> None:
    model = geofm.load_model(flood_folder)
    segmenter = model.trained.segmenter
    with torch.no_grad():
        next(iter(segmenter.head.parameters())).add_(0.5)
    other = geofm.Model(replace(model.trained, name="other", sha256=None))
    made = geofm.map_again(first, "check.tif", other, geofm.open_scene("scene.tif"))
    assert not made.same
    (sentence,) = made.changed
    assert sentence.startswith("the model: tiny flood with weights ")
    assert " then, other with " in sentence


def test_a_version_that_has_changed_is_named(first) -> None:
    item = json.loads(Path("flood.json").read_text())
    receipt = item["properties"]["geofm:receipt"]
    receipt["recipe"]["versions"]["torch"] = "1.0"
    del receipt["scene_files"]
    Path("flood.json").write_text(json.dumps(item))
    made = geofm.map_again(
        first,
        "check.tif",
        geofm.load_model(receipt_model(receipt)),
        geofm.open_scene("scene.tif"),
    )
    assert made.same  # this torch is not that one, and yet
    assert any(line.startswith("versions.torch: 1.0 then") for line in made.changed)
    assert any(line.startswith("perhaps the scene") for line in made.changed)
    assert "the same bytes" in str(made)


def receipt_model(receipt) -> str:
    return receipt["command"].split()[2]


def test_what_is_not_here_is_asked_for(first, flood_folder, tmp_path, capsys) -> None:
    Path("scene.tif").rename("moved.tif")
    assert main(["info", "flood.tif", "--again", "check.tif"]) == 1
    assert "names the scene scene.tif, which is not here; give --scene" in capsys.readouterr().err
    words = ["info", "flood.tif", "--again", "check.tif", "--scene", "moved.tif"]
    assert main([*words, "--model", str(flood_folder)]) == 0
    assert main(["info", "moved.tif", "--again", "other.tif"]) == 1
    assert "moved.tif has no receipt beside it" in capsys.readouterr().err
    assert main(words) == 1
    assert "check.tif exists" in capsys.readouterr().err


def test_a_map_of_python_needs_a_model(flood_folder, make_scene, tmp_path, capsys) -> None:
    scene = geofm.open_scene(make_scene())
    geofm.map_scene(geofm.load_model(flood_folder), scene, tmp_path / "p.tif")
    words = ["info", str(tmp_path / "p.tif"), "--again", str(tmp_path / "q.tif")]
    assert main(words) == 1
    assert "does not say where its model is; give --model" in capsys.readouterr().err
    assert main([*words, "--model", str(flood_folder)]) == 0
    with rasterio.open(tmp_path / "p.tif") as a, rasterio.open(tmp_path / "q.tif") as b:
        np.testing.assert_array_equal(a.read(), b.read())
