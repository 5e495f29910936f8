"""Linear probes of an encoder on real labelled sets: probes.py [ENCODER] [SET...].

At 1, 5, 10 and all labelled scenes, or blocks of one scene, five seeds, on ground that the
encoder never saw. Prints a table, and one JSON line.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from sets import SETS, Part

from geofm.assess.probe import probe_curve
from geofm.model.folder import load_encoder_folder
from geofm.train.finetune import labelled_contract

ENCODER = Path(__file__).parents[2] / "data" / "geofm-small.geofm"  # that encoder.py wrote
NAMES = ("flood_water", "bark_beetle", "fires", "worldcover", "spain", "carolina", "havel")


def main(path: Path, names: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    encoder = load_encoder_folder(path)
    found = {}
    for name in names:
        labelled = SETS[name]()
        train, test = by_window(labelled.train), labelled.test
        # As fine-tuning would read them: of another level, by statistics of their own.
        contract = labelled_contract(
            labelled.task, train.pairs, windows=train.windows, encoder=encoder
        )
        curve = probe_curve(
            replace(encoder, contract=contract),
            train.pairs,
            test.pairs,
            classes=len(labelled.classes),
            train_windows=train.windows,
            test_windows=test.windows,
            accept={"resolution": "any"},
        )
        print(f"\n{name}\n{curve}", file=sys.stderr, flush=True)
        found[name] = curve.facts()
    print(json.dumps(found))


def by_window(part: Part) -> Part:
    """Each window as a pair of its own, so that the blocks of one scene count as labels."""
    pairs = zip(part.pairs, part.windows, strict=True)
    single = [(pair, (window,)) for pair, windows in pairs for window in windows]
    return Part(tuple(pair for pair, _ in single), tuple(window for _, window in single))


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = Path(words.pop(0)) if words and words[0] not in SETS else ENCODER
    main(folder, tuple(words) or NAMES)
