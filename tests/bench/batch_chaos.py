"""A batch whose workers die at random, and its Dask scheduler once: is every map there?

    python tests/bench/batch_chaos.py [SCENES] [WORKERS] [KILLS] [--local] [--seed N]

prints one JSON line, and ends with 1 where a map is missing, differs from the single-process
run of the same recipe, or a good scene was set aside. Small scenes of a seeded model; one
more is no raster at all. With --local the workers are the batch's own processes; else those
of a Dask cluster, each in the care of someone who starts it again.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from map_setup import make_scenes, save_random

REPOSITORY = Path(__file__).parents[2]
TINY = (
    {"image_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    {"kind": "fcn", "classes": 2, "channels": 8},
)


def main(scenes: int, workers: int, kills: int, *, local: bool, seed: int) -> dict[str, object]:
    import torch

    import geofm
    from geofm.predict.ledger import ledger_path, read_ledger

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="geofm-chaos-") as place:
        folder = Path(place)
        model = save_random(folder / "model.geofm", *TINY)
        make_scenes(folder / "scenes", ((61 + n % 17, 83 + n % 11) for n in range(scenes)))
        expected = folder / "expected"
        whole = geofm.map_batch(
            model, folder / "scenes", expected, workers=0, device="cpu", command="c"
        )
        assert whole.complete, whole
        (folder / "scenes" / "broken.tif").write_bytes(b"II*\0 no raster")
        started, used = time.monotonic(), _cpu_seconds()
        chaos = Chaos(random.Random(seed), kills)
        with contextmanager(_own_workers if local else _dask)(workers, chaos) as scheduler:
            report = geofm.map_batch(
                model,
                folder / "scenes",
                folder / "maps",
                workers=workers,
                scheduler=scheduler,
                device="cpu",
                command="c",
                progress=chaos.watch,
            )
        equal = [
            path.name
            for path in sorted(expected.glob("s*"))
            if (folder / "maps" / path.name).is_file()
            and (folder / "maps" / path.name).read_bytes() == path.read_bytes()
        ]
        lines = read_ledger(ledger_path(folder / "maps"))
        return {
            "scenes": scenes,
            "workers": f"{workers} {'processes' if local else 'of Dask'}",
            "workers_killed": chaos.killed,
            "schedulers_killed": chaos.schedulers_killed,
            "deaths_with_a_scene": report.tally.deaths,
            "files_expected": len(list(expected.glob("s*"))),
            "files_equal": len(equal),
            "good_scenes_set_aside": sum(one.name != "broken" for one in report.tally.failed),
            "ledger": {
                status: sum(line.status == status for line in lines)
                for status in ("mapped", "kept", "failed", "waiting", "running")
            },
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(_cpu_seconds() - used, 1),
        }


def holds(found: dict[str, object]) -> bool:
    """Whether every map is there and whole, and no good scene was set aside."""
    return (
        found["files_equal"] == found["files_expected"]
        and found["good_scenes_set_aside"] == 0
        and found["ledger"]["failed"] == 1  # type: ignore[index]
    )


class Chaos:
    """Kills now and then, as the batch goes on.

    The moments are drawn over the batch's progress, not over the clock: a busy machine sees
    as many deaths as an idle one.
    """

    def __init__(self, dice: random.Random, kills: int) -> None:
        self.dice = dice
        self.moments = sorted(dice.uniform(0.02, 0.9) for _ in range(kills))
        self.killed = self.schedulers_killed = 0
        self.find_victims: Callable[[], Sequence[psutil.Process | _Kept]] = list
        self.kill_scheduler: Callable[[], None] = lambda: None
        self.scheduler_at = dice.uniform(0.3, 0.6)

    def watch(self, share: float, _text: str) -> None:
        """Called by the batch with its progress."""
        while self.moments and share >= self.moments[0]:
            victims = self.find_victims()
            if not victims:
                break
            self.moments.pop(0)
            self.dice.choice(victims).kill()
            self.killed += 1
        if share >= self.scheduler_at and not self.schedulers_killed:
            self.kill_scheduler()


def _own_workers(_workers: int, chaos: Chaos) -> Iterator[None]:
    """The batch's own processes: this one has no other children."""
    chaos.find_victims = lambda: [
        one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE
    ]
    yield None


def _dask(workers: int, chaos: Chaos) -> Iterator[str]:
    """A scheduler and workers, each started again when it ends, as a cluster's manager does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    common = ["--no-dashboard", "--host", "127.0.0.1"]
    scheduler = _Kept(["scheduler", "--port", str(port), *common])
    kept = [
        _Kept(
            ["worker", address, "--nthreads", "1", "--no-nanny", "--death-timeout", "60", *common]
        )
        for _ in range(workers)
    ]
    chaos.find_victims = lambda: [one for one in kept if one.alive]

    def kill_scheduler() -> None:
        scheduler.kill()
        chaos.schedulers_killed += 1

    chaos.kill_scheduler = kill_scheduler
    try:
        yield address
    finally:
        for one in [*kept, scheduler]:
            one.end()


class _Kept:
    """A process of Dask that is started again whenever it ends."""

    def __init__(self, words: list[str]) -> None:
        self._command = [sys.executable, "-m", "dask", *words]
        self._ended = threading.Event()
        self._process = self._start()
        self._carer = threading.Thread(target=self._care, daemon=True)
        self._carer.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._ended.set()
        self._process.kill()
        self._carer.join()

    def _care(self) -> None:
        while not self._ended.is_set():
            self._process.wait()
            if not self._ended.is_set():
                self._process = self._start()
        self._process.kill()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def _cpu_seconds() -> float:
    """Of this process and all that it has waited for."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("scenes", type=int, nargs="?", default=200)
    words.add_argument("workers", type=int, nargs="?", default=4)
    words.add_argument("kills", type=int, nargs="?", default=12)
    words.add_argument("--local", action="store_true")
    words.add_argument("--seed", type=int, default=0)
    said = words.parse_args()
    result = main(said.scenes, said.workers, said.kills, local=said.local, seed=said.seed)
    print(json.dumps(result))
    sys.exit(0 if holds(result) else 1)
