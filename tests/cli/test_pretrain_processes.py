"""`geofm pretrain` itself: two processes learn what one does, and a killed one goes on.

50 float32 steps of the real autoencoder on scenes of which some have a corner without data, so
that samples count unlike pixels; curves agree to a relative 1e-4.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from geofm.model.folder import load_encoder_folder

STEPS = 50
SHAPE = ["--image-size=32", "--embed-dim=32", "--depth=2", "--num-heads=2", "--batch-size=8"]


def pretrain(folder: Path, name: str, *flags: str) -> list[str]:
    words = [sys.executable, "-m", "geofm", "pretrain", str(folder / "scenes")]
    output = ["-o", str(folder / name), "--config", str(folder / "often.toml")]
    return [*words, *output, "--steps", str(STEPS), *SHAPE, *flags]


def environment() -> dict[str, str]:
    # One thread each: two cores, and the same order of sums.
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def finished(words: list[str]) -> None:
    done = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def losses(folder: Path, name: str) -> list[float]:
    with (folder / name).with_suffix(".run").joinpath("metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def same(folder: Path, name: str) -> None:
    expected = losses(folder, "alone.geofm")
    assert len(expected) == STEPS
    np.testing.assert_allclose(losses(folder, name), expected, rtol=1e-4)
    # Features, not weights: the bias of attention's keys moves nothing, and follows rounding.
    x = torch.randn(2, 1, 6, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted, found = (
        load_encoder_folder(folder / each).encoder.eval()(x) for each in ("alone.geofm", name)
    )
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, and what one process learns of them, never stopped."""
    from geofm.scenes.synthetic import make_scene
    from geofm.tasks import SHARED_BANDS

    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "scenes").mkdir()
    for number in range(4):
        make_scene(
            folder / "scenes" / f"scene{number}.tif",
            height=80,
            width=90,
            bands=SHARED_BANDS,
            seed=number,
            nodata_corner=bool(number % 2),
        )
    (folder / "often.toml").write_text("mask_ratio = 0.6\n")
    finished(pretrain(folder, "alone.geofm"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(folder: Path, strategy: str) -> None:
    flags = ["--devices", "2", "--accumulate", "2", "--strategy", strategy]
    finished(pretrain(folder, f"{strategy}.geofm", *flags))
    same(folder, f"{strategy}.geofm")


@pytest.mark.slow
def test_a_stopped_and_then_killed_command_goes_on_to_the_same_curve(folder: Path) -> None:
    """SIGTERM leaves a checkpoint; what is killed on its way on goes on from there again."""
    words = pretrain(folder, "hit.geofm")
    assert until(folder / "hit.run", 12, words, signal.SIGTERM) != 0
    assert until(folder / "hit.run", 30, [*words, "--resume"], signal.SIGKILL) == -signal.SIGKILL
    assert not (folder / "hit.geofm").exists()
    finished([*words, "--resume"])
    same(folder, "hit.geofm")


def until(run: Path, steps: int, words: list[str], how: signal.Signals) -> int:
    """Hit a command after so many steps; returns its exit code."""
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    metrics = run / "metrics.csv"
    try:
        while not metrics.is_file() or metrics.read_text().count("\n") < steps:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(how)
        process.wait()
    return process.returncode


MEASURING = """
import sys

import geofm.train.pretrain as room
from geofm.cli.app import main

right = room.measure_statistics


def measured(*areas, **options):
    print("MEASURED", file=sys.stderr, flush=True)
    return right(*areas, **options)


room.measure_statistics = measured
sys.exit(main(sys.argv[1:]))
"""


def by_two(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that two processes share, with a line for each that measures the scenes."""
    script = folder / "measuring.py"
    script.write_text(MEASURING)
    return subprocess.run(
        [sys.executable, str(script), *words, *SHAPE, "--steps", "2", "--devices", "2"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_scenes_are_measured_once_however_many_processes_there_are(folder: Path) -> None:
    done = by_two(folder, "pretrain", str(folder / "scenes"), "-o", str(folder / "once.geofm"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("MEASURED") == 1
    assert load_encoder_folder(folder / "once.geofm").encoder


@pytest.mark.slow
def test_scenes_that_nothing_can_be_learnt_from_are_refused_once(folder: Path) -> None:
    from geofm.scenes.synthetic import make_scene
    from geofm.tasks import SHARED_BANDS

    (folder / "small").mkdir()
    make_scene(folder / "small" / "s.tif", height=9, width=9, bands=SHARED_BANDS)
    done = by_two(folder, "pretrain", str(folder / "small"), "-o", str(folder / "none.geofm"))
    assert done.returncode == 1
    assert done.stderr.count("error: none of 1 scenes can be learnt from") == 1
    assert "Traceback" not in done.stderr
    assert not (folder / "none.geofm").exists()
