"""Local worker processes: each maps one scene at a time, and may die at any moment.

The driver knows which scene a dead worker had in work, and starts another in its place.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Protocol

import geofm
from geofm.errors import GeofmError, Stopped
from geofm.predict.plan import GIB
from geofm.predict.task import Ended, Reason, SceneFailure, SceneTask, run_task

# A worker without a scene: Python, torch, GDAL.
WORKER_BYTES = GIB // 2
START_DEATHS = 5
"""Deaths before the first task, in a row and a worker, after which the batch ends."""


class Workers(Protocol):
    """Those who map: processes of this machine, or of a cluster."""

    @property
    def capacity(self) -> int:
        """Scenes that may be in work at the same time."""
        ...

    @property
    def shares(self) -> float:
        """How far the scenes in work are, summed; each counts 0 to 1."""
        ...

    def start(self, task: SceneTask) -> None:
        """Give a task away."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """What has ended since; empty after so many seconds.

        Raises:
            GeofmError: no worker can work.
        """
        ...

    def stop(self) -> None:
        """Ask the workers to finish the blocks in work, and no more."""
        ...


def worker_count(*, cores: float, memory: int, gpus: int, ceiling: int, weights: int) -> int:
    """Workers by rule: one a GPU; else one a core, as far as memory goes.

    Args:
        cores, memory: that this process may use; memory in bytes.
        ceiling: bytes that a worker may take over the model itself.
        weights: bytes of the model's weights.

    >>> worker_count(cores=16, memory=32 * GIB, gpus=0, ceiling=2 * GIB, weights=GIB)
    7
    """
    if gpus:
        return gpus
    # A fifth stays free for the system and its file cache.
    fits = int(0.8 * memory / (ceiling + weights + WORKER_BYTES))
    return max(min(int(cores), fits), 1)


class InProcess:
    """No worker but this very process: one scene after the other.

    It starts at once and needs no more memory than a single map; a scene that brings the
    process down ends the batch, which goes on with the next run.
    """

    capacity = 1
    shares = 0.0

    def __init__(self) -> None:
        self._task: SceneTask | None = None

    def start(self, task: SceneTask) -> None:
        self._task = task

    def wait(self, seconds: float) -> list[Ended]:
        if self._task is None:
            time.sleep(seconds)  # until an output that another run holds may be free
            return []
        task, self._task = self._task, None
        ended = run_task(task)
        if isinstance(ended, SceneFailure) and ended.reason == "stopped":
            raise Stopped(f"{ended.text.partition(';')[0]}; the same command goes on")
        return [ended]

    def stop(self) -> None:
        """Nothing is in work while the driver speaks."""


@contextmanager
def local_workers(
    count: int, *, threads: int, gpus: Sequence[str], logs: Path
) -> Iterator["LocalWorkers"]:
    """Start worker processes, and end them all.

    Args:
        threads: that each computes with.
        gpus: of this machine, as ``CUDA_VISIBLE_DEVICES`` names them; worker n sees the
            n-th alone, in turn.
        logs: folder for what the workers print.
    """
    workers = LocalWorkers(count, threads=threads, gpus=gpus, logs=logs)
    try:
        yield workers
    finally:
        workers.end()


@dataclass(slots=True)
class _Worker:
    """One process, and what it has in work."""

    index: int
    process: subprocess.Popen[bytes]
    line: Connection
    log: IO[bytes]
    task: SceneTask | None = None
    begun: bool = False
    share: float = 0.0


class LocalWorkers:
    """Worker processes; made by `local_workers`."""

    def __init__(self, count: int, *, threads: int, gpus: Sequence[str], logs: Path) -> None:
        self._threads, self._gpus, self._logs = threads, gpus, logs
        self._start_deaths = 0
        self._stopping = False
        logs.mkdir(parents=True, exist_ok=True)
        self._workers: list[_Worker] = []
        for index in range(count):
            self._workers.append(self._launch(index))

    @property
    def capacity(self) -> int:
        return len(self._workers)

    @property
    def shares(self) -> float:
        return sum(worker.share for worker in self._workers if worker.task)

    def start(self, task: SceneTask) -> None:
        worker = next(worker for worker in self._workers if worker.task is None)
        worker.task, worker.begun, worker.share = task, False, 0.0
        with suppress(OSError):  # it is dead, and `wait` will see so
            worker.line.send(task)

    def wait(self, seconds: float) -> list[Ended]:
        ended = []
        by_line = {worker.line: worker for worker in self._workers}
        for line in wait(list(by_line), seconds):
            assert isinstance(line, Connection)
            found = self._hear(by_line[line])
            if found is not None:
                ended.append(found)
        return ended

    def stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Kill what still runs; unfinished blocks are kept."""
        for worker in self._workers:
            worker.line.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.log.close()

    def _hear(self, worker: _Worker) -> Ended | None:
        """One message of a worker, or its death."""
        try:
            message = worker.line.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if isinstance(message, float):
            worker.share, worker.begun, self._start_deaths = message, True, 0
            return None
        worker.task = None
        ended: Ended = message
        return ended

    def _bury(self, worker: _Worker) -> Ended | None:
        """Put another in a dead worker's place; returns the scene that it had in work."""
        worker.line.close()
        how = _how(worker.process.wait())
        words = _last_words(worker.log)
        worker.log.close()
        if not self._stopping:
            if not worker.begun:
                self._start_deaths += 1
            if self._start_deaths > START_DEATHS * len(self._workers):
                raise GeofmError(
                    f"workers end before they have begun ({how}{words}); check memory and the "
                    "installation (geofm doctor), or choose fewer --workers"
                )
            self._workers[self._workers.index(worker)] = self._launch(worker.index)
        else:
            self._workers.remove(worker)
        if worker.task is None:
            return None
        # Before it had begun, the scene has nothing to do with it.
        reason: Reason = "died" if worker.begun and not self._stopping else "stopped"
        return SceneFailure(worker.task.name, reason, f"its worker {how}{words}")

    def _launch(self, index: int) -> _Worker:
        ours, theirs = Pipe()
        log = (self._logs / f"worker-{index}.log").open("w+b")
        with theirs:
            process = subprocess.Popen(  # noqa: S603  this very interpreter
                [sys.executable, "-m", "geofm.predict.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self._environment(index),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return _Worker(index, process, ours, log)

    def _environment(self, index: int) -> Mapping[str, str]:
        threads = str(self._threads)
        package = str(Path(geofm.__file__).parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        visible = (
            {"CUDA_VISIBLE_DEVICES": self._gpus[index % len(self._gpus)]} if self._gpus else {}
        )
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            **visible,
        }


def _how(code: int) -> str:
    """How a process ended.

    >>> _how(-9), _how(-11), _how(3)
    ('was killed (SIGKILL, often for want of memory)', 'crashed (SIGSEGV)', 'ended with code 3')
    """
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL, often for want of memory)"
    return f"{'was stopped' if name == 'SIGTERM' else 'crashed'} ({name})"


def _last_words(log: IO[bytes]) -> str:
    """The last line that a worker printed."""
    log.seek(0, os.SEEK_END)
    log.seek(max(log.tell() - 4096, 0))
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:200]}" if lines else ""
