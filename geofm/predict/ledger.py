"""The ledger of a batch: a SQLite file for people to read, written by the driver alone.

    sqlite3 maps/ledger.sqlite "select scene, tries, error from scenes where status = 'failed'"

It decides nothing: the finished maps are the record. So a full disk, which a line cannot be
written to, holds nothing up; the line is written with the next one.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from geofm.errors import OutputError

NAME = "ledger.sqlite"
# File systems whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5).
_NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "glusterfs", "beegfs", "afs"),
    *("gpfs", "pvfs2", "9p", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs"),
}
Status = Literal["waiting", "running", "mapped", "kept", "failed"]


@dataclass(slots=True)
class Line:
    """One scene in the ledger.

    Attributes:
        scene: name of its map, without the ending.
        source: its first file or address, without secrets.
        map: path of the map.
        status: ``"kept"`` is a map that stood there before, whole and of this recipe.
        tries: of this run that ended, well or not.
        deaths: workers that died while they had this scene in work.
        seconds: of the last try.
        pixels, square_km: of the grid; 0 until it is mapped.
        error: of the last try that failed.
        updated: time of the last change, UTC.
    """

    scene: str
    source: str
    map: str
    status: Status = "waiting"
    tries: int = 0
    deaths: int = 0
    seconds: float = 0.0
    pixels: int = 0
    square_km: float = 0.0
    error: str = ""
    updated: str = ""


@dataclass(slots=True)
class RunLine:
    """One run of the batch in the ledger, the last line being the last run."""

    began: str
    command: str
    model: str
    model_sha256: str
    workers: str
    ended: str = ""
    outcome: str = "running"


def ledger_path(folder: Path) -> Path:
    """Where a batch's ledger lies: in its folder; on a local disk where that is a network's.

    SQLite's locks cannot be trusted over a network.
    """
    if _file_system(folder) not in _NETWORK:
        return folder / NAME
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return state / "geofm" / f"{name}.{NAME}"


@contextmanager
def open_ledger(path: Path, lines: Iterable[Line], run: RunLine) -> Iterator["Ledger"]:
    """Open a ledger with these scenes; those of earlier runs stay in it.

    Raises:
        OutputError: it is no ledger, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Long waits for a reader's lock would hold the batch up.
        base = sqlite3.connect(path, timeout=2.0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise OutputError(f"cannot write {path} ({error}); choose another folder") from error
    try:
        ledger = _begin(base, path, list(lines), run)
        try:
            yield ledger
        finally:
            run.ended = now()
            ledger.write()
    finally:
        base.close()


def _begin(base: sqlite3.Connection, path: Path, lines: list[Line], run: RunLine) -> "Ledger":
    try:
        # Whole after a crash, and no wait for the disk with every line.
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.execute(f"CREATE TABLE IF NOT EXISTS scenes ({_columns(Line, key='scene')})")
        base.execute(f"CREATE TABLE IF NOT EXISTS runs ({_columns(RunLine, key='began')})")
    except sqlite3.DatabaseError as error:
        raise OutputError(
            f"{path} cannot be written as a ledger ({error}); move it away, or free some space"
        ) from error
    ledger = Ledger(base, run)
    ledger.write(*lines)
    return ledger


class Ledger:
    """An open ledger; made by `open_ledger`."""

    def __init__(self, base: sqlite3.Connection, run: RunLine) -> None:
        self._base, self._run = base, run
        self._waiting: dict[str, Line] = {}

    def write(self, *lines: Line) -> None:
        """Write lines, and those that could not be written before."""
        for line in lines:
            line.updated = now()
            self._waiting[line.scene] = line
        try:
            self._base.execute("BEGIN")
            _put(self._base, "scenes", Line, self._waiting.values())
            _put(self._base, "runs", RunLine, [self._run])
            self._base.execute("COMMIT")
        except sqlite3.OperationalError:  # the disk is full, or a reader holds the file
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            return
        self._waiting.clear()


def read_ledger(path: Path) -> list[Line]:
    """The scenes of a ledger, in the order in which they were first seen."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as base:
        names = ", ".join(field.name for field in fields(Line))
        rows = base.execute(f"SELECT {names} FROM scenes ORDER BY rowid").fetchall()  # noqa: S608
    base.close()
    return [Line(*row) for row in rows]


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _put(
    base: sqlite3.Connection, table: str, kind: type, rows: Iterable[Line] | Iterable[RunLine]
) -> None:
    names = [field.name for field in fields(kind)]
    key, *rest = names
    changed = ", ".join(f"{name} = excluded.{name}" for name in rest)
    base.executemany(
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{n}' for n in names)}) "  # noqa: S608
        f"ON CONFLICT ({key}) DO UPDATE SET {changed}",
        [asdict(row) for row in rows],
    )


def _columns(kind: type, *, key: str) -> str:
    names = [field.name for field in fields(kind)]
    return ", ".join(f"{name}{' PRIMARY KEY' if name == key else ''}" for name in names)


def _file_system(folder: Path) -> str:
    """The kind of file system that a folder lies on; "" where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    place = folder.resolve()
    found = [line.split()[1:3] for line in mounts]
    over = [(len(at), kind) for at, kind in found if place.is_relative_to(at.replace("\\040", " "))]
    return max(over, default=(0, ""))[1]
