"""Batches in real processes: workers, drivers and a scheduler that are killed, and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import geofm
from geofm.cli.app import main as command_line
from geofm.errors import BusyError, Stopped
from geofm.predict.cluster import cluster_workers
from geofm.predict.ledger import ledger_path, read_ledger

BENCH = Path(__file__).parent.parent / "bench" / "batch_chaos.py"
pytestmark = pytest.mark.slow


@pytest.fixture
def scenes(scene_folder):
    return scene_folder(8, height=50, width=60)


def maps_of(folder):
    """The maps' bytes, without what names the folder or the command."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def chaos(*words):
    """A run of the bench: its one line, whatever its exit code."""
    result = subprocess.run(
        [sys.executable, BENCH, *words], capture_output=True, text=True, check=False
    )
    print(result.stdout, result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def test_workers_killed_at_random_lose_no_map():
    found = chaos("16", "2", "3", "--local", "--seed", "3")
    assert found["workers_killed"] == 3
    assert found["files_equal"] == found["files_expected"] == 16 * 4
    assert found["good_scenes_set_aside"] == 0
    assert found["ledger"] == {"mapped": 16, "kept": 0, "failed": 1, "waiting": 0, "running": 0}


def test_a_cluster_without_work_is_left_in_peace():
    with cluster_workers("local", count=1) as workers:
        began = time.monotonic()
        assert workers.wait(0.5) == []
        assert time.monotonic() - began >= 0.5


def test_dask_workers_and_the_scheduler_killed_lose_no_map():
    found = chaos("24", "2", "2", "--seed", "1")
    assert (found["workers_killed"], found["schedulers_killed"]) == (2, 1)
    assert found["files_equal"] == found["files_expected"] == 24 * 4
    assert found["good_scenes_set_aside"] == 0
    # What a lost scheduler had in work is found whole, or made again.
    assert found["ledger"]["mapped"] + found["ledger"]["kept"] == 24
    assert found["ledger"]["failed"] == 1


# A driver that kills itself once it has half of its maps.
DRIVER = """
import os, signal, sys
import geofm

def die(share, _):
    if share > 0.5:
        os.kill(os.getpid(), signal.SIGKILL)

model, scenes, folder = sys.argv[1:]
geofm.map_batch(model, scenes, folder, workers=1, device="cpu", progress=die)
"""


def test_a_driver_killed_leaves_no_worker_and_the_next_run_ends_the_same(
    flood_folder, scenes, tmp_path, monkeypatch
):
    geofm.map_batch(flood_folder, scenes, tmp_path / "whole", workers=0, device="cpu")
    place = tmp_path / "place"  # by which the workers are known
    place.mkdir()
    monkeypatch.chdir(place)
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, flood_folder, scenes, tmp_path / "maps"], check=False
    )
    assert driver.returncode == -signal.SIGKILL
    made = len(list((tmp_path / "maps").glob("s*_confidence.tif")))
    assert 0 < made < 8
    _, alive = psutil.wait_procs(workers_in(place), timeout=20)
    assert not alive
    report = geofm.map_batch(flood_folder, scenes, tmp_path / "maps", workers=0, device="cpu")
    assert report.complete
    assert report.tally.kept >= made - 1  # one may have lain unfinished
    assert maps_of(tmp_path / "maps") == maps_of(tmp_path / "whole")
    lines = read_ledger(ledger_path(tmp_path / "maps"))
    assert {line.status for line in lines} == {"kept", "mapped"}


def workers_in(place):
    """Worker processes that were started in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        about = process.info
        if about["cwd"] == str(place) and "geofm.predict.worker" in (about["cmdline"] or ()):
            found.append(process)
    return found


def test_sigterm_stops_two_batches_do_not_meet_and_the_next_run_goes_on(
    flood_folder, scenes, tmp_path
):
    geofm.map_batch(flood_folder, scenes, tmp_path / "whole", workers=0, device="cpu")
    refused = []

    def watch(share, _):
        if not refused:
            with pytest.raises(BusyError, match="another batch is writing to"):
                geofm.map_batch(flood_folder, scenes, tmp_path / "maps", workers=0, device="cpu")
            refused.append(share)
        if share > 0.3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="the same command goes on"):
        geofm.map_batch(
            flood_folder, scenes, tmp_path / "maps", workers=2, device="cpu", progress=watch
        )
    assert refused
    lines = read_ledger(ledger_path(tmp_path / "maps"))
    assert {line.status for line in lines} == {"mapped", "waiting"}
    made = sum(line.status == "mapped" for line in lines)
    words = ["batch", flood_folder, scenes, "-o", tmp_path / "maps", "--workers", "0"]
    assert command_line(list(map(str, words))) == 0
    lines = read_ledger(ledger_path(tmp_path / "maps"))
    assert sum(line.status == "kept" for line in lines) == made
    assert maps_of(tmp_path / "maps") == maps_of(tmp_path / "whole")
