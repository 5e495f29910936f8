"""The folder of a training that may be stopped, killed and watched.

    NAME.run/
        settings.json   what the curve follows from, and its hash; another training does not resume
        metrics.csv     a line a step
        last.ckpt       all that is needed to go on; gone once the result is saved
        tensorboard/    the same curves, where tensorboard is installed
        pictures/       of a pretraining: what it rebuilds, as it goes on

A checkpoint appears whole or not at all. Lines of steps after the last
checkpoint are dropped when a run goes on, and written again.
"""

import csv
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from geofm.errors import OutputError

CHECKPOINT = "last.ckpt"


class Row(NamedTuple):
    """One step, a line of ``metrics.csv``.

    Attributes:
        step: from 1.
        loss: of the step, over all devices.
        learning_rate: the highest of the step's.
        gradient_norm: before clipping.
        samples_per_second: lately.
        seconds: since the training began, without the time it lay stopped.
        score: on the validation data, higher is better; None at most steps.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    samples_per_second: float
    seconds: float
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Where a training keeps what it needs to go on.

    Attributes:
        folder: made where it is missing; its parent exists.
        resume: go on where an unfinished run of the same settings stopped.
        restart: throw an unfinished run away.
        seconds: between checkpoints, about.
        steps: between checkpoints at most; 0 for no such limit.
    """

    folder: Path
    resume: bool = False
    restart: bool = False
    seconds: float = 300.0
    steps: int = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT


def check_run(run: Run, settings: Mapping[str, object]) -> bool:
    """Whether there is something to go on with; writes nothing.

    Args:
        settings: what the curve follows from, as JSON takes it.

    Raises:
        OutputError: an unfinished run lies there and the user has not said what to do
            with it, it has other settings, or there is nothing to go on with.
    """
    check_unfinished(run)
    # Killed before its first checkpoint, or never begun: the start is where it was.
    if run.restart or not run.checkpoint.is_file():
        return False
    try:
        before = json.loads((run.folder / "settings.json").read_text())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{run.folder}/settings.json cannot be read ({error}); start again with --overwrite"
        ) from error
    if before.get("sha256") != digest(settings):
        changed = ", ".join(_changed(before.get("settings", {}), plain(settings))) or "its settings"
        raise OutputError(
            f"{run.folder} was begun with another {changed}; resume with what it was begun with, "
            "or start again with --overwrite"
        )
    return True


def check_unfinished(run: Run) -> None:
    """Refuse to begin where another training has not ended, before any work is done.

    Raises:
        OutputError: the user has not said what to do with it.
    """
    if run.checkpoint.is_file() and not (run.resume or run.restart):
        raise OutputError(
            f"{run.folder} holds an unfinished training; give resume=True to go on with it, or "
            "restart=True to throw it away"
        )


def finish(folder: Path) -> None:
    """Drop the checkpoint of a training whose result is saved; its curves stay."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def digest(settings: Mapping[str, object]) -> str:
    """SHA-256 of settings."""
    return hashlib.sha256(json.dumps(plain(settings), sort_keys=True).encode()).hexdigest()


def plain(settings: Mapping[str, object]) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> list[str]:
    """Names whose values differ, inner ones with the names above them."""
    names = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _changed(old, new, f"{above}{name}.")
        elif old != new:
            names.append(f"{above}{name}")
    return names


class Curves:
    """The lines of a run, in memory and, where it has a folder, on disk.

    Args:
        folder: of the run; None keeps them in memory alone.
        settings: written beside them.
        after: steps done before; lines up to it are read back, others dropped.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, object], *, after: int) -> None:
        self.rows: list[Row] = []
        self._file: IO[str] | None = None
        self._board: Any = None
        if folder is None:
            return
        folder.mkdir(exist_ok=True)
        path = folder / "metrics.csv"
        if not after:
            finish(folder)
            for drawn in ("tensorboard", "pictures"):
                shutil.rmtree(folder / drawn, ignore_errors=True)
        elif path.is_file():
            self.rows = [row for row in read_rows(path) if row.step <= after]
        whole = {"sha256": digest(settings), "settings": plain(settings)}
        _replace(folder / "settings.json", json.dumps(whole, indent=2))
        lines = [",".join(Row._fields), *(_line(row) for row in self.rows)]
        _replace(path, "\n".join(lines) + "\n")
        self._file = path.open("a")
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)

    def add(self, row: Row) -> None:
        """One more line."""
        self.rows.append(row)
        if self._file:
            self._file.write(_line(row) + "\n")
            # A line at a time, so that the curve can be watched.
            self._file.flush()
        if self._board:
            for name, value in row._asdict().items():
                if name != "step" and value is not None:
                    self._board.add_scalar(name, value, row.step)

    def sync(self) -> None:
        """Put every line on the disk."""
        if self._file:
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
        if self._board:
            self._board.close()


def read_rows(path: Path) -> list[Row]:
    """The lines of a ``metrics.csv``; one that was cut off by a kill is left out."""
    with path.open(newline="") as file:
        found = []
        for line in csv.DictReader(file):
            try:
                found.append(
                    Row(
                        step=int(line["step"]),
                        loss=float(line["loss"]),
                        learning_rate=float(line["learning_rate"]),
                        gradient_norm=float(line["gradient_norm"]),
                        samples_per_second=float(line["samples_per_second"]),
                        seconds=float(line["seconds"]),
                        score=float(line["score"]) if line["score"] else None,
                    )
                )
            except (TypeError, ValueError):
                break
        return found


def move_in(part: Path, path: Path) -> None:
    """Let a file that is written whole take its place, on the disk too."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    move_in(part, path)


def _line(row: Row) -> str:
    # repr, so that the number read back is the number written.
    return ",".join("" if value is None else repr(value) for value in row)
