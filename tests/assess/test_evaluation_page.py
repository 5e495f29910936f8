"""The page of an evaluation needs no other file, and its commands tell people and machines."""

import json
import re
import shutil
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from geofm.assess.html import png_bytes
from geofm.cli.app import main
from geofm.scenes.synthetic import make_labels

VOID = {"meta", "img"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed by another; keeps what a page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_pictures_are_png_files(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    content = png_bytes(picture)
    (tmp_path / "a.png").write_bytes(content)
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), picture)
    assert content.endswith(zlib.crc32(b"IEND").to_bytes(4, "big"))


@pytest.fixture
def chips(make_scene, tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for seed in range(11):
        path = make_scene(f"images/chip_{seed}.tif", height=33, width=40, seed=seed, crs=None)
        make_labels(labels / f"chip_{seed}.tif", path, seed=seed)
    return ["--images", str(images), "--labels", str(labels), "--ground-size", "10"]


def test_evaluate_prints_a_table_and_writes_a_page(chips, flood_folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["evaluate", str(flood_folder), *chips, "--html", str(page)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for text in (
        "tiny flood on 11 scenes",
        "mean IoU",
        "not water",
        "95 % intervals by drawing 11",
    ):
        assert text in printed
    text = page.read_text()
    reader = Balanced()
    reader.feed(text)
    assert reader.open == []
    assert len(reader.sources) == 4 * 9
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert not re.search(r"https?://", text)
    assert "nan" not in re.sub(r'base64,[^"]*', "", text).lower()


def test_two_models_are_compared_for_machines(chips, flood_folder, tmp_path, capsys):
    # Its card is written to, and the folder is that of all tests.
    own = shutil.copytree(flood_folder, tmp_path / "own.geofm")
    calm = tmp_path / "calm.geofm"
    assert main(["calibrate", str(own), *chips, "-o", str(calm), "--json"]) == 0
    fitted = json.loads(capsys.readouterr().out)
    assert fitted["temperature"] > 0
    assert 0 < fitted["unsure_below"] < 1
    assert main(["evaluate", str(own), str(calm), *chips, "--write-card", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    plain, calibrated = facts["evaluations"]
    assert plain["pixels"]["unsure"] == 0 < calibrated["pixels"]["unsure"]
    assert calibrated["calibration"]["temperature"] == fitted["temperature"]
    assert facts["comparison"]["mean_iou"]["value"] == 0.0
    assert facts["comparison"]["second"] == "calm"
    card = json.loads((calm / "model.json").read_text())["provenance"]["scores"]
    assert card["mean_iou"] == calibrated["mean_iou"]


def test_a_split_is_chosen_where_it_is_given(chips, flood_folder, tmp_path, capsys):
    rows = [
        f"images/chip_{i}.tif,labels/chip_{i}.tif,{'test' if i < 4 else 'val'}" for i in range(11)
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,label,split", *rows]))
    words = ["evaluate", str(flood_folder), "--catalog", str(tmp_path / "pairs.csv")]
    words += ["--ground-size", "10"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 4
    assert main([*words, "--split", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 11
    assert main([*words, "--split", "train"]) == 1
    assert "no scene is of the split train" in capsys.readouterr().err
    assert main(["evaluate", *[str(flood_folder)] * 3, *chips]) == 2
    assert "takes one model, or two" in capsys.readouterr().err
