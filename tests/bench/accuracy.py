"""Does the encoder pay? geofm, a U-Net and a forest on real sets.

    python tests/bench/accuracy.py OUT.csv [SET...] [--encoder DIR] [--arms ARM...] [--seeds N]
    python tests/bench/accuracy.py OUT.csv --table

Each trains on one half of a set's ground, with a part of it set apart to choose weights by,
and is scored on the other half by the same code. A row a training goes to OUT.csv, and those
that stand there are not trained again. The table of what stands there is printed at the end,
or alone: the README's, in Markdown.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch
from sets import SETS, LabelledSet

from geofm.assess.evaluate import evaluate_model
from geofm.model.folder import TrainedModel, load_encoder_folder
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tiles.area import intersection
from geofm.train.config import EncoderShape, FinetuneConfig
from geofm.train.control import train_control
from geofm.train.finetune import finetune_segmenter, labelled_contract
from geofm.train.roles import finetuning_roles

ENCODER = Path(__file__).parents[2] / "data" / "geofm-small.geofm"  # that encoder.py wrote
ARMS = {
    "geofm": "geofm, from `geofm-small`",
    "geofm frozen": "the same, encoder frozen",
    "geofm from scratch": "geofm from scratch",
    "unet": "U-Net (ResNet-34)",
    "forest": "random forest of pixels",
}
TITLES = {
    "flood_water": "floods, HLS, 19 other places",
    "bark_beetle": "forest damage, Sentinel-2, other clusters",
    "fires": "burn scars, Landsat 7, other fires",
    "spain": "one chip of Sen1Floods11, its other half",
    "crops": "crops, three dates of Sentinel-2, other fields of one patch",
    "worldcover": "land cover, HLS, 19 other places",
    "carolina": "land cover, Landsat 7, other blocks",
    "aberystwyth": "land cover, Sentinel-2, other polygons",
    "havel": "land use, Sentinel-2 in winter, other blocks",
}
SEEDS = 5
STEPS = 100
FIELDS = ("set", "seed", "arm", "mean_iou", "seconds")

Labelled = tuple[list[Pair], list[tuple[Window, ...]]]


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    for name in () if args.table else args.sets:
        labelled = SETS[name]()
        for seed in range(args.seeds):
            for arm in args.arms:
                if (name, str(seed), arm) in known_rows(args.out):
                    continue
                started = time.perf_counter()
                model = trained(labelled, arm, seed, args.encoder)
                seconds = time.perf_counter() - started
                score = evaluate_model(
                    model, labelled.test.pairs, windows=labelled.test.windows
                ).mean_iou.value
                add(args.out, (name, seed, arm, f"{score:.4f}", f"{seconds:.0f}"))
    print(table(rows_of(args.out)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="*", default=list(TITLES), metavar="SET")
    parser.add_argument("--encoder", type=Path, default=ENCODER)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


def trained(labelled: LabelledSet, arm: str, seed: int, path: Path) -> TrainedModel:
    (pairs, windows), (val, val_windows) = set_apart(labelled, seed)
    encoder = load_encoder_folder(path)
    shape = encoder.encoder.config
    scratch = EncoderShape(
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        embed_dim=shape.embed_dim,
        depth=shape.depth,
        num_heads=shape.num_heads,
    )
    rate = 0.0 if arm == "geofm frozen" else None
    config = FinetuneConfig(
        steps=STEPS, seed=seed, image_size=64, encoder_rate=rate, scratch=scratch
    )
    if arm.startswith("geofm"):
        return finetune_segmenter(
            labelled.task,
            labelled.classes,
            pairs,
            encoder=None if arm == "geofm from scratch" else encoder,
            config=config,
            windows=windows,
            val=val,
            val_windows=val_windows,
        )
    contract = labelled_contract(labelled.task, pairs, windows=windows, encoder=encoder)
    return train_control(
        "unet" if arm == "unet" else "forest",
        labelled.task,
        labelled.classes,
        pairs,
        contract=contract,
        image_size=64,
        config=config,
        windows=windows,
        val=val,
        val_windows=val_windows,
    )


def set_apart(labelled: LabelledSet, seed: int) -> tuple[Labelled, Labelled]:
    """A fifth of the training half chooses weights: places, or blocks where there is one scene.

    Where its labels are too few to be set apart, none do, as in `geofm finetune`.
    """
    part = labelled.train
    roles = finetuning_roles(part.pairs, seed=seed)

    def inside(role: object) -> Labelled:
        pairs, windows = [], []
        for at, found in role:  # type: ignore[attr-defined]
            shared = [
                cut
                for w in found
                for own in part.windows[at]
                if (cut := intersection(w, own)).height and cut.width
            ]
            if shared:
                pairs.append(part.pairs[at])
                windows.append(tuple(shared))
        return pairs, windows

    return inside(roles.train), inside(roles.val)


def known_rows(path: Path) -> set[tuple[str, str, str]]:
    return {(row["set"], row["seed"], row["arm"]) for row in rows_of(path)}


def rows_of(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: tuple[object, ...]) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(FIELDS)
        writer.writerow(row)
    print(*row, flush=True)


def table(rows: list[dict[str, str]]) -> str:
    """Mean IoU over seeds with its least and largest, the best of each set in bold."""
    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    lines = [f"| set | {' | '.join(ARMS[arm] for arm in arms)} |", f"|---|{'---|' * len(arms)}"]
    for name, title in TITLES.items():
        scores = {
            arm: [float(r["mean_iou"]) for r in rows if (r["set"], r["arm"]) == (name, arm)]
            for arm in arms
        }
        best = max((statistics.mean(found) for found in scores.values() if found), default=0.0)
        if any(scores.values()):
            cells = [cell(found, best) for found in scores.values()]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(scores: list[float], best: float) -> str:
    """Such as ``0.634 (0.568 to 0.667) [3]``; seeds only where they are not all."""
    if not scores:
        return "-"
    mean = statistics.mean(scores)
    told = f"{mean:.3f}" if mean < best else f"**{mean:.3f}**"
    seeds = "" if len(scores) == SEEDS else f" [{len(scores)}]"
    return f"{told} ({min(scores):.3f} to {max(scores):.3f}){seeds}"


if __name__ == "__main__":
    main(arguments())
