"""Raster handles: borrowed by one thread at a time, a bounded number kept open.

A GDAL handle must not be used by two threads at once, and opening one costs a
read of the header. So handles wait in one pool a process: a reader borrows an
idle handle of its file, or opens another, and gives it back.
"""

import atexit
import logging
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from geofm.errors import SceneError
from geofm.scenes.ranges import check_ranges

MAX_IDLE = 64
"""Idle handles kept, over all files; far below the 1,024 open files a process may have."""

# Sidecars (.msk, .aux.xml, .ovr) are looked for by name; a folder of ten
# thousand scenes is not listed for each of them.
_LOCAL_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE"}
_REMOTE_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    # A server that sends next to nothing for ten seconds sends nothing.
    "GDAL_HTTP_LOW_SPEED_TIME": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    # The header of a COG in one request.
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}
_REMOTE = re.compile(r"^((https?|s3|gs|az)://|/vsi(curl|s3|gs|az)/)", re.IGNORECASE)


def is_remote(path: str) -> bool:
    """Whether GDAL reads this path over the network."""
    return bool(_REMOTE.match(path))


def plain_name(path: str) -> str:
    """The path as errors and receipts show it: without user, password and signature.

    >>> plain_name("https://me:secret@host/a/b.tif?sig=abc")
    'https://host/a/b.tif'
    """
    if not is_remote(path):
        return path
    prefix, _, address = path.rpartition("/vsicurl/") if "/vsicurl/" in path else ("", "", path)
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{prefix}{parts.scheme}://{host}{parts.path}" if parts.scheme else address


@contextmanager
def borrow(path: str) -> Iterator[Any]:
    """A rasterio dataset of this file, for the calling thread alone, until the block ends.

    Raises:
        rasterio.errors.RasterioError: the file cannot be opened.
    """
    key = (path, _fingerprint(path))
    dataset = _POOL.take(key) or _open(path)
    with _environment(path) if is_remote(path) else nullcontext():
        try:
            yield dataset
        except BaseException:
            # A handle that failed may be in any state.
            dataset.close()
            raise
        _POOL.give(key, dataset)


@contextmanager
def reading(path: str, *, name: str, what: str) -> Iterator[Any]:
    """`borrow`, with GDAL's complaints as a `SceneError` that names the file and ``what``."""
    try:
        with borrow(path) as dataset:
            yield dataset
    except (RasterioError, OSError) as error:
        raise SceneError(
            f"{name}: {what} cannot be read ({gdal_reason(error, path)}); "
            "the file is damaged, cut off or out of reach; fetch it again"
        ) from error


def close_idle() -> None:
    """Close every handle that nobody uses at the moment."""
    _POOL.clear()


def gdal_reason(error: BaseException, path: str) -> str:
    """What GDAL said first, in one line without secrets."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).replace(path, plain_name(path))
    text = re.sub(r"\?[^\s'\"]*", "", text)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


class _WithoutTokens(logging.Filter):
    """rasterio logs the addresses it opens; what follows their question mark is a secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = re.sub(r"\?[^\s'\"]*", "", text), ()
        return True


for _name in ("rasterio._base", "rasterio._env", "rasterio._io", "rasterio.env"):
    logging.getLogger(_name).addFilter(_WithoutTokens())


def expect_no_georeference() -> None:
    """Silence rasterio's warning on rasters without one: they are ours to judge.

    A filter rather than a `catch_warnings` block, which is not safe among threads.
    """
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


def _open(path: str) -> Any:
    expect_no_georeference()
    with _environment(path):
        dataset = rasterio.open(path)
    if path.startswith(("http://", "https://")):
        try:
            check_ranges(path)
        except BaseException:
            dataset.close()
            raise
    return dataset


def _environment(path: str) -> rasterio.Env:
    options = _REMOTE_OPTIONS if is_remote(path) else _LOCAL_OPTIONS
    chosen = rasterio.env.getenv() if rasterio.env.hasenv() else {}
    # What the user set, in the environment or in a rasterio.Env, stands.
    return rasterio.Env(
        **{k: v for k, v in options.items() if k not in os.environ and k not in chosen}
    )


def _fingerprint(path: str) -> tuple[int, ...]:
    """Changes when the file does, so that no handle outlives what it read."""
    if is_remote(path):
        return ()
    try:
        stat = Path(path).stat()
    except OSError:
        return ()
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


_Key = tuple[str, tuple[int, ...]]


class _Pool:
    """Idle handles by file, the longest unused first to go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: OrderedDict[_Key, list[Any]] = OrderedDict()

    def take(self, key: _Key) -> Any | None:
        with self._lock:
            handles = self._idle.get(key)
            if not handles:
                return None
            handle = handles.pop()
            if not handles:
                del self._idle[key]
            return handle

    def give(self, key: _Key, handle: Any) -> None:
        surplus = []
        with self._lock:
            self._idle.setdefault(key, []).append(handle)
            self._idle.move_to_end(key)
            while sum(map(len, self._idle.values())) > MAX_IDLE:
                oldest, handles = next(iter(self._idle.items()))
                surplus.append(handles.pop(0))
                if not handles:
                    del self._idle[oldest]
        for old in surplus:
            old.close()

    def clear(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for handles in idle.values():
            for handle in handles:
                handle.close()


_POOL = _Pool()
_INHERITED: list[_Pool] = []


def _start_afresh() -> None:
    """After a fork: the parent's handles share file positions with it, so leave them alone.

    They are kept, not closed: closing could wait for a lock that a thread of
    the parent held when it forked.
    """
    global _POOL  # noqa: PLW0603  one pool a process
    _INHERITED.append(_POOL)
    _POOL = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
atexit.register(close_idle)
