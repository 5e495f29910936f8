"""``geofm batch``: a manifest and a model in, a folder of maps and a summary out."""

import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geofm.cli.arguments import Result, licence_lines, quoted, reading
from geofm.cli.estimate import time_text
from geofm.cli.progress import Progress, progress_bar
from geofm.cli.words import as_flags, typed, wrapped
from geofm.info.page import bytes_text
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import BatchReport, Model

FAILURES = 3
"""Exit code of a batch that left scenes without a map."""
_SHOWN = 5
_LOG_EVERY = 60.0
"""Seconds between two lines of a batch that nobody watches on a terminal."""
_COLUMN = 12


def batch(flags: Namespace, words: list[str], style: Style) -> Result:
    """Run ``geofm batch``.

    Raises:
        GeofmError: the batch cannot start.
    """
    from geofm import api

    model = api.load_model(flags.model)
    if flags.estimate:
        return _estimate(model, flags, style)
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
    loud = licence_lines(model.trained.provenance, flags.use)
    facts = {**_facts(report), **({"licences": loud} if loud else {})}
    page = "\n".join([_page(report, flags, style), *map(style.bad, loud)])
    return Result(page, facts, 0 if report.complete else FAILURES)


def _estimate(model: "Model", flags: Namespace, style: Style) -> Result:
    """What it will take, and nothing done."""
    from geofm import api

    with progress_bar("probing") as progress:
        found = api.estimate_batch(
            model,
            flags.manifest,
            flags.output,
            workers=flags.workers,
            threads=flags.threads,
            probabilities=flags.probabilities,
            accept=flags.accept,
            memory=flags.memory,
            precision=flags.precision,
            reading=reading(flags),
            progress=progress,
        )
    folder = Path(flags.output).absolute()
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(there).free
    spread = f"{time_text(found.least)} to {time_text(found.most)}"
    rows = {
        "time": f"about {time_text(found.seconds)}, {_number(found.workers, 'worker')} of "
        f"{_number(flags.threads, 'thread')}",
        "scenes": f"{found.scenes:,}; {found.probed} of them, drawn at random, take {spread} each",
        "memory": f"{bytes_text(found.memory)} at most, by all workers",
        "disk": f"{bytes_text(found.disk)} at most",
    }
    if found.unusable:
        rows["unusable"] = style.warn(wrapped(as_flags(found.unusable), indent=_COLUMN))
    if free < found.disk:
        rows["but"] = style.warn(f"the disk has {bytes_text(free)} free; free some space first")
    rows["next"] = "the same command without --estimate"
    page = "\n".join(f"{style.faint(label.ljust(_COLUMN))}{text}" for label, text in rows.items())
    return Result(page, {**asdict(found), "disk_free": free})


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
    lines = [
        f"{style.faint(label.ljust(_COLUMN))}{wrapped(text, indent=_COLUMN)}"
        for label, text in rows.items()
    ]
    for one in tally.failed[:_SHOWN]:
        said = wrapped(f"{one.name}: {as_flags(one.reason)}", indent=_COLUMN)
        lines.append(f"{style.bad('failed'.ljust(_COLUMN))}{said}")
    if len(tally.failed) > _SHOWN:
        query = "select scene, error from scenes where status = 'failed'"
        lines.append(
            f"{'':{_COLUMN}}and {len(tally.failed) - _SHOWN} more: "
            f'sqlite3 {quoted(_ledger(report, flags))} "{query}"'
        )
    if tally.ended_early:
        said = wrapped(as_flags(tally.ended_early), indent=_COLUMN)
        lines.append(f"{style.bad('ended early'.ljust(_COLUMN))}{said}")
    lines.append(f"{style.faint('next'.ljust(_COLUMN))}{_next(report, flags)}")
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
    each = "a GPU each" if report.gpus else _number(options.threads, "thread")
    if not options.workers:
        return f"this process with {each}"
    return f"{_number(options.workers, 'worker')} of {each}"


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


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
