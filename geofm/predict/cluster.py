"""A Dask cluster as the workers of a batch: one that stands already, or one started here.

Dask tries a task whose worker died on other workers by itself, and gives up after some
deaths (``distributed.scheduler.allowed-failures``); that is one death to the driver. A
scheduler that goes takes all tasks with it: the driver waits for it and hands them out anew.
Tasks are one a worker, so that a dying one takes no scene along that it had not begun.
"""

import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from geofm.errors import ConfigError, GeofmError
from geofm.predict.remote import run_packed
from geofm.predict.task import Ended, Reason, SceneFailure, SceneTask

PATIENCE = 600.0
"""Seconds without a scheduler, or without any worker, after which the batch ends."""
_LONGEST_TRY = 30.0
_FIRST_TRY = 60.0
"""Seconds for a scheduler that was started just before."""
_LOCAL = "local"


@contextmanager
def cluster_workers(scheduler: str, *, count: int) -> Iterator["ClusterWorkers"]:
    """The workers of a Dask cluster.

    Args:
        scheduler: its address, such as ``"tcp://host:8786"``; ``"local"`` starts a cluster
            of ``count`` processes on this machine, and ends it afterwards.

    Raises:
        ConfigError: Dask is not installed, or there is no scheduler at the address.
    """
    if find_spec("distributed") is None:
        raise ConfigError(
            "--scheduler needs Dask's distributed, which is not installed; "
            "install it with: pip install 'geofm[cluster]'"
        )
    if scheduler == _LOCAL:
        from distributed import LocalCluster

        with (
            _quiet(),
            LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=count, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
            ) as cluster,
            _connected(cluster.scheduler_address) as workers,
        ):
            yield workers
        return
    with _quiet(), _connected(scheduler) as workers:
        yield workers


@contextmanager
def _quiet() -> Iterator[None]:
    """No tracebacks of what is mended here, such as a lost connection."""
    import distributed  # noqa: F401  it sets the levels when it is imported

    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


@contextmanager
def _connected(address: str) -> Iterator["ClusterWorkers"]:
    workers = ClusterWorkers(address)
    try:
        yield workers
    finally:
        workers.end()


class ClusterWorkers:
    """A connection to a scheduler, mended when it breaks; made by `cluster_workers`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._tasks: dict[Any, SceneTask] = {}
        self._away_since: float | None = None
        self._next_try = 1.0
        self._count = 1
        try:
            self._client = _client(address, _FIRST_TRY)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(
                f"no Dask scheduler answers at {address} ({_short(error)}); start one "
                "(dask scheduler), or check the address"
            ) from error

    @property
    def capacity(self) -> int:
        # One without a worker yet, so that a cluster that grows with its work may begin.
        return max(self._count, 1) if self._client else 0

    @property
    def shares(self) -> float:
        return 0.0

    def start(self, task: SceneTask) -> None:
        # Never a result of an earlier try: what stands on the disk is looked at anew.
        future = self._client.submit(run_packed, pickle.dumps(task), pure=False, retries=0)
        self._tasks[future] = task

    def wait(self, seconds: float) -> list[Ended]:
        if self._client is None:
            self._reconnect()
            return []
        try:
            self._look_for_workers()
            return self._ended(seconds)
        except OSError:  # Dask's CommClosedError is one
            return self._lost()

    def stop(self) -> None:
        """Give up waiting; a scene in work is finished by its worker, and kept next time."""
        if self._client is not None:
            with suppress(OSError):
                self._client.cancel(list(self._tasks))

    def end(self) -> None:
        """Leave the scheduler."""
        if self._client is not None:
            _close(self._client)

    def _ended(self, seconds: float) -> list[Ended]:
        from distributed import wait
        from distributed.client import FuturesCancelledError

        if not self._tasks:
            time.sleep(seconds)  # until an output that another run holds may be free
            return []
        with self._client.as_current(), suppress(TimeoutError, FuturesCancelledError):
            wait(  # type: ignore[no-untyped-call]
                list(self._tasks), timeout=max(seconds, 0.01), return_when="FIRST_COMPLETED"
            )
        if self._client.status != "running":
            return self._lost()
        ended = []
        for future, task in list(self._tasks.items()):
            if future.status == "pending":
                continue
            try:
                ended.append(_end_of(future, task))
            except OSError:
                return [*ended, *self._lost()]
            del self._tasks[future]
        return ended

    def _lost(self) -> list[Ended]:
        """The scheduler is gone: all that it had is handed out again when it is back."""
        _close(self._client)
        self._client = None
        self._away_since, self._next_try = time.monotonic(), 1.0
        tasks, self._tasks = self._tasks, {}
        return [
            SceneFailure(task.name, "stopped", "the scheduler was lost") for task in tasks.values()
        ]

    def _reconnect(self) -> None:
        """One try, longer than the last."""
        assert self._away_since is not None
        try:
            self._client = _client(self._address, self._next_try)
        except OSError as error:
            self._next_try = min(2 * self._next_try, _LONGEST_TRY)
            if time.monotonic() - self._away_since > PATIENCE:
                raise GeofmError(
                    f"the Dask scheduler at {self._address} has been away for "
                    f"{PATIENCE / 60:.0f} minutes; start it again, then run the same command"
                ) from error
        else:
            self._away_since = None

    def _look_for_workers(self) -> None:
        self._count = len(self._client.nthreads())
        if self._count:
            self._away_since = None
            return
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since > PATIENCE:
            raise GeofmError(
                f"the Dask scheduler at {self._address} has had no worker for "
                f"{PATIENCE / 60:.0f} minutes; start some (dask worker {self._address} "
                "--nthreads 1), then run the same command"
            )


def _client(address: str, seconds: float) -> Any:
    from distributed import Client

    return Client(address, timeout=seconds, set_as_default=False)  # type: ignore[no-untyped-call]


def _close(client: Any) -> None:
    with suppress(OSError, TimeoutError):
        client.close(timeout=2)


def _end_of(future: Any, task: SceneTask) -> Ended:
    """What a future that is not pending says of its scene."""
    if future.status == "finished":
        ended: Ended = future.result(timeout=_LONGEST_TRY)
        return ended
    if future.status != "error":
        return SceneFailure(task.name, "stopped", "the task was cancelled")
    from distributed import KilledWorker

    error = future.exception(timeout=_LONGEST_TRY)
    reason: Reason = "failed"
    if isinstance(error, KilledWorker):
        return SceneFailure(task.name, "died", "its workers of the Dask cluster died")
    if isinstance(error, ImportError):
        reason = "unfit"
    return SceneFailure(
        task.name, reason, f"a worker of the Dask cluster cannot run it ({_short(error)})"
    )


def _short(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
