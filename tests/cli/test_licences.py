"""A licence that forbids something is said where the model is used."""

import json
from dataclasses import replace

import pytest

import geofm
from geofm.cli.app import main


@pytest.fixture
def bound(flood_folder, tmp_path):
    """A model whose encoder may not be used commercially."""
    model = geofm.load_model(flood_folder)
    encoder = {"name": "base", "licences": ["cc-by-nc-4.0"]}
    provenance = {**model.trained.provenance, "licences": ["mit"], "encoder": encoder}
    folder = tmp_path / "bound.geofm"
    geofm.save(geofm.Model(replace(model.trained, provenance=provenance)), folder)
    return folder


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ([], "NOT FOR COMMERCIAL USE: cc-by-nc-4.0 forbids commercial use"),
        (["--use", "commercial insurance"], "THE STATED USE IS FORBIDDEN: cc-by-nc-4.0"),
        (["--use", "research"], "NOT FOR COMMERCIAL USE"),
    ],
)
def test_a_map_says_what_its_model_forbids(bound, make_scene, tmp_path, capsys, use, said) -> None:
    words = ["map", str(bound), str(make_scene()), "-o", str(tmp_path / "o.tif"), *use]
    assert main(words) == 0
    assert said in capsys.readouterr().out
    assert main([*words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licences"][0].startswith(said[:20])


def test_a_batch_says_what_its_model_forbids(bound, make_scene, tmp_path, capsys) -> None:
    words = ["batch", str(bound), str(make_scene()), "-o", str(tmp_path / "maps")]
    assert main([*words, "--workers", "0", "--use", "commercial"]) == 0
    assert "THE STATED USE IS FORBIDDEN: cc-by-nc-4.0" in capsys.readouterr().out
    assert main([*words, "--workers", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == 1
    assert told["licences"][0].startswith("NOT FOR COMMERCIAL USE")


def test_the_page_of_a_model_says_it_too(bound, capsys) -> None:
    assert main(["info", str(bound)]) == 0
    assert "Not for commercial use: cc-by-nc-4.0" in capsys.readouterr().out


def test_an_open_model_says_nothing(flood_folder, make_scene, tmp_path, capsys) -> None:
    words = ["map", str(flood_folder), str(make_scene()), "-o", str(tmp_path / "o.tif")]
    assert main([*words, "--use", "commercial"]) == 0
    assert "FORBIDDEN" not in capsys.readouterr().out
