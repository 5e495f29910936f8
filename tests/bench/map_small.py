"""geofm's own small model against the 100M one, end to end: map_small.py [SIDE] [TURNS].

Both with the default head and random weights, whole commands in turns on one scene.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from map_setup import BASE, SMALL, map_command, middle, random_model, take


def main(side: int, turns: int) -> None:
    from geofm.model.folder import save_model
    from geofm.scenes.synthetic import make_scene

    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as made:
        folder = Path(made)
        scene = make_scene(folder / "scene.tif", height=side, width=side)
        for name, encoder in (("small", SMALL), ("base", BASE)):
            save_model(random_model(encoder, {"classes": 2}), folder / f"{name}.geofm")
        runs: dict[str, list] = {"small": [], "base": []}
        seconds: dict[str, list[float]] = {"small": [], "base": []}
        for _ in range(turns):
            for name, took in runs.items():
                out = folder / f"{name}.tif"
                words = [*map_command(folder / f"{name}.geofm", scene, out), "--json"]
                took.append(take(words))
                seconds[name].append(json.loads(took[-1].told)["seconds"])
    small, base = (middle(runs[name]) for name in ("small", "base"))
    found = {
        "mpx": side * side / 1e6,
        "small": small,
        "100m": base,
        "times_mpx_per_cpu_s_whole_command": round(base["cpu_s"] / small["cpu_s"], 1),
        "times_mpx_per_s_of_the_map": round(median(seconds["base"]) / median(seconds["small"]), 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(*(sizes + [1024, 3][len(sizes) :]))
