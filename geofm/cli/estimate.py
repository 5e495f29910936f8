"""``--estimate``: what a map or a batch will take, before it is begun."""

import math
import shutil
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geofm.cli.arguments import Result, reading
from geofm.cli.progress import progress_bar
from geofm.cli.words import COLUMN, as_flags, row_lines, wrapped
from geofm.page import bytes_text, counted, time_text
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import BatchEstimate, Estimate, Model, Scene


def estimate_map(flags: Namespace, model: "Model", scene: "Scene", style: Style) -> Result:
    """Run the probe and show the forecast of a map."""
    from geofm import api

    with progress_bar(f"probing {scene.id}"):
        found = api.estimate_map(
            model,
            scene,
            probabilities=flags.probabilities,
            accept=flags.accept,
            memory=flags.memory,
            precision=flags.precision,
        )
    free = _disk_free(flags.output)
    rows = {**_map_rows(found, scene), **_last_rows(free, found.disk, style)}
    page = "\n".join(row_lines(rows, style))
    return Result(page, {**asdict(found), "disk_free": free})


def estimate_batch(flags: Namespace, style: Style) -> Result:
    """Probe a few scenes and show the forecast of a batch."""
    from geofm import api

    model = api.load_model(flags.model)
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
    free = _disk_free(flags.output)
    rows = {**_batch_rows(found, flags.threads, style), **_last_rows(free, found.disk, style)}
    page = "\n".join(row_lines(rows, style))
    return Result(page, {**asdict(found), "disk_free": free})


def _map_rows(found: "Estimate", scene: "Scene") -> dict[str, str]:
    height, width = scene.shape
    speed = height * width / 1e6 / max(found.seconds, 1e-9)
    looked = "all looked at" if found.exact else "from a sample"
    return {
        "time": f"about {time_text(found.seconds)} ({_digits(speed)} Mpx/s)",
        "windows": f"{found.windows:,} of {found.windows_in_plan:,} have data ({looked})",
        "memory": f"{bytes_text(found.memory)} at most, model and libraries included",
        "disk": f"{bytes_text(found.disk)} while it runs, {bytes_text(found.output)} stay",
    }


def _batch_rows(found: "BatchEstimate", threads: int, style: Style) -> dict[str, str]:
    spread = f"{time_text(found.least)} to {time_text(found.most)}"
    rows = {
        "time": f"about {time_text(found.seconds)}, {counted(found.workers, 'worker')} of "
        f"{counted(threads, 'thread')}",
        "scenes": f"{found.scenes:,}; {found.probed} of them, drawn at random, take {spread} each",
        "memory": f"{bytes_text(found.memory)} at most, by all workers",
        "disk": f"{bytes_text(found.disk)} at most",
    }
    if found.unusable:
        rows["unusable"] = style.warn(wrapped(as_flags(found.unusable), indent=COLUMN))
    return rows


def _last_rows(free: int, needed: int, style: Style) -> dict[str, str]:
    """What stands in the way, and what to type next."""
    told = f"the disk has {bytes_text(free)} free; free some space first"
    short = {"but": style.warn(told)} if free < needed else {}
    return {**short, "next": "the same command without --estimate"}


def _digits(number: float) -> str:
    """Two digits that count: 0.037, 1.2, 140."""
    if number <= 0:
        return "0"
    return f"{number:.{max(1 - math.floor(math.log10(number)), 0)}f}"


def _disk_free(output: str) -> int:
    """Free bytes where the output is to be, in the nearest folder that exists."""
    path = Path(output).absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.is_dir())).free
