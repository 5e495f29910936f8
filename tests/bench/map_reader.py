"""The reader alone against plain GDAL with the same threads, and against TorchGeo's tiles.

    python tests/bench/map_reader.py [SIDE] [TURNS]

TorchGeo is timed where `.peers/bin/python` has it. All in turns; seconds of all cores.
"""

import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

PEER = Path(".peers/bin/python")
SCRIPT = Path("../shared/bench/torchgeo_tiles.py")
SIZE, STRIDE, THREADS = 224, 192, 4


def main(side: int, turns: int) -> None:
    from map_setup import take

    from geofm.predict.plan import WindowPlan
    from geofm.scenes.open import open_scene
    from geofm.scenes.synthetic import make_scene

    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as made:
        path = make_scene(Path(made) / "scene.tif", height=side, width=side, block=512)
        scene = open_scene(path)
        plan = WindowPlan(side, side, size=SIZE, overlap=SIZE - STRIDE)
        ours, plain, peer = [], [], []
        peers = PEER.exists() and SCRIPT.exists()
        for _ in range(turns):
            ours.append(seconds(lambda: read(scene, plan)))
            plain.append(seconds(lambda: decode(path)))
            if peers:
                words = [str(PEER), str(SCRIPT), made, "scene.tif", str(SIZE), str(STRIDE), "0"]
                peer.append(json.loads(take(words).told.splitlines()[-1])["tiles_per_s"])
    windows = len(plan.rows) * len(plan.cols)
    wall, cpu = (median(run[i] for run in ours) for i in (0, 1))
    found = {
        "tiles": windows,
        "geofm_tiles_per_s": round(windows / wall, 1),
        "share_of_gdal_wall": round(median(run[0] for run in plain) / wall, 2),
        "share_of_gdal_cpu": round(median(run[1] for run in plain) / cpu, 2),
        "cores": os.cpu_count(),
    }
    if peers:
        found["torchgeo_tiles_per_s"] = round(median(peer), 1)
        found["times_torchgeo"] = round(windows / wall / median(peer), 1)
    print(json.dumps(found))


def seconds(work) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def read(scene, plan) -> None:
    """Every window of the plan, cut from rows that are read as a map reads them."""
    import numpy as np

    from geofm.predict.rows import read_rows
    from geofm.scenes.cache import source_cache
    from geofm.scenes.window import Window

    needs = [Window(row, 0, plan.size, plan.width) for row in plan.rows]
    with source_cache(), ThreadPoolExecutor(THREADS) as readers:
        for rows in read_rows(scene, needs, min_valid_dates=1, readers=readers):
            for first in range(0, len(plan.cols), 8):
                np.stack([rows.dn[..., c : c + plan.size] for c in plan.cols[first : first + 8]])


def decode(path: Path) -> None:
    """All pixels by rasterio, a handle a thread, each a stripe of whole blocks."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path) as file:
        height, width, rows = file.height, file.width, file.block_shapes[0][0]

    def stripe(row: int) -> None:
        with rasterio.open(path) as file:
            file.read(window=Window(0, row, width, min(rows, height - row)))

    with ThreadPoolExecutor(THREADS) as readers:
        list(readers.map(stripe, range(0, height, rows)))


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:]]
    main(*(sizes + [4096, 5][len(sizes) :]))
