"""One progress bar for people; a line at the start and one at the end where nobody watches."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[float, str], None]


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Show how far a command is, on stderr, so that stdout stays the result's.

    Yields:
        A function of the share done, 0 to 1, and what is being done.
    """
    if not _first_process():
        yield lambda _share, _text: None
        return
    if not sys.stderr.isatty():
        started = time.monotonic()
        print(f"{title} ...", file=sys.stderr, flush=True)
        yield lambda _share, _text: None
        print(f"{title}: done in {_seconds(time.monotonic() - started)}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    # What is being done comes last: its length changes, and the bar must not jump.
    columns = (
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/]"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),  # a name may hold brackets
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1.0)

        def show(share: float, text: str) -> None:
            bar.update(task, completed=share, description=f"{title}: {text}" if text else title)

        yield show
        bar.update(task, completed=1.0, description=title)


def _first_process() -> bool:
    """Whether this one speaks, where several share a training.

    torchrun, SLURM and Lightning each number processes by variables of their own.
    """
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def _seconds(count: float) -> str:
    return f"{count:.1f} s" if count < 100 else f"{count / 60:.0f} min"
