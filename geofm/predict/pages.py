"""What a run did, as rows for people: a map, or a batch of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from geofm.page import Row, counted, time_text

if TYPE_CHECKING:
    from geofm.predict.many import BatchOptions, BatchReport
    from geofm.predict.mapping import MapReport

_SHOWN = 5
"""Scenes that failed, of which a page tells; the ledger tells of all."""


def map_rows(report: "MapReport") -> Iterator[Row]:
    """Of a map that was written."""
    recipe, score = report.recipe, report.seam_score
    speed = report.pixels / 1e6 / max(report.seconds, 1e-9)
    yield Row("beside it", ", ".join(p.name for p in report.files.values() if p != report.path))
    yield Row(
        "size", f"{report.pixels / 1e6:.2f} Mpx in {report.seconds:.1f} s ({speed:.2f} Mpx/s)"
    )
    seams = "one window, no seams" if score is None else f"{score:.3f} (1 means no seams)"
    yield Row("seam score", seams)
    yield Row("recipe", f"{recipe.device}, {recipe.precision}, {recipe.digest[:12]}")
    if report.substitutions:
        yield Row("accepted", ", ".join(report.substitutions))
    if recipe.masked_qa:
        yield Row("set aside", ", ".join(recipe.masked_qa))
    if recipe.unmasked_qa:
        unmasked = ", ".join(recipe.unmasked_qa)
        yield Row("not masked", f"{unmasked}: the scene does not tell them, or you chose so")
    if report.resumed_blocks:
        done = f"{report.resumed_blocks} of {report.blocks} blocks were done before"
        yield Row("resumed", done)


def batch_rows(report: "BatchReport", *, ledger: Path | None = None) -> Iterator[Row]:
    """Of a batch; what went wrong comes last.

    Args:
        ledger: its path as the reader would type it.
    """
    tally, index = report.tally, report.index
    ledger = ledger or tally.ledger
    yield Row("maps", _counts(report))
    if tally.mapped:
        each_hour = (
            f"{_hourly(tally.mapped, tally.seconds)} scenes/h, "
            f"{_hourly(tally.square_km, tally.seconds)} km²/h"
        )
        yield Row(
            "mapped now",
            f"{tally.pixels / 1e6:,.1f} Mpx, {tally.square_km:,.0f} km² in "
            f"{time_text(tally.seconds)}: {each_hour}, {workers_text(report.options, report.gpus)}",
        )
    if tally.deaths:
        yield Row("workers", f"{tally.deaths} ended while they had a scene; others took it up")
    if index is not None:
        yield Row("all as one", ", ".join(p.name for p in (*index.mosaics, index.collection)))
        if index.apart:
            yield Row("in no VRT", f"{_some(index.apart)}: not north up")
    yield Row("ledger", str(ledger))
    for one in tally.failed[:_SHOWN]:
        yield Row("failed", f"{one.name}: {one.reason}")
    if len(tally.failed) > _SHOWN:
        query = "select scene, error from scenes where status = 'failed'"
        more = len(tally.failed) - _SHOWN
        yield Row("", f'and {more} more: sqlite3 {quote(str(ledger))} "{query}"')
    if tally.ended_early:
        yield Row("ended early", tally.ended_early)


def workers_text(options: "BatchOptions", gpus: int) -> str:
    """Who mapped.

    Args:
        gpus: of this machine.
    """
    if options.scheduler not in {None, "local"}:
        return f"on Dask at {options.scheduler}"
    each = "a GPU each" if gpus else counted(options.threads, "thread")
    if not options.workers:
        return f"this process with {each}"
    return f"{counted(options.workers, 'worker')} of {each}"


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


def _hourly(amount: float, seconds: float) -> str:
    return f"{amount / max(seconds, 1e-9) * 3600:,.0f}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
