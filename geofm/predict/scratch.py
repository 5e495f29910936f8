"""Finished blocks of a map on their way to a file: whole, checked, and there after a kill.

Beside ``OUT.tif`` lies the folder ``.OUT.tif.partial`` until the map is complete:

    plan.json       what is being made; another plan does not resume it
    classes.raw     a byte a pixel, row by row; likewise confidence and probabilities
    journal.jsonl   a line a finished block: its seams, its pieces, their checksums

A block counts once its line stands in the journal and its bytes have the line's
checksums; everything else is computed again.
"""

import errno
import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TypedDict

import numpy as np

from geofm.errors import BusyError, DiskFullError, OutputError
from geofm.predict.plan import Block
from geofm.predict.stitch import MapPiece, SeamSums
from geofm.scenes.window import Window


class PieceLine(TypedDict):
    """A piece in the journal: its window, and a checksum of each layer's bytes there."""

    area: tuple[int, int, int, int]
    checksums: dict[str, int]


class BlockLine(TypedDict):
    """A finished block, one line of the journal."""

    block: int
    seams: dict[str, int]
    pieces: list[PieceLine]


def scratch_folder(out: Path) -> Path:
    """Where the unfinished map of ``out`` lies."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def open_scratch(
    out: Path,
    *,
    shape: tuple[int, int],
    layers: Mapping[str, int],
    plan: Mapping[str, object],
    resume: bool,
    restart: bool,
) -> Iterator["Scratch"]:
    """Hold the unfinished map of one output; one process at a time.

    Args:
        out: the map to be.
        shape: height and width, pixels.
        layers: number of bands of each layer, by name.
        plan: whatever the bytes depend on, as JSON takes it.
        resume: go on with what lies there, if it was begun with the same plan.
        restart: throw away what lies there.

    Raises:
        OutputError: another process is at it, the disk is full, or an unfinished map
            lies there and neither ``resume`` nor ``restart`` says what to do.
    """
    folder = scratch_folder(out)
    plain = json.loads(json.dumps(plan))
    with disk_errors(out), ExitStack() as stack:
        begun = folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another run is writing {out}; wait for it, or choose another output"
        stack.enter_context(hold_lock(folder / "lock", busy))
        if begun and not resume and not restart:
            raise OutputError(
                f"an unfinished run for {out} lies here; go on with --resume, "
                "or start again with --overwrite"
            )
        same = resume and _read_plan(folder) == plain
        if not same:
            _clear(folder)
            (folder / "plan.json").write_text(json.dumps(plain))
        files = {
            name: stack.enter_context(
                _open_layer(folder / f"{name}.raw", bands * shape[0] * shape[1])
            )
            for name, bands in layers.items()
        }
        journal_path = folder / "journal.jsonl"
        lines = _whole_lines(journal_path, files, shape) if same else []
        _rewrite(journal_path, lines)
        journal = stack.enter_context(journal_path.open("a"))
        done = {line["block"]: SeamSums(**line["seams"]) for line in lines}
        yield Scratch(folder, shape, files, journal, done)


class Scratch:
    """Raw layers and their journal; made by `open_scratch`.

    Attributes:
        folder: where everything lies; final files are built here too.
        done: seams of the blocks that are finished, by index.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int],
        files: Mapping[str, IO[bytes]],
        journal: IO[str],
        done: dict[int, SeamSums],
    ) -> None:
        self.folder, self.done = folder, done
        self._shape, self._files, self._journal = shape, files, journal
        self._pieces: list[PieceLine] = []

    def write(self, piece: MapPiece) -> None:
        """Keep a piece of the block in work."""
        arrays = {"classes": piece.classes, "confidence": piece.confidence}
        if piece.probabilities is not None:
            arrays["probabilities"] = piece.probabilities
        checksums = {}
        for name, array in arrays.items():
            planes = np.ascontiguousarray(array.reshape(-1, *array.shape[-2:]))
            offsets = _offsets(piece.area, self._shape, len(planes))
            for offset, line in zip(offsets, planes.reshape(-1, planes.shape[-1]), strict=True):
                _write_at(self._files[name], line.tobytes(), offset)
            checksums[name] = zlib.crc32(planes.tobytes())
        self._pieces.append(PieceLine(area=piece.area, checksums=checksums))

    def finish(self, block: Block, seams: SeamSums) -> None:
        """Record a block once all its pieces are written."""
        line = BlockLine(block=block.index, seams=asdict(seams), pieces=self._pieces)
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()
        self.done[block.index] = seams
        self._pieces = []

    def raw(self, name: str) -> Path:
        """The raw bytes of a layer: bands x height x width."""
        return self.folder / f"{name}.raw"

    def remove(self) -> None:
        """Clear the folder away, once the map is in its place."""
        shutil.rmtree(self.folder)


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn what the file system says into one sentence about ``out``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (DiskFullError if full else OutputError)(
            f"cannot write {out} ({reason}); free some space or choose another folder, "
            "then go on with --resume"
        ) from error


@contextmanager
def hold_lock(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file; the lock goes with the process, however it ends.

    Raises:
        BusyError: another process holds it; says ``busy``.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(busy) from error
        yield


def _read_plan(folder: Path) -> object:
    try:
        return json.loads((folder / "plan.json").read_text())
    except (OSError, ValueError):
        return None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()


@contextmanager
def _open_layer(path: Path, size: int) -> Iterator[IO[bytes]]:
    """Open raw bytes with their whole size reserved, so that a full disk shows at once."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        yield file


def _write_at(file: IO[bytes], line: bytes, offset: int) -> None:
    written = os.pwrite(file.fileno(), line, offset)
    if written < len(line):  # a quota or a limit cut it short
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _whole_lines(
    journal: Path, files: Mapping[str, IO[bytes]], shape: tuple[int, int]
) -> list[BlockLine]:
    """The journal's lines whose bytes are as they were written; a torn last line is none."""
    lines: list[BlockLine] = []
    for text in journal.read_text().splitlines() if journal.exists() else []:
        try:
            line: BlockLine = json.loads(text)
        except ValueError:
            continue
        if all(
            _checksum(files[name], Window(*piece["area"]), shape) == checksum
            for piece in line["pieces"]
            for name, checksum in piece["checksums"].items()
        ):
            lines.append(line)
    return lines


def _checksum(file: IO[bytes], area: Window, shape: tuple[int, int]) -> int:
    bands = os.fstat(file.fileno()).st_size // (shape[0] * shape[1])
    checksum = 0
    for offset in _offsets(area, shape, bands):
        checksum = zlib.crc32(os.pread(file.fileno(), area.width, offset), checksum)
    return checksum


def _offsets(area: Window, shape: tuple[int, int], bands: int) -> Iterator[int]:
    """Where each row of an area begins in a layer, band after band."""
    for band in range(bands):
        for row in range(area.row, area.stop_row):
            yield (band * shape[0] + row) * shape[1] + area.col


def _rewrite(journal: Path, lines: list[BlockLine]) -> None:
    """Leave only whole lines, so that new ones follow a line's end."""
    fresh = journal.with_suffix(".new")
    fresh.write_text("".join(json.dumps(line) + "\n" for line in lines))
    fresh.replace(journal)
