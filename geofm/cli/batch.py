"""``geofm batch``: a manifest and a model in, a folder of maps and a summary out."""

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.cli.arguments import Result, quoted, reading, with_licences
from geofm.cli.estimate import estimate_batch
from geofm.cli.progress import Progress, progress_bar
from geofm.cli.words import COLUMN, as_flags, row_lines, typed, wrapped
from geofm.page import time_text
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import BatchReport

FAILURES = 3
"""Exit code of a batch that left scenes without a map."""
_LOG_EVERY = 60.0
"""Seconds between two lines of a batch that nobody watches on a terminal."""


def batch(flags: Namespace, words: list[str], style: Style) -> Result:
    """Run ``geofm batch``.

    Raises:
        GeofmError: the batch cannot start.
    """
    from geofm import api
    from geofm.model.folder import read_provenance

    if flags.estimate:
        return estimate_batch(flags, style)
    provenance = read_provenance(Path(flags.model))
    # On a terminal the line is full of how it goes.
    title = "mapping" if sys.stderr.isatty() else f"mapping {flags.manifest}"
    with _watched(title) as progress:
        report = api.map_batch(
            flags.model,
            flags.manifest,
            flags.output,
            workers=flags.workers,
            threads=flags.threads,
            scheduler=flags.scheduler,
            tries=flags.tries,
            probabilities=flags.probabilities,
            accept=flags.accept,
            memory=flags.memory,
            precision=flags.precision,
            overwrite=flags.overwrite,
            reading=reading(flags),
            command=typed(words),
            progress=progress,
        )
    code = 0 if report.complete else FAILURES
    result = Result(_page(report, flags, style), _facts(report), code)
    return with_licences(result, provenance, style, use=flags.use)


@contextmanager
def _watched(title: str) -> Iterator[Progress]:
    """The bar; where no terminal is, a line a minute, for the log of a long night."""
    with progress_bar(title) as bar:
        if sys.stderr.isatty():
            yield bar
            return
        begun = latest = time.monotonic()

        def log(share: float, text: str) -> None:
            nonlocal latest
            at = time.monotonic()
            if at - latest >= _LOG_EVERY:
                latest = at
                left = f", {time_text((at - begun) / share * (1 - share))} left" if share else ""
                print(f"{title}: {text}{left}", file=sys.stderr, flush=True)

        yield log


def _page(report: "BatchReport", flags: Namespace, style: Style) -> str:
    from geofm.predict.pages import batch_rows

    first, *rows = batch_rows(report, ledger=_ledger(report, flags))
    maps = wrapped(f"{style.name(flags.output)}: {first.text}", indent=COLUMN)
    lines = row_lines({first.label: maps}, style)
    for row in rows:
        bad = row.label in ("failed", "ended early")
        paint = style.bad if bad else style.faint
        text = wrapped(as_flags(row.text) if bad else row.text, indent=COLUMN)
        # A line to be copied stays one.
        lines.append(f"{paint(row.label.ljust(COLUMN))}{text if row.label else row.text}")
    lines += row_lines({"next": _next(report, flags)}, style)
    return "\n".join(lines)


def _ledger(report: "BatchReport", flags: Namespace) -> Path:
    """Its path as one would type it from here."""
    path = report.tally.ledger
    return Path(flags.output) / path.name if path.parent == report.folder else path


def _next(report: "BatchReport", flags: Namespace) -> str:
    if report.complete and report.index is not None and report.index.mosaics:
        first = report.index.mosaics[0].name
        return f"geofm info {quoted(str(Path(flags.output) / first))}"
    return "the same command again tries what is left, and keeps what is whole"


def _facts(report: "BatchReport") -> dict[str, Any]:
    tally, index = report.tally, report.index
    return {
        "folder": str(report.folder),
        "scenes": tally.scenes,
        "mapped": tally.mapped,
        "kept": tally.kept,
        "failed": [
            {
                "scene": one.name,
                "source": one.source,
                "reason": as_flags(one.reason),
                "tries": one.tries,
                "deaths": one.deaths,
            }
            for one in tally.failed
        ],
        "waiting": tally.waiting,
        "ended_early": as_flags(tally.ended_early),
        "pixels": tally.pixels,
        "square_km": round(tally.square_km, 3),
        "seconds": round(tally.seconds, 3),
        "worker_deaths": tally.deaths,
        "workers": report.options.workers,
        "threads": report.options.threads,
        "scheduler": report.options.scheduler,
        "gpus": report.gpus,
        "collection": str(index.collection) if index else None,
        "mosaics": [str(path) for path in index.mosaics] if index else [],
        "ledger": str(tally.ledger),
    }
