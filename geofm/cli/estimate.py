"""``geofm map --estimate``: what a map will take, before it is begun."""

import math
import shutil
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geofm.cli.arguments import Result
from geofm.cli.progress import progress_bar
from geofm.info.page import bytes_text
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import Estimate, Model, Scene

_COLUMN = 12


def estimate(flags: Namespace, model: "Model", scene: "Scene", style: Style) -> Result:
    """Run the probe and show the forecast."""
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
    free = shutil.disk_usage(_nearest_folder(Path(flags.output))).free
    return Result(_page(found, scene, free, style), {**asdict(found), "disk_free": free})


def time_text(seconds: float) -> str:
    """Seconds as people say them, with two digits that count.

    >>> time_text(0.23), time_text(48.2), time_text(754), time_text(9_300), time_text(400_000)
    ('1 s', '48 s', '13 min', '2 h 35 min', '4 d 15 h')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _page(found: "Estimate", scene: "Scene", free: int, style: Style) -> str:
    height, width = scene.shape
    speed = height * width / 1e6 / max(found.seconds, 1e-9)
    looked = "all looked at" if found.exact else "from a sample"
    rows = {
        "time": f"about {time_text(found.seconds)} ({_digits(speed)} Mpx/s)",
        "windows": f"{found.windows:,} of {found.windows_in_plan:,} have data ({looked})",
        "memory": f"{bytes_text(found.memory)} at most, model and libraries included",
        "disk": f"{bytes_text(found.disk)} while it runs, {bytes_text(found.output)} stay",
    }
    if free < found.disk:
        rows["but"] = style.warn(f"the disk has {bytes_text(free)} free; free some space first")
    rows["next"] = "the same command without --estimate"
    return "\n".join(f"{style.faint(label.ljust(_COLUMN))}{text}" for label, text in rows.items())


def _digits(number: float) -> str:
    """Two digits that count: 0.037, 1.2, 140."""
    if number <= 0:
        return "0"
    return f"{number:.{max(1 - math.floor(math.log10(number)), 0)}f}"


def _nearest_folder(path: Path) -> Path:
    """The folder that exists and will hold the path."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
