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
from geofm.cli.words import COLUMN, as_flags, row_lines, time_text, typed, wrapped
from geofm.info.page import counted
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import BatchReport

FAILURES = 3
"""Exit code of a batch that left scenes without a map."""
_SHOWN = 5
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
    tally, index = report.tally, report.index
    rows = {"maps": f"{style.name(flags.output)}: {_counts(report)}"}
    if tally.mapped:
        rows["mapped now"] = (
            f"{tally.pixels / 1e6:,.1f} Mpx, {tally.square_km:,.0f} km² in "
            f"{time_text(tally.seconds)}: "
            f"{_hourly(tally.mapped, tally.seconds)} scenes/h, "
            f"{_hourly(tally.square_km, tally.seconds)} km²/h, {_workers(report)}"
        )
    if tally.deaths:
        rows["workers"] = f"{tally.deaths} ended while they had a scene; others took it up"
    if index is not None:
        mosaics = ", ".join(path.name for path in index.mosaics)
        rows["all as one"] = ", ".join(filter(None, [mosaics, index.collection.name]))
        if index.apart:
            rows["in no VRT"] = f"{_some(index.apart)}: not north up"
    rows["ledger"] = _ledger(report, flags)
    told = {label: wrapped(text, indent=COLUMN) for label, text in rows.items()}
    lines = row_lines(told, style)
    for one in tally.failed[:_SHOWN]:
        said = wrapped(f"{one.name}: {as_flags(one.reason)}", indent=COLUMN)
        lines.append(f"{style.bad('failed'.ljust(COLUMN))}{said}")
    if len(tally.failed) > _SHOWN:
        query = "select scene, error from scenes where status = 'failed'"
        lines.append(
            f"{'':{COLUMN}}and {len(tally.failed) - _SHOWN} more: "
            f'sqlite3 {quoted(_ledger(report, flags))} "{query}"'
        )
    if tally.ended_early:
        said = wrapped(as_flags(tally.ended_early), indent=COLUMN)
        lines.append(f"{style.bad('ended early'.ljust(COLUMN))}{said}")
    lines += row_lines({"next": _next(report, flags)}, style)
    return "\n".join(lines)


def _ledger(report: "BatchReport", flags: Namespace) -> str:
    """Its path as one would type it from here."""
    path = report.tally.ledger
    return str(Path(flags.output) / path.name if path.parent == report.folder else path)


def _counts(report: "BatchReport") -> str:
    tally = report.tally
    parts = [f"{tally.mapped} of {tally.scenes} scenes mapped"]
    if tally.kept:
        parts.append(f"{tally.kept} kept, whole from an earlier run")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    if tally.waiting:
        parts.append(f"{tally.waiting} still to do")
    return ", ".join(parts)


def _workers(report: "BatchReport") -> str:
    options = report.options
    if options.scheduler not in {None, "local"}:
        return f"on Dask at {options.scheduler}"
    each = "a GPU each" if report.gpus else counted(options.threads, "thread")
    if not options.workers:
        return f"this process with {each}"
    return f"{counted(options.workers, 'worker')} of {each}"


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


def _hourly(amount: float, seconds: float) -> str:
    return f"{amount / max(seconds, 1e-9) * 3600:,.0f}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
