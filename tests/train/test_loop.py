"""The loop is what a plain one is, in any number of parts, stopped or not; the best returns."""

import csv
import os
import signal
import socket
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from geofm.errors import ConfigError, ModelError, OutputError, SceneError, Stopped
from geofm.tiles.dataset import Sample
from geofm.train import loop, machine
from geofm.train.average import WeightAverage
from geofm.train.config import TrainingConfig
from geofm.train.loop import Validation, Watch, fit
from geofm.train.machine import check_devices, check_shares, precision_of
from geofm.train.optim import Rate, warmup_cosine
from geofm.train.run_folder import Run, finish, read_rows

CONFIG = TrainingConfig(steps=30, batch_size=8, learning_rate=0.1, clip=2.0, precision="fp32")


class Pixels:
    """Samples of very uneven validity: an eighth of them nearly whole, others nearly empty."""

    def __init__(self, meet=lambda index: None):
        self.meet = meet

    def __getitem__(self, index):
        self.meet(index)
        random = np.random.default_rng(index)
        share = 0.9 if index % 8 == 0 else 0.05
        tensors = {
            "dn": torch.from_numpy(random.random((1, 3, 6, 6), np.float32)) + index % 8,
            "valid": torch.from_numpy(random.random((1, 6, 6)) < share),
            "number": torch.tensor(index),
        }
        return Sample(**{name: tensors.get(name, torch.zeros(1)) for name in Sample._fields})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.first = nn.Conv2d(3, 8, 1)
            self.second = nn.Conv2d(8, 1, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += self.training
        return self.second(torch.tanh(self.first(x)))


class TwoMeans:
    """A mean of squares over valid pixels, and one of absolutes over those on the left."""

    def __init__(self, net):
        self.net = net

    def regions(self, batch):
        valid = batch.valid[:, 0]
        return valid, valid & (torch.arange(6, device=valid.device) < 3)

    def count(self, batch):
        return torch.tensor([float(region.sum()) for region in self.regions(batch)])

    def loss(self, batch, counts):
        error = self.net(batch.dn[:, 0])[:, 0].float() - batch.dn.mean(dim=(1, 2))
        whole, left = self.regions(batch)
        return (error.square() * whole).sum() / counts[0] + (error.abs() * left).sum() / counts[1]


def train(config=CONFIG, dataset=None, **options):
    net = Net()
    rates = [Rate(net.first, config.learning_rate), Rate(net.second.parameters(), 0.05)]
    fitted = fit(net, TwoMeans(net), dataset or Pixels(), config=config, rates=rates, **options)
    return fitted, {name: tensor.clone() for name, tensor in net.state_dict().items()}


def plain(config=CONFIG):
    """The same training, written down as simply as it can be."""
    net = Net()
    objective = TwoMeans(net)
    first, second = list(net.first.parameters()), list(net.second.parameters())
    groups = [
        {"params": [p], "lr": rate, "weight_decay": config.weight_decay if p.ndim > 1 else 0.0}
        for part, rate in ((first, config.learning_rate), (second, 0.05))
        for p in part
    ]
    highest = [group["lr"] for group in groups]
    # A weight of one row is a vector, and does not decay.
    groups[2]["weight_decay"] = 0.0
    optimizer = torch.optim.AdamW(groups)
    average = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    losses = []
    for step in range(config.steps):
        numbers = range(step * config.batch_size, (step + 1) * config.batch_size)
        batch = default_collate([Pixels()[i] for i in numbers])
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * warmup_cosine(step, steps=config.steps, warmup=3)
        loss = objective.loss(batch, objective.count(batch).clamp(min=1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.step()
        losses.append(loss.item())
        for name, tensor in net.state_dict().items():
            kept = min(config.ema, (2 + step) / (11 + step))
            if tensor.is_floating_point():
                average[name] = kept * average[name] + (1 - kept) * tensor
            else:
                average[name] = tensor.clone()
    return losses, net.state_dict(), average


def assert_close(found, expected, rtol=1e-5):
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=rtol, atol=1e-7)


def test_it_is_a_plain_loop():
    fitted, weights = train()
    losses, expected, _ = plain()
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-6)
    assert_close(weights, expected)
    assert fitted.loss == pytest.approx(np.mean(losses[-3:]))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2
    assert (fitted.steps, fitted.best_step, fitted.best_score) == (30, 30, None)


def test_a_moving_average_is_its_formula():
    config = replace(CONFIG, ema=0.8)
    fitted, weights = train(config)
    losses, last, expected = plain(config)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-6)
    assert_close(weights, expected)
    assert not torch.allclose(weights["first.weight"], last["first.weight"], rtol=1e-3)
    assert weights["seen"] == last["seen"], "whole numbers are not averaged"


def test_a_constant_stays_what_it_is_in_an_average():
    net = Net()
    average = WeightAverage(net, decay=0.99)
    for step in range(50):
        average.update(net, step + 1)
    assert all(tensor.equal(average.weights[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_of_a_step_add_up_to_it(parts):
    whole, _ = train()
    fitted, _ = train(replace(CONFIG, accumulate=parts))
    np.testing.assert_allclose(fitted.losses, whole.losses, rtol=1e-5)
    np.testing.assert_allclose(
        [row.gradient_norm for row in fitted.history],
        [row.gradient_norm for row in whole.history],
        rtol=1e-4,
    )


class Scores:
    """Scores from a list; keeps the weights that each was given for."""

    def __init__(self, net, scores):
        self.net = net
        self.scores = iter(scores)
        self.weights = []

    def __call__(self):
        assert not self.net.training
        assert not torch.is_grad_enabled()
        self.weights.append({name: t.clone() for name, t in self.net.state_dict().items()})
        return next(self.scores)


def validated(scores, config=CONFIG, every=7, patience=0, **options):
    net = Net()
    score = Scores(net, scores)
    fitted = fit(
        net,
        TwoMeans(net),
        Pixels(),
        config=config,
        rates=[Rate(net, config.learning_rate)],
        validation=Validation(score=score, every=every, patience=patience),
        **options,
    )
    return fitted, net, score


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_weights_return_and_not_the_last(ema):
    # The first is of what training begins with.
    scores = [0.0, 0.1, 0.8, 0.8, float("nan"), 0.3]
    fitted, net, score = validated(scores, replace(CONFIG, ema=ema))
    assert (fitted.best_step, fitted.best_score, fitted.steps) == (14, 0.8, 30)
    assert_close(dict(net.state_dict()), score.weights[2], rtol=0)
    assert not torch.allclose(net.first.weight, score.weights[-1]["first.weight"])
    # Steps 7, 14, 21, 28, and the last.
    found = [(row.step, row.score) for row in fitted.history if row.score is not None]
    assert [step for step, _ in found] == [7, 14, 21, 28, 30]
    assert not net.training


def test_a_start_that_training_does_not_better_comes_back():
    fitted, net, score = validated([0.9, 0.1, 0.8, 0.8, 0.2, 0.3], CONFIG)
    assert (fitted.best_step, fitted.best_score) == (0, 0.9)
    assert_close(dict(net.state_dict()), score.weights[0], rtol=0)


def test_scoring_changes_nothing_but_the_choice():
    fitted, _, _ = validated([0.0] * 11, every=3)
    net = Net()
    rates = [Rate(net, CONFIG.learning_rate)]
    alone = fit(net, TwoMeans(net), Pixels(), config=CONFIG, rates=rates)
    assert fitted.losses == alone.losses


def test_patience_ends_a_training_that_gets_no_better(tmp_path):
    run = Run(folder=tmp_path / "a.run")
    fitted, net, score = validated([0.4, 0.5, 0.6, 0.6, 0.1], every=4, patience=2, run=run)
    assert (fitted.steps, fitted.best_step, fitted.best_score) == (16, 8, 0.6)
    assert_close(dict(net.state_dict()), score.weights[2], rtol=0)
    # Asked to go on, it says the same again.
    again, other, _ = validated([], every=4, patience=2, run=replace(run, resume=True))
    assert again == fitted
    assert_close(dict(other.state_dict()), dict(net.state_dict()), rtol=0)


def stop_at(index, number=signal.SIGTERM):
    return lambda i: os.kill(os.getpid(), number) if i == index else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_the_run_goes_on_from_it(tmp_path, number):
    config = replace(CONFIG, ema=0.9)
    expected, weights = train(config)
    run = Run(folder=tmp_path / "a.run")
    error = Stopped if number == signal.SIGTERM else KeyboardInterrupt
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(error, match=r"stopped after step \d+ of 30.*--resume"):
        train(config, Pixels(stop_at(80, number)), run=run)
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    done = len(read_rows(run.folder / "metrics.csv"))
    assert 5 <= done <= 12

    with pytest.raises(OutputError, match=r"unfinished training; give resume=True"):
        train(config, run=run)
    with pytest.raises(OutputError, match=r"begun with another config.learning_rate, config.seed"):
        train(replace(config, learning_rate=0.01, seed=4), run=replace(run, resume=True))
    with pytest.raises(OutputError, match=r"begun with another scenes"):
        train(config, run=replace(run, resume=True), inputs={"scenes": ["other"]})

    met = []
    fitted, resumed = train(config, Pixels(met.append), run=replace(run, resume=True))
    assert min(met) == done * config.batch_size
    assert fitted.losses == expected.losses
    assert_close(resumed, weights, rtol=0)
    rows = read_rows(run.folder / "metrics.csv")
    assert tuple(rows) == fitted.history
    assert [row.step for row in rows] == list(range(1, 31))
    assert [row.seconds for row in rows] == sorted(row.seconds for row in rows)
    assert fitted.seconds == round(rows[-1].seconds, 1)

    finish(run.folder)
    assert {path.name for path in run.folder.iterdir()} - {"tensorboard"} == {
        "metrics.csv",
        "settings.json",
    }


def test_the_best_weights_outlive_a_stop(tmp_path):
    expected, net, _ = validated([0.0, 0.1, 0.8, 0.3, 0.2, 0.1])
    run = Run(folder=tmp_path / "a.run")
    # After the best score, and in the middle of waiting for a better one.
    stopped = iter([0.0, 0.1, 0.8])

    def score():
        value = next(stopped)
        if value == 0.8:
            os.kill(os.getpid(), signal.SIGTERM)
        return value

    half = Net()
    with pytest.raises(Stopped):
        fit(
            half,
            TwoMeans(half),
            Pixels(),
            config=CONFIG,
            rates=[Rate(half, CONFIG.learning_rate)],
            validation=Validation(score=score, every=7),
            run=run,
        )
    fitted, other, _ = validated([0.3, 0.2, 0.1], run=replace(run, resume=True))
    assert (fitted.best_step, fitted.best_score) == (14, 0.8)
    assert fitted.losses == expected.losses
    assert_close(dict(other.state_dict()), dict(net.state_dict()), rtol=0)


def test_another_way_of_running_may_go_on(tmp_path):
    run = Run(folder=tmp_path / "a.run")
    with pytest.raises(Stopped):
        train(CONFIG, Pixels(stop_at(80)), run=run)
    parts = replace(CONFIG, accumulate=4)
    fitted, _ = train(parts, run=replace(run, resume=True))
    np.testing.assert_allclose(fitted.losses, train()[0].losses, rtol=1e-5)


def test_a_run_that_is_thrown_away_begins_anew(tmp_path):
    run = Run(folder=tmp_path / "a.run", steps=5)
    with pytest.raises(Stopped):
        train(CONFIG, Pixels(stop_at(80)), run=run)
    config = replace(CONFIG, seed=1, steps=3)
    fitted, _ = train(config, run=replace(run, restart=True))
    assert len(read_rows(run.folder / "metrics.csv")) == 3 == fitted.steps
    # Nothing to go on with is a beginning too: a job may be queued with --resume from the first.
    finish(run.folder)
    assert train(config, run=replace(run, resume=True))[0].losses == fitted.losses


class Strange:
    pass


@pytest.mark.parametrize("damage", ["cut", "pickle"])
def test_a_checkpoint_that_cannot_be_trusted_is_refused(tmp_path, damage):
    run = Run(folder=tmp_path / "a.run")
    with pytest.raises(Stopped):
        train(CONFIG, Pixels(stop_at(80)), run=run)
    if damage == "cut":
        os.truncate(run.checkpoint, 1000)
    else:
        torch.save({"model": Strange()}, run.checkpoint)
    with pytest.raises(ModelError, match=r"last.ckpt is damaged, or of another version.*overwrite"):
        train(CONFIG, run=replace(run, resume=True))


def test_metrics_are_a_table_that_spreadsheets_read(tmp_path):
    run = Run(folder=tmp_path / "a.run")
    validated([0.25] * 9, run=run)
    with (run.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("step", "loss", "learning_rate", "gradient_norm", "samples_per_second"),
        *("seconds", "score"),
    ]
    assert [row["score"] for row in rows][:7] == [""] * 6 + ["0.25"]
    with (run.folder / "metrics.csv").open("a") as file:
        file.write("31,0.5,0.0")  # a kill in the middle of a line
    assert len(read_rows(run.folder / "metrics.csv")) == 30


def test_what_the_reader_meets_is_told_by_the_loop():
    def meet(index):
        if index == 77:
            raise SceneError("tile 77 cannot be read")

    with pytest.raises(SceneError, match="tile 77 cannot be read"):
        train(CONFIG, Pixels(meet))
    assert not [thread for thread in threading.enumerate() if thread.name == "geofm-reader"]


def test_an_endless_gradient_is_refused_with_its_step():
    class Steep(TwoMeans):
        def loss(self, batch, counts):
            loss = super().loss(batch, counts)
            # Its value is a number, its slope is none.
            late = batch.number.min() >= 24
            return loss + (loss - loss.detach()).abs().sqrt() if late else loss

    net = Net()
    with pytest.raises(ConfigError, match=r"the gradient is (nan|inf) at step 4; lower"):
        fit(net, Steep(net), Pixels(), config=CONFIG, rates=[Rate(net, CONFIG.learning_rate)])


def test_a_rate_of_0_and_an_empty_step_change_nothing():
    class Empty(Pixels):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(valid=torch.zeros_like(sample.valid))

    net, before = Net(), Net().state_dict()
    fit(
        net,
        TwoMeans(net),
        Empty(),
        config=replace(CONFIG, weight_decay=0.0, steps=3),
        rates=[Rate(net.first, 0.1), Rate(net.second, 0)],
    )
    assert all(t.equal(before[name]) for name, t in net.state_dict().items() if name != "seen")
    assert all(p.requires_grad for p in net.parameters())


def test_progress_tells_loss_and_speed():
    told = []
    train(progress=lambda *words: told.append(words), what="learning")
    assert told[-1][0] == 1
    assert told[-1][1].startswith("learning, loss ")
    assert told[-1][1].endswith(" samples/s")


def test_the_speed_is_that_of_steps_and_the_seconds_are_those_of_all(tmp_path, monkeypatch):
    """A step takes a second here, and whatever is done between two of them far longer."""
    now = [0.0]

    def takes(seconds, does=lambda *_: 0.0):
        def do(*words):
            now[0] += seconds
            return does(*words)

        return do

    net = Net()
    objective = TwoMeans(net)
    objective.loss = takes(1, objective.loss)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(loop, "move_in", takes(1000, loop.move_in))
    told = []
    fitted = fit(
        net,
        objective,
        Pixels(),
        config=CONFIG,
        rates=[Rate(net, CONFIG.learning_rate)],
        validation=Validation(score=takes(50), every=7),
        watch=Watch(look=takes(300), every=4),
        run=Run(folder=tmp_path / "a.run", steps=10, seconds=1e9),
        progress=lambda *words: told.append(words),
    )
    assert {row.samples_per_second for row in fitted.history} == {8.0}
    assert all(text.endswith(" 8 samples/s") for _, text in told)
    # 30 steps, scores of the start and of 5 steps, 8 looks, checkpoints after steps 10 and 20.
    assert fitted.seconds == 30 + 6 * 50 + 8 * 300 + 2 * 1000


LAUNCHERS = (
    *("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE"),
    *("TORCHELASTIC_RUN_ID", "SLURM_NTASKS"),
)


@pytest.fixture
def typed_here(monkeypatch):
    """No launcher's variables; those that Lightning sets go again."""
    for name in LAUNCHERS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def test_machines_that_nobody_started_together_are_refused(typed_here):
    config = replace(CONFIG, num_nodes=2)
    sentence = r"num_nodes is 2, and nothing tells .*torchrun --nnodes 2 .*srun --nodes 2"
    with pytest.raises(ConfigError, match=sentence):
        check_devices(config)
    with pytest.raises(ConfigError, match=sentence):
        train(config)
    for name in ("MASTER_ADDR", "NODE_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        with typed_here.context() as environment:
            environment.setenv(name, "0")
            check_devices(config)


def test_machines_that_do_not_come_are_named_after_a_while(typed_here):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        typed_here.setenv("MASTER_PORT", str(free.getsockname()[1]))
    typed_here.setenv("MASTER_ADDR", "127.0.0.1")
    typed_here.setattr(machine, "PATIENCE", timedelta(seconds=1))
    waited = r"waited up to 1 s for all processes of devices=1, num_nodes=2, each .*MASTER_ADDR"
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    try:
        with pytest.raises(ConfigError, match=waited):
            train(replace(CONFIG, num_nodes=2))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)


def test_nobody_is_waited_for_who_has_ended_with_another_training(typed_here):
    typed_here.setattr(machine, "_shared", ["devices=2, num_nodes=1"])
    with pytest.raises(ConfigError, match=r"devices=2.* would wait for processes that ended with"):
        train(replace(CONFIG, devices=2))
    assert train()[0].steps == CONFIG.steps


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_wait_a_day_for_each_other(strategy):
    """As long as opening many scenes takes, which each does by itself, and measuring them."""
    config = replace(CONFIG, devices=2, strategy=strategy)
    assert machine._strategy(config, 2)._timeout == timedelta(days=1)


def test_a_step_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size is 8; needed a multiple of 3"):
        check_devices(replace(CONFIG, devices=3))
    with pytest.raises(ConfigError, match=r"batch_size is 8; needed a multiple of 3"):
        check_shares(CONFIG, 3)
    with pytest.raises(ConfigError, match=r"batch_size is 8; needed a multiple of accumulate, 3"):
        replace(CONFIG, accumulate=3)
    with pytest.raises(ConfigError, match=r"strategy is 'deepspeed'; needed auto, ddp or fsdp"):
        replace(CONFIG, strategy="deepspeed")


def test_precision_is_as_asked_or_as_the_device_computes():
    assert precision_of(replace(CONFIG, precision="bf16"), gpu=False) == "bf16"
    assert precision_of(CONFIG, gpu=False) == "fp32"
    assert precision_of(replace(CONFIG, precision="auto"), gpu=False) in ("fp32", "bf16")


def test_bfloat16_learns_too():
    fitted, weights = train(replace(CONFIG, precision="bf16"))
    assert np.mean(fitted.losses[-5:]) < np.mean(fitted.losses[:5]) / 2
    assert all(t.dtype == torch.float32 for n, t in weights.items() if n != "seen")
