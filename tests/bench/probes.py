"""Linear probes of an encoder on real labelled sets: probes.py [ENCODER] [SET...].

At 1, 5, 10 and all labelled scenes, five seeds, on ground that the encoder never saw. Prints
a table, and one JSON line.
"""

import json
import sys
from pathlib import Path

import torch
from sets import SETS

from geofm.assess.probe import probe_curve
from geofm.model.folder import load_encoder_folder

ENCODER = Path(__file__).parents[2] / "data" / "geofm-small.geofm"  # that encoder.py wrote
NAMES = ("flood_water", "worldcover", "fires", "bark_beetle")


def main(path: Path, names: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    encoder = load_encoder_folder(path)
    found = {}
    for name in names:
        labelled = SETS[name]()
        curve = probe_curve(
            encoder,
            labelled.train.pairs,
            labelled.test.pairs,
            classes=len(labelled.classes),
            accept={"resolution": "any"},
        )
        print(f"\n{name}\n{curve}", file=sys.stderr, flush=True)
        found[name] = curve.facts()
    print(json.dumps(found))


if __name__ == "__main__":
    words = sys.argv[1:]
    folder = Path(words.pop(0)) if words and words[0] not in SETS else ENCODER
    main(folder, tuple(words) or NAMES)
