"""One recipe, one result: the same bytes for any layout, and after any number of kills."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm.cli.app import main as command_line
from geofm.errors import OutputError, Stopped
from geofm.model.folder import save_model
from geofm.predict import engine, mapping
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_in_memory, map_to_file
from geofm.predict.plan import Layout
from geofm.predict.scratch import scratch_folder
from geofm.scenes.open import open_scene

SMALL_BLOCKS = Layout(strip_width=61, block_rows=1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks on a small scene."""
    monkeypatch.setattr(engine, "plan_layout", lambda *_, **__: SMALL_BLOCKS)


def in_memory(model, scene, layout):
    options = MapOptions(probabilities=True)
    job = replace(engine.prepare(model, scene, options), layout=layout)
    sink = mapping.ArraySink(scene.shape, job.classes)
    engine.run(job, sink)
    return sink, sum(sink.done.values(), engine.SeamSums())


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    strip=st.integers(1, 130),
    rows=st.integers(1, 6),
)
def test_any_layout_gives_the_same_bytes_and_seam_score(
    tiny_model, write_raster, dn_of, height, width, strip, rows
):
    dn = dn_of(height, width)
    dn[:, height // 3 : height // 2, width // 4 :] = 0
    model, scene = tiny_model(), open_scene(write_raster(dn, block=16), scale=1e-4)
    whole, whole_seams = in_memory(model, scene, Layout(width, 99))
    parts, part_seams = in_memory(model, scene, Layout(strip, rows))
    np.testing.assert_array_equal(parts.classes, whole.classes)
    np.testing.assert_array_equal(parts.confidence, whole.confidence)
    np.testing.assert_array_equal(parts.probabilities, whole.probabilities)
    assert part_seams == whole_seams


@pytest.mark.slow
def test_any_memory_ceiling_gives_the_same_files(tiny_model, write_raster, dn_of, tmp_path):
    model = tiny_model(classes=200)
    scene = open_scene(write_raster(dn_of(24, 6_000), block=16))
    outputs, layouts = [], set()
    for memory in (2**30, 400 * 2**20, 410 * 2**20):
        folder = tmp_path / str(memory)
        folder.mkdir()
        options = MapOptions(memory=memory)
        layouts.add(engine.prepare(model, scene, options).layout)
        map_to_file(model, scene, folder / "map.tif", options=options)
        outputs.append(contents(folder))
    assert len(layouts) == 3
    assert outputs[0] == outputs[1] == outputs[2]


def test_file_and_memory_hold_the_same_map(tiny_model, write_raster, dn_of, tmp_path):
    import rasterio

    model, scene = tiny_model(), open_scene(write_raster(dn_of(70, 90)))
    options = MapOptions(probabilities=True)
    report = map_to_file(model, scene, tmp_path / "map.tif", options=options)
    arrays = map_in_memory(model, scene, options=options)
    for name in ("classes", "confidence", "probabilities"):
        with rasterio.open(report.files[name]) as file:
            np.testing.assert_array_equal(file.read().squeeze(), getattr(arrays, name))
    assert report.seam_score == arrays.seam_score


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def processes():
    """Fresh processes with geofm imported: a fork of this one would miss its threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["geofm.api"])
    return context


@pytest.mark.slow
def test_twenty_kills_and_resumes_end_in_the_same_bytes(
    tiny_model, write_raster, dn_of, tmp_path, processes, monkeypatch
):
    """SIGKILL at random moments, from start-up to the last rename, of the command itself."""
    save_model(tiny_model(), tmp_path / "model.geofm")
    scene = write_raster(dn_of(1500, 1200), block=64)
    first, whole, killed = (tmp_path / name for name in ("first", "whole", "killed"))
    for folder in (first, whole, killed):
        folder.mkdir()

    def begin(folder):
        words = ["map", "model.geofm", scene.name, "-o", f"{folder.name}/map.tif", "--resume"]
        child = processes.Process(target=command_line, args=([*words, "--probabilities"],))
        child.start()
        return child

    monkeypatch.chdir(tmp_path)
    begin(first).join()  # the server of processes imports geofm; the next runs are timed
    started = time.monotonic()
    begin(whole).join()
    seconds = time.monotonic() - started
    expected = receipts_aside(whole)
    assert "map.tif" in expected
    assert receipts_aside(first) == expected

    dice = random.Random(11)
    seen_blocks = set()
    for _ in range(20):
        child = begin(killed)
        child.join(dice.uniform(0, 1.05 * seconds))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        seen_blocks.add(journal_lines(killed))
        if (killed / "map.tif").exists():  # the map comes last: all the others are there
            assert receipts_aside(killed) == expected
            for path in list(killed.glob("map*")):
                path.unlink()
            shutil.rmtree(scratch_folder(killed / "map.tif"), ignore_errors=True)
    begin(killed).join()
    assert receipts_aside(killed) == expected
    assert len(seen_blocks) > 3, "the kills came at different moments"
    assert not scratch_folder(killed / "map.tif").exists()


def receipts_aside(folder):
    """The files' bytes; in the receipt, the command names its own output."""
    found = contents(folder)
    if "map.json" in found:
        found["map.json"] = found["map.json"].replace(folder.name.encode(), b"FOLDER")
    return found


def journal_lines(folder):
    journal = scratch_folder(folder / "map.tif") / "journal.jsonl"
    return len(journal.read_text().splitlines()) if journal.exists() else -1


def stop_after(model, scene, out, blocks, **options):
    """Run until some blocks are finished, then stop as SIGTERM does."""

    def stop(done, _):
        if done >= blocks:
            os.kill(os.getpid(), signal.SIGTERM)

    blocks /= sum(
        len(s) for s in SMALL_BLOCKS.strips(engine.prepare(model, scene, MapOptions()).plan)
    )
    with pytest.raises(Stopped, match="go on with --resume"):
        map_to_file(model, scene, out, options=MapOptions(**options), progress=stop)


@pytest.fixture
def stopped(tiny_model, write_raster, dn_of, tmp_path, small_blocks):
    """A run that SIGTERM stopped after four blocks: model, scene, output, expected files."""
    model, scene = tiny_model(), open_scene(write_raster(dn_of(200, 150)))
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    map_to_file(model, scene, whole / "map.tif")
    stop_after(model, scene, part / "map.tif", 4)
    return model, scene, part / "map.tif", contents(whole)


def test_sigterm_finishes_the_block_and_leaves_no_map(stopped):
    _, _, out, _ = stopped
    assert contents(out.parent) == {}
    assert journal_lines(out.parent) == 4


def test_resume_computes_only_what_is_missing(stopped):
    model, scene, out, expected = stopped
    report = map_to_file(model, scene, out, options=MapOptions(resume=True))
    assert report.resumed_blocks == 4
    assert contents(out.parent) == expected


def test_an_unfinished_run_wants_resume_or_overwrite(stopped):
    model, scene, out, expected = stopped
    with pytest.raises(OutputError, match=r"unfinished run for .* go on with --resume, or start"):
        map_to_file(model, scene, out)
    report = map_to_file(model, scene, out, options=MapOptions(overwrite=True))
    assert report.resumed_blocks == 0
    assert contents(out.parent) == expected


@pytest.mark.parametrize("damage", ["bytes", "journal", "plan", "torn line", "missing layer"])
def test_a_damaged_scratch_is_computed_again(stopped, damage):
    model, scene, out, expected = stopped
    folder = scratch_folder(out)
    match damage:
        case "bytes":
            raw = bytearray((folder / "classes.raw").read_bytes())
            raw[10] ^= 1
            (folder / "classes.raw").write_bytes(raw)
        case "journal":
            (folder / "journal.jsonl").unlink()
        case "plan":
            (folder / "plan.json").write_text("{")
        case "torn line":
            text = (folder / "journal.jsonl").read_text()
            (folder / "journal.jsonl").write_text(text[:-20])
        case "missing layer":
            (folder / "confidence.raw").unlink()
    report = map_to_file(model, scene, out, options=MapOptions(resume=True))
    assert report.resumed_blocks == {"bytes": 3, "torn line": 3}.get(damage, 0)
    assert contents(out.parent) == expected


def test_another_recipe_does_not_resume(stopped):
    model, scene, out, expected = stopped
    options = MapOptions(resume=True, overlap=16)
    assert map_to_file(model, scene, out, options=options).resumed_blocks == 0
    assert contents(out.parent)["map.tif"] != expected["map.tif"]


def test_a_changed_scene_does_not_resume(stopped):
    model, scene, out, _ = stopped
    os.utime(scene.paths[0], ns=(1, 1))
    options = MapOptions(resume=True)
    assert map_to_file(model, scene, out, options=options).resumed_blocks == 0


def test_two_runs_on_one_output_do_not_meet(tiny_model, write_raster, dn_of, tmp_path):
    model, scene = tiny_model(), open_scene(write_raster(dn_of(60, 60)))
    out = tmp_path / "map.tif"
    refused = []

    def second_run(*_):
        with pytest.raises(OutputError, match="another run is writing") as error:
            map_to_file(model, scene, out, options=MapOptions(resume=True))
        refused.append(error)

    map_to_file(model, scene, out, progress=second_run)
    assert refused
    assert out.exists()


def test_an_output_that_exists_is_kept_unless_told(tiny_model, write_raster, dn_of, tmp_path):
    model, scene = tiny_model(), open_scene(write_raster(dn_of(60, 60)))
    out = tmp_path / "map.tif"
    map_to_file(model, scene, out)
    before = contents(tmp_path)
    for options in (MapOptions(), MapOptions(resume=True)):
        with pytest.raises(OutputError, match=r"exists.*--overwrite"):
            map_to_file(model, scene, out, options=options)
    assert contents(tmp_path) == before
    map_to_file(model, scene, out, options=MapOptions(overwrite=True))
    assert contents(tmp_path) == before


def test_a_failing_write_leaves_no_map_and_resumes(stopped, monkeypatch):
    model, scene, out, expected = stopped
    from geofm.predict import scratch

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch, "_write_at", full)
    with pytest.raises(OutputError, match=r"cannot write .*No space left.*--resume"):
        map_to_file(model, scene, out, options=MapOptions(resume=True))
    assert contents(out.parent) == {}
    monkeypatch.undo()
    map_to_file(model, scene, out, options=MapOptions(resume=True, overwrite=True))
    assert json.loads(contents(out.parent)["map.json"])["id"] == "map"
    assert contents(out.parent)["map_confidence.tif"] == expected["map_confidence.tif"]


@pytest.mark.parametrize("name", ["map.png", "map", "folder.tif"])
def test_an_output_that_cannot_be_is_refused_first(tiny_model, write_raster, dn_of, tmp_path, name):
    (tmp_path / "folder.tif").mkdir()
    scene = open_scene(write_raster(dn_of(40, 40)))
    with pytest.raises(OutputError, match=r"ending in \.tif|ends in \.tif"):
        map_to_file(tiny_model(), scene, tmp_path / name)


@pytest.mark.parametrize("said", [{"nodata": 1200}, {"scale": 2e-4}, {"level": "surface"}])
def test_a_scene_read_in_another_way_does_not_resume(stopped, said):
    """What the user says of a file is in no file: the same path may be another scene."""
    model, scene, out, _ = stopped
    other = open_scene(scene.paths[0], **({"offset": 0} if "scale" in said else {}), **said)
    expected = 4 if said == {"level": "surface"} else 0  # it says what the file says
    options = MapOptions(resume=True)
    assert map_to_file(model, other, out, options=options).resumed_blocks == expected
