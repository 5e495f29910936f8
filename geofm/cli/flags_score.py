"""The flags of ``geofm evaluate`` and ``geofm calibrate``."""

from argparse import _ArgumentGroup as Group

from geofm.cli.flags import (
    LABELLED,
    READING,
    Command,
    common,
    labelled,
    output,
    reading_for_model,
    running,
)


def _evaluate(group: Group) -> None:
    group.add_argument(
        "models", metavar="MODEL", nargs="+", help="model folder; a second is compared with it"
    )
    _scored(group, usual="test")
    group.add_argument(
        "--html", metavar="OUT.html", help="write one page with tables, curves and chips"
    )
    group.add_argument(
        "--write-card", action="store_true", help="keep the scores in the model folder"
    )


def _calibrate(group: Group) -> None:
    group.add_argument("model", metavar="MODEL", help="model folder")
    _scored(group, usual="val")
    group.add_argument(
        "--coverage",
        metavar="SHARE",
        type=float,
        default=0.95,
        help="of the pixels that keep a class; the rest is unsure (default: 0.95; 1: none is)",
    )
    output(group, "OUT.geofm", "model folder to write")


def _scored(group: Group, *, usual: str) -> None:
    group.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        metavar="WHICH",
        help=f"train, val, test or all (default: {usual} where splits are given, else all)",
    )
    group.add_argument(
        "--allow-leakage", action="store_true", help="take also what the model was trained on"
    )


EVALUATE = Command(
    "evaluate",
    "score a model on labelled scenes, with intervals",
    "Score the maps that a model draws of labelled scenes: IoU, F1, precision, recall and "
    "accuracy with 95 % intervals by drawing groups, chips or blocks anew, what fails "
    "worst, and whether its confidence holds. What the model was trained on is refused. "
    "Two models are compared on the same blocks.",
    (
        "geofm evaluate flood.geofm --images chips --labels water --html flood.html",
        "geofm evaluate old.geofm new.geofm --catalog test.csv --split test",
    ),
    (
        ("Input and output", _evaluate),
        (LABELLED, labelled),
        ("How it runs", running),
        (READING, reading_for_model),
        ("Also", common),
    ),
)

CALIBRATE = Command(
    "calibrate",
    "make a model's confidence hold, and let it say unsure",
    "Fit a temperature on labelled scenes that trained nothing, so that a confidence of "
    "90 % is right nine times in ten, and a bound below which maps hold 253, unsure, "
    "instead of a class. The weights stay.",
    (
        "geofm calibrate flood.geofm --images val --labels water -o calm.geofm",
        "geofm calibrate flood.geofm --catalog pairs.csv --coverage 0.9 -o calm.geofm",
    ),
    (
        ("Input and output", _calibrate),
        (LABELLED, labelled),
        ("How it runs", running),
        (READING, reading_for_model),
        ("Also", common),
    ),
)
