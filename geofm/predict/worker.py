"""A worker process of a local batch: tasks in, ends out, over one socket.

    python -m geofm.predict.worker DESCRIPTOR

A fresh interpreter, so that nothing of the driver's threads comes along, and no script has
to guard its main part. It dies with its driver, whose end of the socket then hangs up.
"""

import os
import select
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from geofm.predict.task import SceneTask, run_task

_SHARE_EVERY = 0.5
"""Seconds between two messages of how far a scene is."""


def main(descriptor: int) -> None:
    """Serve tasks until the driver sends None, or is gone."""
    # Ctrl-C goes to every process of a terminal; the driver alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_driver, args=(descriptor,), daemon=True).start()
    line = Connection(descriptor)
    while (task := line.recv()) is not None:
        assert isinstance(task, SceneTask)
        line.send(0.0)
        line.send(run_task(task, _Shares(line)))


class _Shares:
    """Tells the driver how far a scene is, now and then."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._next = 0.0

    def __call__(self, share: float, _text: str) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SHARE_EVERY
            self._line.send(share)


def _die_with_driver(descriptor: int) -> None:
    """Wait for the driver's hanging up, and end at once: unfinished blocks are kept."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLHUP)
    waiting.poll()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
