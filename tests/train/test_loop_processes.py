"""Real processes: two learn what one does, and a killed run goes on as if it had not been.

Run as a script, this file is a training: ``python test_loop_processes.py OUT.pt ...``.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

STEPS = 50


def laws():
    """The toys of the laws next door: an uneven dataset, a small net, an objective."""
    path = Path(__file__).with_name("test_loop.py")
    spec = importlib.util.spec_from_file_location("loop_laws", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def learn(toys, dataset=None, *, run=None, **settings):
    """A training that averages its weights, scores them and keeps the best."""
    config = replace(toys.CONFIG, steps=STEPS, ema=0.9, **settings)
    net = toys.Net()
    grey = torch.full((1, 3, 6, 6), 0.5)

    def score():
        assert not net.training
        return -float((net(grey) - 0.4).abs().mean())

    fitted = toys.fit(
        net,
        toys.TwoMeans(net),
        dataset or toys.Pixels(),
        config=config,
        rates=[toys.Rate(net.first, config.learning_rate), toys.Rate(net.second, 0.05)],
        validation=toys.Validation(score=score, every=7),
        run=run,
    )
    return fitted, net.state_dict()


def main():
    from geofm.train.run_folder import Run

    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--num-nodes", type=int, default=1)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--wait", type=float, default=0.0)
    parser.add_argument("--resume", action="store_true")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    toys = laws()
    fitted, weights = learn(
        toys,
        toys.Pixels(lambda _: time.sleep(flags.wait)),
        run=Run(folder=flags.out.with_suffix(".run"), resume=flags.resume, steps=10),
        devices=flags.devices,
        num_nodes=flags.num_nodes,
        accumulate=flags.parts,
        strategy=flags.strategy,
    )
    found = {"losses": fitted.losses, "best": fitted.best_step, "weights": weights}
    torch.save(found, flags.out)


def command(out, *flags):
    return [sys.executable, __file__, str(out), *map(str, flags)]


def environment():
    # One thread each: two cores, and the same order of sums.
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return kept | {"OMP_NUM_THREADS": "1"}


def finished(process):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def started(out, *flags, before=(), **variables):
    return subprocess.Popen(
        [*before, *(command(out, *flags)[1 if before else 0 :])],
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def hit(process, run, lines, how):
    """Send a signal to a training with so many lines in its curve; what it said."""
    metrics, deadline = run / "metrics.csv", time.monotonic() + 300
    try:
        while not metrics.is_file() or metrics.read_text().count("\n") < lines:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(how)
        return process.communicate(timeout=300)[0]
    finally:
        process.kill()


@pytest.fixture(scope="module")
def alone():
    """What one process comes to, never stopped."""
    fitted, weights = learn(laws())
    assert 0 < fitted.best_step < STEPS
    return fitted, weights


def went_on(folder):
    """What this process comes to with the run that another one has left."""
    toys = laws()
    return learn(toys, run=toys.Run(folder=folder, resume=True))


def same(out, alone):
    """What other processes left in a file is what one comes to."""
    fitted, weights = alone
    found = torch.load(out, weights_only=True)
    np.testing.assert_allclose(found["losses"], fitted.losses, rtol=1e-5)
    assert found["best"] == fitted.best_step
    for name, tensor in found["weights"].items():
        if name != "seen":
            torch.testing.assert_close(tensor, weights[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(alone, tmp_path, strategy):
    out = tmp_path / "two.pt"
    finished(started(out, "--devices", 2, "--parts", 2, "--strategy", strategy))
    same(out, alone)


def test_means_of_means_would_have_been_something_else(alone):
    """The law above says something: on these samples, naive averaging learns otherwise."""
    toys = laws()

    class Naive(toys.TwoMeans):
        def loss(self, batch, counts):
            del counts
            halves = [toys.Sample(*(t[part] for t in batch)) for part in (slice(4), slice(4, 8))]
            means = [
                super(Naive, self).loss(half, self.count(half).clamp(min=1)) for half in halves
            ]
            return sum(means) / 2

    net = toys.Net()
    rates = [
        toys.Rate(net.first, toys.CONFIG.learning_rate),
        toys.Rate(net.second, toys.CONFIG.learning_rate / 2),
    ]
    naive = toys.fit(net, Naive(net), toys.Pixels(), config=toys.CONFIG, rates=rates)
    difference = np.abs(np.divide(naive.losses, alone[0].losses[: len(naive.losses)]) - 1)
    assert difference.max() > 0.01


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_curve(alone, tmp_path):
    expected, weights = alone
    out = tmp_path / "killed.pt"
    metrics = out.with_suffix(".run") / "metrics.csv"
    # Beyond the second checkpoint, in the middle of the next ten steps.
    hit(started(out, "--wait", 0.02), metrics.parent, 24, signal.SIGKILL)
    assert not out.exists()

    fitted, resumed = went_on(metrics.parent)
    np.testing.assert_allclose(fitted.losses, expected.losses, rtol=1e-6)
    assert metrics.read_text().count("\n") == STEPS + 1
    for name, tensor in resumed.items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_all_processes_stop_when_one_is_told_to(alone, tmp_path):
    """Under torchrun, as a cluster would: SIGTERM, a checkpoint, and on with one process."""
    out = tmp_path / "told.pt"
    folder = out.with_suffix(".run")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    process = started(
        out, "--devices", 2, "--wait", 0.02, before=[*torchrun, "--master-port=0", "--standalone"]
    )
    assert "stopped after step" in hit(process, folder, 14, signal.SIGTERM)
    assert json.loads((folder / "settings.json").read_text())["sha256"]

    fitted, _ = went_on(folder)
    np.testing.assert_allclose(fitted.losses, alone[0].losses, rtol=1e-5)


@pytest.mark.slow
def test_spread_weights_go_on_spread_and_whole(alone, tmp_path):
    """A checkpoint says nothing of how many devices wrote it, nor of how the weights lay there."""
    out = tmp_path / "spread.pt"
    folder = out.with_suffix(".run")
    flags = ("--devices", 2, "--strategy", "fsdp")
    process = started(out, *flags, "--wait", 0.02)
    assert "stopped after step" in hit(process, folder, 14, signal.SIGTERM)
    copy = shutil.copytree(folder, tmp_path / "copy.run")

    finished(started(out, *flags, "--resume"))
    same(out, alone)
    whole, _ = went_on(copy)
    np.testing.assert_allclose(whole.losses, alone[0].losses, rtol=1e-5)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_machines_that_nobody_started_together_are_refused_at_once(tmp_path):
    said, _ = started(tmp_path / "a.pt", "--num-nodes", 2).communicate(timeout=300)
    assert said.count("ConfigError: num_nodes is 2") == 1
    assert "torchrun --nnodes 2" in said


@pytest.mark.slow
def test_what_every_process_refuses_is_said_once(tmp_path):
    said, _ = started(tmp_path / "a.pt", "--devices", 3).communicate(timeout=300)
    assert said.count("ConfigError: batch_size is 8") == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_process_that_waits_for_another(tmp_path, how):
    """Before the first step there is nothing to keep, and torch's C++ asks Python for no signal."""
    port = free_port()
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    # A process of a job in the background would inherit that Ctrl-C is ignored.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = started(tmp_path / "a.pt", "--num-nodes", 2, **places)
    signal.signal(signal.SIGINT, usual)
    try:
        deadline = time.monotonic() + 300
        with socket.socket() as first:  # listens from when on it waits
            while first.connect_ex(("127.0.0.1", port)):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(how)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == -how, said
        assert not (tmp_path / "a.run").exists()
    finally:
        process.kill()


@pytest.mark.slow
def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    """Else it would wait for it, a day."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": "0"}
    started_by = {"LOCAL_RANK": "1", "GEOFM_STARTED_BY": str(gone.pid)}
    process = started(tmp_path / "a.pt", "--devices", 2, **places, **started_by)
    try:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1, said
    finally:
        process.kill()


if __name__ == "__main__":
    main()
