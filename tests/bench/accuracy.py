"""Does the encoder pay? geofm, a U-Net and a forest on real sets: accuracy.py OUT.csv [SET...].

Each trains on one half of a set's ground, with a part of it set apart to choose weights by,
and is scored on the other half by the same code. A row a training goes to OUT.csv, and those
that stand there are not trained again; the table of what stands there is printed at the end.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

import torch
from sets import SETS, LabelledSet

from geofm.assess.evaluate import evaluate_model
from geofm.model.folder import TrainedModel, load_encoder_folder
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window
from geofm.tiles.area import intersection
from geofm.tiles.roles import split_pairs
from geofm.train.config import EncoderShape, FinetuneConfig
from geofm.train.control import train_control
from geofm.train.finetune import finetune_segmenter, labelled_contract

ENCODER = Path(__file__).parents[2] / "data" / "geofm-small.geofm"  # that encoder.py wrote
ARMS = ("geofm", "geofm from scratch", "unet", "forest")
SEEDS = range(5)
STEPS = 100
FIELDS = ("set", "seed", "arm", "mean_iou", "seconds")

Labelled = tuple[list[Pair], list[tuple[Window, ...]]]


def main(out: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    done = {(row["set"], row["seed"], row["arm"]) for row in rows_of(out)}
    for name in names:
        labelled = SETS[name]()
        for seed in SEEDS:
            for arm in ARMS:
                if (name, str(seed), arm) in done:
                    continue
                started = time.perf_counter()
                model = trained(labelled, arm, seed)
                seconds = time.perf_counter() - started
                score = evaluate_model(
                    model, labelled.test.pairs, windows=labelled.test.windows
                ).mean_iou.value
                add(out, (name, seed, arm, f"{score:.4f}", f"{seconds:.0f}"))
    print(table(rows_of(out)))


def trained(labelled: LabelledSet, arm: str, seed: int) -> TrainedModel:
    (pairs, windows), (val, val_windows) = set_apart(labelled, seed)
    encoder = load_encoder_folder(ENCODER)
    shape = encoder.encoder.config
    scratch = EncoderShape(
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        embed_dim=shape.embed_dim,
        depth=shape.depth,
        num_heads=shape.num_heads,
    )
    config = FinetuneConfig(steps=STEPS, seed=seed, image_size=64, scratch=scratch)
    if arm.startswith("geofm"):
        return finetune_segmenter(
            labelled.task,
            labelled.classes,
            pairs,
            encoder=encoder if arm == "geofm" else None,
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
    """A fifth of the training half chooses weights: places, or blocks where there is one scene."""
    part = labelled.train
    roles = split_pairs(part.pairs, val=0.2, seed=seed)

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
    """Mean IoU over seeds, and its least and largest."""
    lines = [f"| set | {' | '.join(ARMS)} |", f"|---|{'---|' * len(ARMS)}"]
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = []
        for arm in ARMS:
            found = [float(r["mean_iou"]) for r in rows if r["set"] == name and r["arm"] == arm]
            cells.append(
                f"{statistics.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
                if found
                else ""
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(SETS))
