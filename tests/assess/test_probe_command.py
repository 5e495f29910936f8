"""`geofm pretrain --probe-images --probe-labels`: a table at the end, and in the card."""

import json

import numpy as np
import pytest
import rasterio

from geofm.cli.app import main
from geofm.scenes.open import open_scene


@pytest.fixture
def labelled_folder(make_scene, tmp_path):
    """Six scenes far from each other, and where near infrared is bright in them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for at in range(6):
        transform = rasterio.Affine(10, 0, 330000 + 20000 * at, 0, -10, 5822040)
        scene = open_scene(make_scene(f"images/{at}.tif", seed=at, transform=transform))
        near_infrared = scene.read().values[0, 3]
        codes = (near_infrared > np.median(near_infrared)).astype(np.uint8)
        with rasterio.open(
            tmp_path / "labels" / f"{at}.tif", "w", driver="GTiff", count=1, dtype="uint8",
            height=codes.shape[0], width=codes.shape[1], transform=transform, crs="EPSG:32633",
        ) as file:  # fmt: skip
            file.write(codes, 1)
    return tmp_path


@pytest.mark.slow
def test_a_probe_at_the_end(labelled_folder, capsys) -> None:
    output = labelled_folder / "e.geofm"
    words = [
        "pretrain", str(labelled_folder / "images"), "-o", str(output), "--steps", "2",
        "--batch-size", "2", "--image-size", "32", "--embed-dim", "32", "--depth", "1",
        "--num-heads", "2", "--probe-images", str(labelled_folder / "images"),
    ]  # fmt: skip
    assert main(words) == 1
    assert "give both" in capsys.readouterr().err
    assert main([*words, "--probe-labels", str(labelled_folder / "labels")]) == 0
    said = capsys.readouterr().out
    assert "raw bands" in said
    scores = json.loads((output / "model.json").read_text())["provenance"]["scores"]
    assert {point["probe of"] for point in scores["linear probe"]["points"]} == {
        "encoder", "random weights", "raw bands"
    }  # fmt: skip
    assert "| labels | probe of | mean IoU |" in (output / "README.md").read_text()
