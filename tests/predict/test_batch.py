"""A batch in this very process: what is mapped, kept, refused, tried again and set aside."""

import http.server
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

import geofm
from geofm.cli.app import main as command_line
from geofm.errors import BusyError, ConfigError, OutputError, SceneError, Stopped
from geofm.model.folder import load_model_folder, save_model
from geofm.predict import batch as batches
from geofm.predict import mapping, task
from geofm.predict.batch import (
    BUSY_TRIES,
    DEATHS_ALONE,
    DEATHS_AMONG_OTHERS,
    hold_folder,
    name_maps,
)
from geofm.predict.engine import MapOptions, prepare
from geofm.predict.ledger import Line, RunLine, ledger_path, open_ledger, read_ledger
from geofm.predict.task import Job, SceneDone, SceneFailure, SceneTask
from geofm.predict.workers import worker_count
from geofm.scenes.entries import Entry, open_entry

ALONE = {"workers": 0}


@pytest.fixture
def scenes(scene_folder):
    return scene_folder(4, height=40, width=45)


def whole(folder):
    """The bytes of everything but the ledger and what a batch needs while it runs."""
    files = [path for path in folder.iterdir() if path.is_file() and "ledger" not in path.name]
    return {path.name: path.read_bytes() for path in files}


def statuses(folder):
    return {line.scene: line.status for line in read_ledger(ledger_path(folder))}


def test_each_map_has_the_bytes_of_a_single_map(flood_folder, scenes, tmp_path):
    model = geofm.load_model(flood_folder)
    report = geofm.map_batch(
        flood_folder, scenes, tmp_path / "maps", probabilities=True, command="c", **ALONE
    )
    assert report.complete
    assert (report.tally.mapped, report.tally.kept, report.tally.failed) == (4, 0, ())
    single = tmp_path / "single"
    single.mkdir()
    for path in sorted(scenes.iterdir()):
        scene = geofm.open_scene(path)
        geofm.map_scene(
            model, scene, single / path.name, probabilities=True, command="c", device="cpu"
        )
    made = whole(tmp_path / "maps")
    assert {name: made[name] for name in whole(single)} == whole(single)
    assert set(made) - set(whole(single)) == {"collection.json", "classes.vrt", "confidence.vrt"}
    assert set(statuses(tmp_path / "maps").values()) == {"mapped"}
    pixels = sum((40 + n) * 45 for n in range(4))
    assert report.tally.pixels == pixels
    assert report.tally.square_km == pytest.approx(pixels * 100 / 1e6, rel=1e-3)


def test_a_second_run_keeps_what_is_whole_and_makes_what_is_not(flood_folder, scenes, tmp_path):
    maps = tmp_path / "maps"
    geofm.map_batch(flood_folder, scenes, maps, **ALONE)
    before = whole(maps)
    times = {path: path.stat().st_mtime_ns for path in maps.glob("*.tif")}
    (maps / "s1.tif").unlink()  # a map that is gone
    (maps / "s2_confidence.tif").unlink()  # and a part of one
    (maps / ".s3.tif.partial").mkdir()  # and one that a killed run was about to replace
    report = geofm.map_batch(flood_folder, scenes, maps, **ALONE)
    assert (report.tally.mapped, report.tally.kept) == (3, 1)
    assert whole(maps) == before
    assert (maps / "s0.tif").stat().st_mtime_ns == times[maps / "s0.tif"]
    again = geofm.map_batch(flood_folder, scenes, maps, overwrite=True, **ALONE)
    assert (again.tally.mapped, again.tally.kept) == (0, 4)  # the same bytes are not made again


def test_a_scene_is_prepared_once(flood_folder, scenes, tmp_path, monkeypatch):
    prepared = []

    def noted(model, scene, options):  # preparing compares bf16 with fp32, and compiles
        prepared.append(scene.id)
        return prepare(model, scene, options)

    for room in (mapping, task):
        monkeypatch.setattr(room, "prepare", noted)
    geofm.map_batch(flood_folder, scenes, tmp_path / "maps", **ALONE)
    assert prepared == [f"s{n}" for n in range(4)]


def test_threads_are_the_callers_own_again(flood_folder, make_scene, tmp_path):
    maps = tmp_path / "maps"
    geofm.map_batch(flood_folder, make_scene("s.tif"), maps, threads=2, **ALONE)
    item = json.loads((maps / "s.json").read_text())
    assert item["properties"]["geofm:receipt"]["recipe"]["threads"] == 2
    assert torch.get_num_threads() == 1


def test_maps_of_another_recipe_or_scene_are_kept_unless_told(
    flood_folder, scenes, make_scene, tmp_path
):
    maps = tmp_path / "maps"
    geofm.map_batch(flood_folder, scenes, maps, **ALONE)
    before = whole(maps)
    make_scene("scenes/s3.tif", height=43, width=45, seed=9)
    os.utime(scenes / "s3.tif")
    (maps / "s2.json").write_text("{}")
    report = geofm.map_batch(flood_folder, scenes, maps, precision="bf16", **ALONE)
    reasons = {one.name: one.reason for one in report.tally.failed}
    assert 'its recipe has precision "fp32", and now it is "bf16"' in reasons["s0"]
    assert "s2.tif has no receipt" in reasons["s2"]
    assert all("--overwrite" in reason for reason in reasons.values())
    assert {one.tries for one in report.tally.failed} == {1}  # another try would find the same
    report = geofm.map_batch(flood_folder, scenes, maps, **ALONE)
    assert {one.name for one in report.tally.failed} == {"s2", "s3"}
    assert "its scene has changed" in report.tally.failed[1].reason
    assert whole(maps)["s3.tif"] == before["s3.tif"]
    report = geofm.map_batch(flood_folder, scenes, maps, overwrite=True, **ALONE)
    assert (report.tally.mapped, report.tally.kept) == (2, 2)
    assert whole(maps)["s2.tif"] == before["s2.tif"]
    assert whole(maps)["s3.tif"] != before["s3.tif"]


def test_maps_of_another_model_are_refused_at_once(flood_folder, scenes, tmp_path):
    maps = tmp_path / "maps"
    geofm.map_batch(flood_folder, scenes, maps, **ALONE)
    before = whole(maps)
    other = load_model_folder(flood_folder)
    with torch.no_grad():
        next(other.segmenter.parameters()).add_(0.01)
    save_model(replace(other, name="the other"), tmp_path / "other.geofm")
    with pytest.raises(OutputError, match="holds 4 maps of these scenes by another model, tiny"):
        geofm.map_batch(tmp_path / "other.geofm", scenes, maps, **ALONE)
    assert whole(maps) == before
    made = geofm.map_batch(tmp_path / "other.geofm", scenes, maps, overwrite=True, **ALONE)
    assert made.tally.mapped == 4


def test_a_model_in_memory_maps_the_same(flood_folder, scenes, tmp_path):
    geofm.map_batch(flood_folder, scenes, tmp_path / "a", **ALONE)
    unsaved = replace(load_model_folder(flood_folder), sha256=None)
    geofm.map_batch(geofm.api.Model(unsaved), scenes, tmp_path / "b", **ALONE)
    a, b = whole(tmp_path / "a"), whole(tmp_path / "b")
    assert a.pop("collection.json") != b.pop("collection.json")  # named for their folders
    assert a == b


def test_a_corrupt_scene_is_tried_again_then_set_aside(flood_folder, scenes, tmp_path, capsys):
    (scenes / "broken.tif").write_bytes(b"II*\0 no raster")
    words = ["batch", flood_folder, scenes, "-o", tmp_path / "maps", "--workers", "0"]
    assert command_line([*map(str, words), "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert (facts["mapped"], facts["kept"], facts["waiting"]) == (4, 0, 0)
    (failed,) = facts["failed"]
    assert (failed["scene"], failed["tries"]) == ("broken", 3)
    assert "broken.tif" in failed["reason"]
    line = next(one for one in read_ledger(ledger_path(tmp_path / "maps")) if one.scene == "broken")
    assert (line.status, line.tries, line.error) == ("failed", 3, failed["reason"])
    assert command_line([*map(str, words)]) == 3
    page = " ".join(capsys.readouterr().out.split())  # long paths wrap lines
    assert "4 kept, whole from an earlier run, 1 failed" in page
    assert "failed broken:" in page
    (scenes / "broken.tif").unlink()
    assert command_line([*map(str, words)]) == 0
    assert "geofm info" in capsys.readouterr().out


def test_a_scene_that_does_not_fit_is_tried_once(flood_folder, make_scene, tmp_path):
    (tmp_path / "scenes").mkdir()
    make_scene("scenes/rgb.tif", height=30, width=30, bands=("red", "green", "blue"))
    make_scene("scenes/good.tif", height=30, width=30)
    report = geofm.map_batch(flood_folder, tmp_path / "scenes", tmp_path / "maps", **ALONE)
    (failed,) = report.tally.failed
    assert (failed.name, failed.tries) == ("rgb", 1)
    assert "the model needs" in failed.reason
    assert not report.complete


def test_lists_tables_and_stac_name_the_same_maps(flood_folder, scenes, tmp_path):
    names = {f"s{n}.tif" for n in range(4)}
    (tmp_path / "list.txt").write_text("\n".join(f"scenes/s{n}.tif" for n in range(4)))
    (tmp_path / "table.csv").write_text(
        "path,id\n" + "\n".join(f"scenes/s{n}.tif,s{n}" for n in range(4))
    )
    expected = None
    for manifest in (scenes, tmp_path / "list.txt", tmp_path / "table.csv"):
        maps = tmp_path / f"maps of {manifest.name}"
        geofm.map_batch(flood_folder, manifest, maps, **ALONE)
        made = {path.name: path.read_bytes() for path in maps.glob("*.tif")}
        assert set(made) >= names
        expected = expected or made
        assert made == expected


def test_each_item_of_a_collection_is_a_scene(make_scene, tmp_path):
    """Of an item collection, a collection and a catalogue above it; addresses from each file."""
    from geofm.pairing.scenes import find_entries

    (tmp_path / "items").mkdir()
    links = []
    for n in range(3):
        make_scene(f"items/b{n}.tif", height=20, width=20, bands=("red",))
        item = {
            "type": "Feature", "id": f"T{n}", "collection": "sentinel-2-l2a",
            "properties": {
                "datetime": f"2020-01-0{n + 1}T00:00:00Z", "s2:processing_baseline": "02.14",
            },
            "assets": {"B04": {"href": f"./b{n}.tif", "eo:bands": [{"name": "B04"}]}},
        }  # fmt: skip
        (tmp_path / f"items/{n}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{n}.json"})
    items = [json.loads((tmp_path / f"items/{n}.json").read_text()) for n in range(3)]
    below = {"type": "Collection", "id": "c", "links": links}
    above = {"type": "Catalog", "id": "k", "links": [{"rel": "child", "href": "items/c.json"}]}
    together = {"type": "FeatureCollection", "features": items}
    for name, found in {"items/all.json": together, "items/c.json": below, "k.json": above}.items():
        (tmp_path / name).write_text(json.dumps(found))
        entries = list(find_entries([tmp_path / name], items_apart=True))
        assert [entry.id for entry in entries] == ["T0", "T1", "T2"]
        scene = open_entry(entries[1])
        assert (scene.bands, str(scene.dates[0])) == (("red",), "2020-01-02")
    (apart,) = find_entries([tmp_path / "items/all.json"])
    assert len(open_entry(apart).dates) == 3  # elsewhere a collection is the dates of one scene


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a/x.tif", "b/x.tif"], "b/x.tif would be mapped to x.tif, which is taken by a/x.tif"),
        (["a/x.tif", "b/X.tif"], "b/X.tif would be mapped to X.tif, which is taken by a/x.tif"),
        (["x.tif", "x_confidence.tif"], "x_confidence.tif would be mapped to x_confidence.tif"),
        (["collection.tif"], "taken by the list of all maps; give each scene an id of its own"),
        ([], "names no scene"),
    ],
)
def test_names_that_meet_are_refused_before_the_start(paths, said):
    with pytest.raises(SceneError, match=said):
        name_maps([Entry((path,)) for path in paths])


def test_maps_are_named_for_ids_places_products_and_files():
    hls = "h/HLS.S30.T13RCN.2024128T173909.v2.0.B04.tif"
    entries = [
        Entry(("a/T33UUU_20170216.tif",)),
        Entry(("a.tif", "b.tif"), place="lake 1"),
        Entry(("c.tif",), given_id="S2A:x/y"),
        Entry((hls,)),
        Entry(("https://host/d.tif?sig=TOKEN",)),
    ]
    assert name_maps(entries) == [
        "T33UUU_20170216", "lake-1", "S2A-x-y", "HLS.S30.T13RCN.2024128T173909.v2.0", "d",
    ]  # fmt: skip


def test_the_folder_of_the_maps_holds_no_scene(flood_folder, scenes):
    """A folder of maps within the folder of scenes: a second run finds the same four."""
    for _ in range(2):
        report = geofm.map_batch(flood_folder, scenes, scenes / "maps", **ALONE)
        assert report.tally.scenes == 4
    with pytest.raises(SceneError, match="names no scene"):
        geofm.map_batch(flood_folder, scenes, scenes, **ALONE)


@pytest.mark.parametrize("lines", [None, "a.tif\nb.tif"])
def test_a_manifest_of_nothing_ends_before_the_start(flood_folder, tmp_path, lines, capsys):
    manifest = tmp_path / "scenes.txt"
    if lines:
        manifest.write_text(lines)
    words = ["batch", flood_folder, manifest, "-o", tmp_path / "maps", "--workers", "0"]
    assert command_line(list(map(str, words))) == 1
    assert "is not there" in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_a_folder_takes_one_batch_at_a_time(flood_folder, scenes, tmp_path):
    with hold_folder(tmp_path / "maps"), pytest.raises(BusyError, match="another batch is writing"):
        geofm.map_batch(flood_folder, scenes, tmp_path / "maps", **ALONE)
    assert geofm.map_batch(flood_folder, scenes, tmp_path / "maps", **ALONE).complete


def test_a_worker_on_another_disk_ends_the_batch(flood_folder, scenes, tmp_path, monkeypatch):
    from geofm.predict import task

    monkeypatch.setattr(task, "mark_of", lambda folder: folder / "elsewhere")
    with pytest.raises(geofm.GeofmError, match="does not see the folder .* all workers share"):
        geofm.map_batch(flood_folder, scenes, tmp_path / "maps", **ALONE)
    assert not list((tmp_path / "maps").glob("*.tif"))


def test_sigterm_finishes_a_block_and_the_next_run_goes_on(flood_folder, scenes, tmp_path):
    geofm.map_batch(flood_folder, scenes, tmp_path / "maps", command="c", **ALONE)

    def stop(share, _):
        if share >= 0.5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="the same command goes on"):
        geofm.map_batch(flood_folder, scenes, tmp_path / "cut", command="c", progress=stop, **ALONE)
    assert sorted(statuses(tmp_path / "cut").values()) == ["mapped", "mapped", "waiting", "waiting"]
    report = geofm.map_batch(flood_folder, scenes, tmp_path / "cut", command="c", **ALONE)
    assert (report.tally.mapped, report.tally.kept) == (2, 2)
    found, expected = whole(tmp_path / "cut"), whole(tmp_path / "maps")
    del found["collection.json"], expected["collection.json"]  # named for their folders
    assert found == expected


@contextmanager
def small_disk(folder, mebibytes):
    """A file system of its own; skips where this process may not mount one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
        pytest.skip("this process may not mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_runs_full_ends_the_batch_and_loses_nothing(
    flood_folder, scenes, tmp_path, capsys
):
    expected = tmp_path / "expected"
    geofm.map_batch(flood_folder, scenes, expected, command="c", **ALONE)
    with small_disk(tmp_path / "disk", 3) as disk:
        ballast = disk / "ballast"

        def fill(share, _):
            if share >= 0.5 and not ballast.exists():
                free = shutil.disk_usage(disk).free
                ballast.write_bytes(bytes(max(free - 4096, 0)))

        report = geofm.map_batch(
            flood_folder, scenes, disk / "maps", command="c", progress=fill, **ALONE
        )
        assert not report.complete
        assert (report.tally.mapped, report.tally.waiting, report.tally.failed) == (2, 2, ())
        assert "free some space" in report.tally.ended_early
        ballast.unlink()
        words = ["batch", flood_folder, scenes, "-o", disk / "maps", "--workers", "0"]
        assert command_line(list(map(str, words))) == 0
        assert "2 kept" in capsys.readouterr().out
        assert set(statuses(disk / "maps").values()) == {"kept", "mapped"}
        found = whole(disk / "maps")
        for name, content in whole(expected).items():
            if name.endswith(".tif"):
                assert found[name] == content


class _Stalls(http.server.BaseHTTPRequestHandler):
    """Says what there is, and never sends it."""

    def log_message(self, format, *args):  # noqa: A002
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def do_GET(self):
        self.server.asked += 1
        self.server.ended.wait(8)


def test_a_source_that_stalls_is_set_aside_in_time(flood_folder, scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")  # ten seconds by default
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stalls) as web:
        web.asked, web.ended = 0, threading.Event()
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}/stalls.tif"
        manifest = tmp_path / "list.txt"
        manifest.write_text("\n".join([address, *map(str, sorted(scenes.iterdir()))]))
        report = geofm.map_batch(flood_folder, manifest, tmp_path / "maps", tries=2, **ALONE)
        web.ended.set()
        web.shutdown()
    assert report.tally.mapped == 4
    (failed,) = report.tally.failed
    assert (failed.name, failed.tries) == ("stalls", 2)
    assert "stalls.tif cannot be fetched" in failed.reason
    assert web.asked <= 8


def test_the_ledger_takes_up_what_a_full_disk_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    lines = [Line(f"s{n}", f"s{n}.tif", f"s{n}.tif") for n in range(3)]
    run = RunLine("now", "c", "m", "sha", "1 worker")
    with open_ledger(path, lines, run) as ledger:
        lines[0].status = "mapped"
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN IMMEDIATE")  # someone holds the file: as good as a full disk
        ledger.write(lines[0])
        reader.execute("ROLLBACK")
        reader.close()
        assert [line.status for line in read_ledger(path)] == ["waiting"] * 3
        lines[1].status = "failed"
        ledger.write(lines[1])
        assert [line.status for line in read_ledger(path)] == ["mapped", "failed", "waiting"]
    path.write_bytes(b"no database at all, and long enough to be looked at")
    with (
        pytest.raises(OutputError, match="cannot be written as a ledger"),
        open_ledger(path, lines, run),
    ):
        pass


class _Simulated:
    """Workers whose scenes go as a script says, on one clock: the driver's rules alone."""

    shares = 0.0

    def __init__(self, capacity, script):
        self.capacity, self.script = capacity, script
        self.running, self.starts, self.most = [], [], 0

    def start(self, task):
        self.running.append(task.name)
        self.starts.append(task.name)
        self.most = max(self.most, len(self.running))

    def wait(self, _seconds):
        if not self.running:
            return []
        name = self.running.pop(0)
        company = len(self.running)
        outcome = self.script(name, company)
        if outcome == "mapped":
            return [SceneDone(name, kept=False, pixels=1, square_km=1.0, seconds=0.0)]
        return [SceneFailure(name, outcome, f"{name} {outcome}")]

    def stop(self):
        raise AssertionError("nobody asked")


def drive(tmp_path, workers, count, tries=3):
    job = Job(
        model=tmp_path, model_sha256="", folder=tmp_path, mark="", options=MapOptions(), threads=1
    )
    tasks = [SceneTask(job, f"s{n}", Entry((f"s{n}.tif",))) for n in range(count)]
    run = RunLine("now", "c", "m", "sha", "simulated")
    return batches.run_batch(tasks, workers, run=run, tries=tries)


@pytest.mark.parametrize("seed", range(20))
def test_deaths_from_outside_mark_no_good_scene_as_bad(tmp_path, seed):
    """Workers die at random in company; one scene kills every worker that takes it."""
    dice = random.Random(seed)

    def go(name, company):
        if name == "s3" or (company and dice.random() < 0.4):
            return "died"
        return "mapped"

    workers = _Simulated(capacity=dice.randint(1, 5), script=go)
    tally = drive(tmp_path, workers, 20)
    assert [one.name for one in tally.failed] == ["s3"]
    assert tally.failed[0].deaths == DEATHS_AMONG_OTHERS + DEATHS_ALONE
    assert f"{DEATHS_ALONE} of them alone" in tally.failed[0].reason
    assert tally.mapped == 19
    assert workers.most <= workers.capacity


@pytest.mark.parametrize("seed", range(20))
def test_every_batch_ends_and_every_scene_is_accounted_for(tmp_path, seed):
    dice = random.Random(seed)
    outcomes = ["mapped", "died", "failed", "wrong", "stopped", "full"]
    workers = _Simulated(3, lambda *_: dice.choice(outcomes))
    tally = drive(tmp_path, workers, 30, tries=2)
    assert tally.mapped + len(tally.failed) + tally.waiting == 30
    assert not tally.waiting or "full" in tally.ended_early
    counts = {name: workers.starts.count(name) for name in workers.starts}
    assert max(counts.values()) < 40


def test_an_output_that_another_run_holds_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_LONGEST_WAIT", 0.001)
    looks = iter(["busy"] * (BUSY_TRIES - 1))
    tally = drive(tmp_path, _Simulated(1, lambda *_: next(looks, "mapped")), 1)
    assert (tally.mapped, tally.failed) == (1, ())
    tally = drive(tmp_path, _Simulated(1, lambda *_: "busy"), 1)
    assert len(tally.failed) == 1


def test_a_full_disk_ends_the_batch_after_a_few_scenes(tmp_path):
    workers = _Simulated(2, lambda *_: "full")
    tally = drive(tmp_path, workers, 1000)
    assert (tally.waiting, tally.failed) == (1000, ())
    assert len(workers.starts) <= 12
    assert {line.status for line in read_ledger(tally.ledger)} == {"waiting"}


def test_a_scene_too_large_for_the_disk_does_not_hold_up_the_others(tmp_path):
    tally = drive(tmp_path, _Simulated(2, lambda name, _: "full" if name == "s0" else "mapped"), 9)
    assert (tally.mapped, tally.waiting) == (8, 1)


GIB = 2**30


def test_workers_by_rule():
    def count(cores, memory, gpus=0, ceiling=2 * GIB, weights=GIB // 2):
        return worker_count(cores=cores, memory=memory, gpus=gpus, ceiling=ceiling, weights=weights)

    assert count(16, 256 * GIB) == 16
    assert count(16, 24 * GIB) == 6
    assert count(16, 2 * GIB) == 1
    assert count(2.5, 64 * GIB) == 2
    assert count(16, 64 * GIB, gpus=4) == 4


@pytest.mark.parametrize("said", [{"workers": -1}, {"threads": 0}, {"tries": 0}])
def test_numbers_out_of_range_are_refused(flood_folder, scenes, tmp_path, said):
    with pytest.raises(ConfigError, match="needed [01] or more"):
        geofm.map_batch(flood_folder, scenes, tmp_path / "maps", **{**ALONE, **said})
    assert not (tmp_path / "maps").exists()
