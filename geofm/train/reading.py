"""Steps of training, read while the model computes: sample indices in, batches and counts out."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import default_collate

from geofm.tiles.dataset import Sample


class Samples(Protocol):
    """Samples by index; each is a function of its index alone."""

    def __getitem__(self, index: int, /) -> Sample: ...


class Step(NamedTuple):
    """What one process learns from in a step.

    Attributes:
        number: from 0.
        parts: batches whose gradients are summed.
        counts: (terms,) float64, over the parts.
    """

    number: int
    parts: list[Sample]
    counts: Tensor


def steps_of(
    dataset: Samples,
    count: Callable[[Sample], Tensor],
    *,
    numbers: range,
    batch_size: int,
    parts: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> Iterator[Step]:
    """The share of one process of each step.

    Sample ``i`` of step ``s`` is ``dataset[s * batch_size + i]``, whatever the number
    of processes and parts; process ``r`` takes the ``r``-th of ``world`` equal runs of them.

    Args:
        count: what a batch adds to ``counts``.
        parts: batches of a process's share.
        pin: keep batches where a GPU copies them from without waiting.
    """
    size = batch_size // world // parts
    for number in numbers:
        first = number * batch_size + rank * size * parts
        batches: list[Sample] = []
        for start in range(first, first + size * parts, size):
            batch: Sample = default_collate([dataset[i] for i in range(start, start + size)])
            batches.append(batch)
        counts = torch.stack([count(batch).double() for batch in batches]).sum(0)
        if pin:
            batches = [Sample(*(tensor.pin_memory() for tensor in batch)) for batch in batches]
        yield Step(number, batches, counts)


@contextmanager
def read_ahead(steps: Iterator[Step], *, depth: int = 2) -> Iterator[Iterator[Step]]:
    """Take steps in a thread of its own, ``depth`` ahead at most.

    What the thread raises is raised where its step would have come. The thread
    ends with the context.
    """
    reader = _Reader(steps, depth)
    reader.start()
    try:
        yield reader.take()
    finally:
        reader.left.set()
        reader.join()


class _Reader(threading.Thread):
    def __init__(self, steps: Iterator[Step], depth: int) -> None:
        super().__init__(name="geofm-reader", daemon=True)
        self.steps = steps
        self.left = threading.Event()
        self.waiting: queue.Queue[Step | Exception | None] = queue.Queue(depth)

    def run(self) -> None:
        """Read until nothing is left, or nobody waits any more."""
        try:
            for step in self.steps:
                self._put(step)
                if self.left.is_set():
                    return
        except Exception as error:
            self._put(error)
        else:
            self._put(None)

    def take(self) -> Iterator[Step]:
        """The steps, in order."""
        while (item := self.waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _put(self, item: Step | Exception | None) -> None:
        while not self.left.is_set():
            # Full for ever, where the one who takes has gone.
            with suppress(queue.Full):
                self.waiting.put(item, timeout=0.1)
                return
