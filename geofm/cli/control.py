"""``geofm finetune --control`` and ``geofm label-curve``: whether a foundation model pays."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from geofm.cli.arguments import Result, encoder_of, quoted
from geofm.cli.labelled import pairs_of, task_of
from geofm.cli.progress import progress_bar
from geofm.cli.words import wrapped
from geofm.page import counted
from geofm.terminal import Style

if TYPE_CHECKING:
    from geofm.api import (
        ControlConfig,
        FinetuneConfig,
        LabelCurve,
        Model,
        Pair,
    )


def with_controls(
    result: Result,
    model: "Model",
    pairs: "Sequence[Pair]",
    *,
    config: "FinetuneConfig",
    flags: Namespace,
    style: Style,
) -> Result:
    """The page of a fine-tuned model, with a table of it and its controls below."""
    from geofm import api

    with progress_bar("training controls") as progress:
        table = api.compare_controls(
            model,
            pairs,
            config=config,
            val=flags.val,
            allow_leakage=flags.allow_leakage,
            control=control_config(flags),
            progress=progress,
        )
    head, *rows, note = table.lines()
    lines = [result.page, "", style.faint(head), *rows, wrapped(note, indent=0)]
    return Result("\n".join(lines), {**result.facts, "controls": table.plain()}, result.code)


def control_config(flags: Namespace) -> "ControlConfig":
    """The settings of controls that the user has said; the others keep their defaults."""
    from geofm import api

    names = ("unet_encoder", "unet_weights")
    said = {name: value for name in names if (value := getattr(flags, name)) is not None}
    return api.ControlConfig(**said)


def label_curve(flags: Namespace, style: Style) -> Result:
    """``geofm label-curve``."""
    from geofm import api
    from geofm.tasks import check_classes

    task = task_of(flags)
    classes = check_classes(task.classes)
    pairs = pairs_of(flags, [kind.name for kind in classes])
    names = {field.name for field in fields(api.FinetuneConfig)}
    said = {k: v for k, v in vars(flags).items() if k in names and v is not None}
    points = {name: getattr(flags, name) for name in ("counts", "seeds", "methods")}
    rows = _rows_path(flags.output)
    with progress_bar(f"a label curve on {counted(len(pairs), 'scene')}") as progress:
        curve = api.label_curve(
            task.name,
            pairs,
            classes=classes,
            encoder=encoder_of(flags.encoder, dates=len(pairs[0].scene.dates)),
            config=api.FinetuneConfig(**said),
            curve=api.CurveConfig(**{k: v for k, v in points.items() if v is not None}),
            control=control_config(flags),
            test=flags.test,
            allow_leakage=flags.allow_leakage,
            rows=rows,
            progress=progress,
        )
    beside = rows.with_suffix(".json"), rows.with_suffix(".png")
    beside[0].write_text(json.dumps(curve.plain(), indent=2) + "\n")
    _draw(curve, task.name, beside[1])
    failed = [row for row in curve.rows if row.mean_iou is None]
    lines = [
        *str(curve).split("\n"),
        f"rows {style.name(str(rows))}, picture {style.name(str(beside[1]))}",
        *([f"{len(failed)} could not be trained, such as: {failed[0].note}"] if failed else []),
    ]
    facts = {**curve.plain(), "files": [str(rows), *map(str, beside)]}
    return Result("\n".join([style.faint(lines[0]), *lines[1:]]), facts)


def _rows_path(output: str) -> Path:
    from geofm.errors import OutputError

    path = Path(output)
    if path.suffix.lower() != ".csv":
        raise OutputError(
            f"the rows of a curve go into a CSV file, and {quoted(output)} is none; give a name "
            "that ends in .csv"
        )
    return path


def _draw(curve: "LabelCurve", title: str, path: Path) -> None:
    from geofm import plot
    from geofm.plot.ink import save_figure

    save_figure(plot.curve(curve, title=title), path)
