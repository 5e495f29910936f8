"""What few labels teach: fine-tuned from an encoder and from random weights, on real sets.

    python tests/bench/label_curve.py OUT [SET...] [--encoder DIR] [--seeds N] [--counts N...]
    python tests/bench/label_curve.py OUT --table

A model learns from 1, 5, 10 and all scenes of a set's training half, and is scored on the
other half, as `geofm label-curve` does it: with so few labels nothing is set apart to choose
weights by, and the encoder stays as it is. The rows of a set go to OUT/SET.csv, those of an
encoder that learns all the same to OUT/SET_learns.csv, and those that stand there are not
trained again.
"""

import argparse
from pathlib import Path

import torch
from accuracy import ENCODER, SEEDS, STEPS, TITLES
from sets import SETS, LabelledSet

from geofm.assess.curve import label_curve
from geofm.assess.curve_rows import CurveConfig, CurvePoint, Method, points_of, read_rows
from geofm.model.folder import load_encoder_folder
from geofm.train.config import FinetuneConfig

NAMES = ("flood_water", "bark_beetle", "fires")
COUNTS = (1, 5, 10)
COLUMNS = {
    ("", "pretrained"): "from `geofm-small`",
    ("_learns", "pretrained"): "the same, encoder learns",
    ("", "scratch"): "from random weights",
}


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    for ending in () if args.table else ("", "_learns"):
        for name in args.sets:
            draw(SETS[name](), args, ending)
    print(table(args.out))


def draw(labelled: LabelledSet, args: argparse.Namespace, ending: str) -> None:
    train, test, every = labelled.train, labelled.test, len(labelled.train.pairs)
    counts = tuple({min(count or every, every) for count in args.counts})
    methods: tuple[Method, ...] = ("pretrained",) if ending else ("pretrained", "scratch")
    label_curve(
        labelled.task,
        labelled.classes,
        train.pairs,
        test.pairs,
        windows=train.windows,
        test_windows=test.windows,
        encoder=load_encoder_folder(args.encoder),
        config=FinetuneConfig(steps=STEPS, image_size=64, encoder_rate=1.0 if ending else None),
        curve=CurveConfig(counts=counts, seeds=args.seeds, methods=methods),
        rows=args.out / f"{labelled.name}{ending}.csv",
        progress=lambda done, text: print(f"\r{done:6.1%} {text:<90}", end="", flush=True),
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=list(NAMES), metavar="SET")
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--counts", nargs="+", type=int, default=[*COUNTS, 0], help="0 for all")
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


def table(folder: Path) -> str:
    """Mean IoU over seeds with its 95 % interval by Student's t, in Markdown."""
    lines = [f"| set | labelled scenes | {' | '.join(COLUMNS.values())} |", "|---|---|---|---|---|"]
    for name in NAMES:
        points = {
            (ending, point.method, point.labels): point
            for ending in ("", "_learns")
            for point in points_of(read_rows(folder / f"{name}{ending}.csv"))
        }
        for count in sorted({labels for *_, labels in points}):
            cells = [cell(points.get((*column, count))) for column in COLUMNS]
            lines.append(f"| {TITLES[name]} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(point: CurvePoint | None) -> str:
    """Such as ``0.512 (0.430 to 0.594) [3]``; seeds only where they are not all."""
    if point is None:
        return "-"
    interval = "" if point.interval is None else " ({:.3f} to {:.3f})".format(*point.interval)
    seeds = "" if point.seeds == SEEDS else f" [{point.seeds}]"
    return f"{point.mean_iou:.3f}{interval}{seeds}"


if __name__ == "__main__":
    main(arguments())
