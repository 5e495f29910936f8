"""The training loop, on Lightning Fabric: a model, its objective and samples in; weights out.

Lightning moves data, starts processes, averages gradients and saves
checkpoints; the course of a step stands here, to be read from top to bottom.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import isfinite
from signal import SIGINT
from typing import NamedTuple, NoReturn, Protocol

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from geofm.errors import ConfigError, ModelError, Stopped
from geofm.tiles.dataset import Sample
from geofm.train.config import HOW_IT_RUNS, TrainingConfig
from geofm.train.learner import Learner
from geofm.train.machine import (
    compiled,
    first_alone,
    launch,
    own_random_state,
    quiet,
    recomputed,
    told_to_stop,
)
from geofm.train.optim import Rate, warmup_cosine
from geofm.train.reading import Samples, Step, read_ahead, steps_of
from geofm.train.run_folder import Curves, Row, Run, check_run, move_in

Progress = Callable[[float, str], None]
"""Is told the share done, 0 to 1, and what is being done."""

_LATELY = 20
"""Steps over which samples a second are measured; what is done between steps does not count."""


def part_of(progress: Progress | None, start: float, stop: float) -> Progress:
    """A progress of one part of the work, which fills ``start`` to ``stop`` of the whole."""

    def tell(done: float, text: str) -> None:
        if progress:
            progress(start + done * (stop - start), text)

    return tell


class Objective(Protocol):
    """What is made small: a sum of means over pixels, whose sums and counts are kept apart.

    A mean over the pixels of a step is not the mean of its parts' means where
    the parts hold different numbers of valid pixels. So the loop counts first,
    over all parts on all devices, and each part then divides by the whole.
    """

    def count(self, batch: Sample) -> Tensor:
        """What each term of the loss is a mean of, (terms,) float64.

        From data alone, on the CPU, before any forward pass and in another thread.
        """
        ...

    def loss(self, batch: Sample, counts: Tensor) -> Tensor:
        """Scalar: over terms, the sum over this batch by ``counts`` (terms,) of the whole step.

        Runs on the model's device. ``counts`` is 1 or more.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How well the model does on data that it does not learn from.

    Attributes:
        score: of the model as it stands, in evaluation mode and on its device; higher is better.
        every: steps between scores; the last step has one too.
        patience: scores without a better one after which training ends; 0 for no end.
    """

    score: Callable[[], float]
    every: int
    patience: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Looks at the model now and then, such as to draw what it does; changes nothing.

    Attributes:
        look: is told the step, counted from 1, while the model holds the weights that would
            come back now, in evaluation mode and on its device. The first process looks.
        every: steps between looks; the last step has one too.
    """

    look: Callable[[int], object]
    every: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What training came to.

    Attributes:
        loss: mean of the last tenth of the steps.
        steps: that were taken; fewer than asked for where validation ended them.
        best_step: whose weights came back; the last where there is no validation.
        best_score: of those weights; None where there is no validation.
        history: a row a step.
        notes: what was not done as asked, for people.
    """

    loss: float
    steps: int
    best_step: int
    best_score: float | None
    history: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def losses(self) -> tuple[float, ...]:
        """The loss of every step."""
        return tuple(row.loss for row in self.history)

    @property
    def seconds(self) -> float:
        """From before the first step to after the last, as a clock on the wall tells them.

        All sittings of a resumed training together, with validation, pictures and checkpoints
        on the way; without the time it lay stopped, and what was done before the first step,
        such as opening and measuring scenes.
        """
        return round(self.history[-1].seconds, 1) if self.history else 0.0


@dataclass(slots=True)
class _Best:
    """The best weights so far, and how many scores have not beaten them."""

    step: int = 0
    score: float | None = None
    misses: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


class _Told(NamedTuple):
    """What a step says once its device has computed it."""

    step: int
    loss: Tensor
    norm: Tensor
    rate: float
    flags: Tensor
    score: float | None


def fit(
    model: nn.Module,
    objective: Objective,
    dataset: Samples,
    *,
    config: TrainingConfig,
    rates: Sequence[Rate],
    validation: Validation | None = None,
    watch: Watch | None = None,
    run: Run | None = None,
    inputs: Mapping[str, object] | None = None,
    fabric: lightning.Fabric | None = None,
    what: str = "training",
    progress: Progress | None = None,
) -> Fitted:
    """Train in place; the model comes back in evaluation mode, on the CPU.

    Step ``s`` learns from samples ``s * batch_size`` to ``(s + 1) * batch_size - 1``, so
    its gradient is the same, but for rounding, on any number of devices, in any
    number of parts, and after any number of kills. Of several processes, the
    first alone returns; the others end here, with exit code 0. A signal that comes before
    the first step ends the process as it does elsewhere: there is nothing to keep yet.

    Args:
        model: holds every weight that the objective uses.
        objective: of a batch, collated from samples.
        dataset: ``steps * batch_size`` samples.
        config: all other settings.
        rates: parts of the model with their learning rates.
        validation: keeps the best weights, and may end the training early.
        watch: looks at the model on the way.
        run: where checkpoints and curves go; None keeps nothing.
        inputs: what the curve follows from beside the config, such as the scenes' names,
            as JSON takes it; a run goes on only with the same.
        fabric: that `launch` gave before; None launches now.
        what: the work, in the words that progress is told.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        ConfigError: the loss is no longer a number, or the devices are not there.
        OutputError: the run's folder holds another training.
        Stopped: SIGTERM came; ``run.resume`` goes on.
    """
    curve = {name: value for name, value in asdict(config).items() if name not in HOW_IT_RUNS}
    settings = {"config": curve, **(inputs or {})}
    fabric = fabric or launch(config)
    resumes = first_alone(fabric, lambda: run is not None and check_run(run, settings))
    for rate in rates:
        for parameter in rate.parameters:
            parameter.requires_grad_(rate.learning_rate > 0)
    with quiet(), recomputed(model, on=config.recompute), compiled(model, config) as note:
        # Setting what is set already also stops MKL from taking fewer threads on a busy
        # machine, and with them another order of sums.
        torch.set_num_threads(torch.get_num_threads())
        course = _Course(
            fabric,
            model,
            objective,
            config=config,
            rates=rates,
            validation=validation,
            watch=watch,
            run=run,
        )
        if resumes:
            course.load()
        fabric.barrier()  # until here, every process has read the folder as it was
        folder = run.folder if run and fabric.is_global_zero else None
        with (
            told_to_stop(listen=run is not None) as signalled,
            own_random_state(fabric),
            Curves(folder, settings, after=course.step) as curves,
        ):
            teller = _Teller(curves, course, part_of(progress, 0.0, 1.0), what)
            course.take(dataset, teller, signalled)
        course.give_back()
    if not fabric.is_global_zero:
        raise SystemExit(0)
    if fabric.world_size > 1:
        torch.distributed.destroy_process_group()
    best = course.best
    return Fitted(
        loss=teller.loss(),
        steps=course.step,
        best_step=course.step if best.score is None else best.step,
        best_score=best.score,
        history=tuple(curves.rows),
        notes=(note,) if note else (),
    )


class _Clock:
    """Tells the seconds that steps take: it stands still while something else is done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stood = 0.0

    def seconds(self) -> float:
        """Since some moment."""
        return time.monotonic() - self._stood

    @contextmanager
    def standing(self) -> Iterator[None]:
        """While what is done inside is no part of a step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the steps on their way are not inside
        began = time.monotonic()
        yield
        self._stood += time.monotonic() - began


class _Course:
    """A training between two steps: all that a checkpoint holds."""

    def __init__(
        self,
        fabric: lightning.Fabric,
        model: nn.Module,
        objective: Objective,
        *,
        config: TrainingConfig,
        rates: Sequence[Rate],
        validation: Validation | None,
        watch: Watch | None,
        run: Run | None,
    ) -> None:
        self.fabric = fabric
        self.objective = objective
        self.config = config
        self.validation = validation
        self.watch = watch
        self.run = run
        self.step = 0
        self.ended = False
        self.best = _Best()
        self.clock = _Clock(fabric.device)
        self.learner = Learner(fabric, model, objective.loss, config=config, rates=rates)

    def take(
        self,
        dataset: Samples,
        teller: "_Teller",
        signalled: Callable[[], int | None],
    ) -> None:
        """Take the steps that are left; keep a checkpoint on the way, and at the end."""
        config, fabric = self.config, self.fabric
        gpu = fabric.device.type == "cuda"
        steps = steps_of(
            dataset,
            self.objective.count,
            numbers=range(config.steps if self.ended else self.step, config.steps),
            batch_size=config.batch_size,
            parts=config.accumulate,
            rank=fabric.global_rank,
            world=fabric.world_size,
            pin=gpu,
        )
        waiting: deque[_Told] = deque()
        saved = time.monotonic()
        if self.step == 0:
            self._validated()  # what training begins with may be hard to better
        self.learner.train()
        with read_ahead(steps) as read:
            for step in read:
                due = self.run is not None and self._due(time.monotonic() - saved)
                waiting.append(self._one(step, flags=(signalled() is not None, due)))
                # Asking a GPU for a step's loss waits for it; so the step before is asked,
                # and the next one is on its way meanwhile.
                ahead = 1 if gpu and waiting[-1].score is None else 0
                stop = save = False
                while len(waiting) > ahead:
                    told = waiting.popleft()
                    teller.tell(told)
                    stopping, saving = (told.flags > 0).tolist()
                    stop, save = stop or stopping, save or saving
                if stop or save:
                    for told in waiting:
                        teller.tell(told)
                    waiting.clear()
                    self._save(teller)
                    saved = time.monotonic()
                if stop:
                    self._stopped(signalled())
                if self.ended:
                    break
            for told in waiting:
                teller.tell(told)
        self.ended = True
        self._save(teller)

    def _due(self, seconds: float) -> bool:
        assert self.run is not None
        by_steps = self.run.steps and (self.step + 1) % self.run.steps == 0
        return bool(by_steps) or seconds >= self.run.seconds

    def _one(self, step: Step, *, flags: tuple[bool, bool]) -> _Told:
        """One step of the optimizer.

        Args:
            flags: whether this process was told to stop, and wants a checkpoint; one
                process's word counts for all.
        """
        config, fabric = self.config, self.fabric
        shared = torch.cat([step.counts, torch.tensor(flags, dtype=torch.float64)])
        shared = self._summed(fabric.to_device(shared.float()))
        counts = shared[: -len(flags)].clamp(min=1)
        share = warmup_cosine(
            step.number, steps=config.steps, warmup=round(config.warmup * config.steps)
        )
        _seed(fabric.device, config.seed, step.number, fabric.global_rank)

        total = torch.zeros((), device=fabric.device)
        for index, part in enumerate(step.parts, start=1):
            waits = fabric.world_size > 1 and index < len(step.parts)
            with fabric.no_backward_sync(self.learner.module, enabled=waits):
                loss = self.learner.module(fabric.to_device(part), counts)
                # Gradients are averaged over processes, and their sum is wanted.
                fabric.backward(loss * fabric.world_size)
            total += loss.detach()
        total = self._summed(total)
        self.step = step.number + 1
        norm = self.learner.advance(self.step, share=share)
        self._watched()
        return _Told(
            step=self.step,
            loss=total,
            norm=norm,
            rate=self.learner.rate,
            flags=shared[-len(flags) :],
            score=self._validated(),
        )

    def _summed(self, tensor: Tensor) -> Tensor:
        """Over all processes."""
        summed = self.fabric.all_reduce(tensor, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return summed

    def _watched(self) -> None:
        watch = self.watch
        if watch and self._comes_round(watch.every):
            with self.clock.standing(), self.learner.lent():
                if self.fabric.is_global_zero:
                    watch.look(self.step)

    def _comes_round(self, every: int) -> bool:
        return self.step == self.config.steps or self.step % every == 0

    def _validated(self) -> float | None:
        """Score the weights that would come back now, and keep them if they are the best."""
        validation = self.validation
        if validation is None or not self._comes_round(validation.every):
            return None
        with self.clock.standing(), self.learner.lent() as weights:
            # Every process scores, lest one waits too long for another; the first one's counts.
            score = float(self.fabric.broadcast(validation.score()))
        if isfinite(score) and (self.best.score is None or score > self.best.score):
            kept = {name: tensor.detach().clone() for name, tensor in weights.items()}
            self.best = _Best(self.step, score, 0, kept)
        else:
            self.best.misses += 1
        self.ended = bool(validation.patience) and self.best.misses >= validation.patience
        return score

    def give_back(self) -> None:
        """The weights to keep into the model: the best, or the average, or the last."""
        self.learner.give_back(self.best.weights or self.learner.weights())

    def _save(self, teller: "_Teller") -> None:
        if self.run is None:
            return
        path = self.run.checkpoint
        part = path.with_name(f"{path.name}.part")
        with self.clock.standing():
            teller.curves.sync()
            kept = {
                **self.learner.state(),
                "step": self.step,
                "ended": self.ended,
                "best": asdict(self.best),
            }
            if self.fabric.is_global_zero:
                torch.save(kept, part)
                move_in(part, path)
            self.fabric.barrier()

    def load(self) -> None:
        """Go on from the checkpoint.

        Raises:
            ModelError: it is damaged, or of another version.
        """
        assert self.run is not None
        try:
            kept = torch.load(self.run.checkpoint, map_location="cpu", weights_only=True)
            self.learner.load(kept)
            self.step, self.ended = int(kept["step"]), bool(kept["ended"])
            self.best = _Best(**kept["best"])
        # Whatever a damaged file makes torch say.
        except Exception as error:
            raise ModelError(
                f"{self.run.checkpoint} is damaged, or of another version of geofm "
                f"({type(error).__name__}); start again with --overwrite"
            ) from error

    def _stopped(self, number: int | None) -> NoReturn:
        if not self.fabric.is_global_zero:
            raise SystemExit(0)
        text = (
            f"stopped after step {self.step} of {self.config.steps}, which is kept; give the same "
            "command with --resume to go on"
        )
        if number == SIGINT:
            raise KeyboardInterrupt(text)
        raise Stopped(text)


class _Teller:
    """Keeps a row a step, stops at the first loss that is no number, tells the progress."""

    def __init__(self, curves: Curves, course: _Course, progress: Progress, what: str) -> None:
        self.curves = curves
        self.config = course.config
        self.clock = course.clock
        self.first = course.fabric.is_global_zero
        self.progress = progress
        self.what = what
        before = curves.rows[-1].seconds if curves.rows else 0.0
        self.began = time.monotonic() - before
        self.lately = deque([self.clock.seconds()], maxlen=_LATELY + 1)

    def tell(self, told: _Told) -> None:
        """One step is computed."""
        loss, norm = float(told.loss), float(told.norm)
        if not isfinite(loss) or not isfinite(norm):
            if not self.first:
                raise SystemExit(0)  # all come to the same, and one says it
            found = f"the loss is {loss}" if not isfinite(loss) else f"the gradient is {norm}"
            raise ConfigError(
                f"{found} at step {told.step}; lower the learning rate "
                f"(now {self.config.learning_rate:g}), or keep clipping on"
            )
        self.lately.append(self.clock.seconds())
        samples = (len(self.lately) - 1) * self.config.batch_size
        speed = samples / max(self.lately[-1] - self.lately[0], 1e-9)
        seconds = time.monotonic() - self.began
        self.curves.add(Row(told.step, loss, told.rate, norm, speed, seconds, told.score))
        text = f"{self.what}, loss {self.loss():.3f}, {speed:.3g} samples/s"
        self.progress(told.step / self.config.steps, text)

    def loss(self) -> float:
        """The mean of the last tenth of the steps."""
        tail = [row.loss for row in self.curves.rows[-max(self.config.steps // 10, 1) :]]
        return sum(tail) / max(len(tail), 1)


def _seed(device: torch.device, *words: int) -> None:
    """Let whatever a step draws, dropout for one, follow from the words: a resumed step too."""
    seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
