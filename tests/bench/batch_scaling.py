"""Does a second worker map twice as much? One against two single-threaded workers, in turns.

    python tests/bench/batch_scaling.py [SCENES] [ROUNDS]

prints one JSON line. Counted are the scenes between a run's first ends, one a worker, and its
last: starting Python and torch is not of the scenes. On a machine with other work the wall
clock tells of that work: ``cpu_s_a_scene`` and ``load`` beside it say so. Equal CPU seconds a
scene mean that workers do not get in each other's way; then efficiency is a matter of cores.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from map_setup import make_scenes, save_random

SIDE = 512
GEOFM_SMALL = (
    {"image_size": 128, "patch_size": 8, "embed_dim": 192, "depth": 6, "num_heads": 6},
    {"kind": "fcn", "classes": 2, "channels": 64},
)


def main(scenes: int, rounds: int) -> dict[str, object]:
    import torch

    torch.set_num_threads(1)
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    load = []
    with tempfile.TemporaryDirectory(prefix="geofm-scaling-") as place:
        folder = Path(place)
        model = save_random(folder / "model.geofm", *GEOFM_SMALL)
        make_scenes(folder / "scenes", [(SIDE, SIDE)] * scenes)
        for turn in range(rounds):
            for workers in (1, 2):
                load.append(os.getloadavg()[0])
                out = folder / f"maps-{turn}-{workers}"
                found[workers].append(one_run(model, folder / "scenes", out, workers))
    rates = {workers: statistics.median(r for r, _ in runs) for workers, runs in found.items()}
    used = {workers: statistics.median(c for _, c in runs) for workers, runs in found.items()}
    return {
        "scenes": f"{scenes} of {SIDE} x {SIDE} px",
        "scenes_per_hour_1_worker": round(rates[1]),
        "scenes_per_hour_2_workers": round(rates[2]),
        "efficiency": round(rates[2] / rates[1] / 2, 3),
        "efficiencies": [
            round(two / one / 2, 3) for (one, _), (two, _) in zip(found[1], found[2], strict=True)
        ],
        "cpu_s_a_scene_1_worker": round(used[1], 2),
        "cpu_s_a_scene_2_workers": round(used[2], 2),
        "load": f"{min(load):.1f} to {max(load):.1f} on {os.cpu_count()} cores",
    }


def one_run(model: Path, scenes: Path, out: Path, workers: int) -> tuple[float, float]:
    """Scenes an hour, and CPU seconds a scene, between the first ends and the last."""
    import geofm

    ends: list[float] = []
    used: list[float] = []

    def watch(_share: float, text: str) -> None:
        count = int(text.split(" ", maxsplit=1)[0]) if text[:1].isdigit() else 0
        while len(ends) < count:
            ends.append(time.monotonic())
            used.append(sum(map(_cpu, psutil.Process().children())))

    geofm.map_batch(model, scenes, out, workers=workers, device="cpu", progress=watch)
    # A scene is in work on each other worker when the first ones end.
    counted = len(ends) - workers
    return (
        counted / (ends[-1] - ends[workers - 1]) * 3600,
        (used[-1] - used[workers - 1]) / counted,
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    print(json.dumps(main(*(numbers + [16, 3][len(numbers) :]))))
