"""Samples a second of the data road alone, against plain GDAL decoding of the same file.

    python tests/bench/data_road.py [SIDE] [DATES]

A seeded scene of 6 bands, int16, deflate, tiles of 256 px (SIDE x SIDE, default 4096) is read
three ways, in turns: all of it once by rasterio in one call (plain decoding); random samples
of 224 px with the cache, after every cell has been met; and without a cache, where each sample
decodes all the cells that it touches. One thread, by the seconds its core computed, so that a
busy machine does not show; then as many threads as there are cores, by the clock. Prints one
JSON line; ``decode_share`` is what of plain decoding's pixels a second the uncached road
reaches, counting the pixels of the cells it must decode.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIZE, SAMPLES, TURNS = 224, 96, 3


def main(side: int, dates: int) -> dict[str, object]:
    import rasterio
    import torch

    from geofm.scenes.open import open_scene
    from geofm.scenes.synthetic import make_scene
    from geofm.scenes.window import Window
    from geofm.tiles.area import areas_of, cells
    from geofm.tiles.cache import CELL
    from geofm.tiles.dataset import Spot, TileDataset

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as folder:
        path = make_scene(
            Path(folder) / "scene.tif", height=side, width=side, dates=dates, dtype="int16"
        )
        scene = open_scene(path)
        areas = areas_of([scene], None)
        whole = Window(0, 0, side, side)
        spots = [Spot(0, whole, whole, 1.0)]

        def road(cache_bytes: int, seed: int = 0) -> TileDataset:
            return TileDataset(
                areas, spots, size=SIZE, length=10**6, seed=seed, cache_bytes=cache_bytes
            )

        warm = road(4 * side * side * dates * 16)
        for window in cells(whole, size=CELL):
            warm.read(warm.draw(0)._replace(window=window._replace(height=1, width=1)), 0)
        cells_each = statistics.mean(
            len(list(cells(warm.draw(i).window, size=CELL))) for i in range(SAMPLES)
        )
        plain, cached, cold, pooled = [], [], [], []
        for turn in range(TURNS):
            with rasterio.Env(GDAL_CACHEMAX=16), rasterio.open(path) as file:
                started = time.process_time()
                for row in range(0, side, CELL):
                    file.read(window=((row, min(row + CELL, side)), (0, side)))
                plain.append(side * side * dates / (time.process_time() - started))
            indexes = range(turn * SAMPLES, (turn + 1) * SAMPLES)
            cached.append(rate(lambda i: warm[i], indexes))
            # Two megabytes of GDAL's own cache keep nothing between samples either.
            with rasterio.Env(GDAL_CACHEMAX=2 * 2**20):
                cold.append(rate(road(0).__getitem__, indexes))
                threads = road(0)
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    started = time.perf_counter()
                    for _ in pool.map(threads.__getitem__, indexes):
                        pass
                    pooled.append(SAMPLES / (time.perf_counter() - started))
        plain_rate, cold_rate = statistics.median(plain), statistics.median(cold)
    return {
        "cached_samples_per_s": round(statistics.median(cached), 1),
        "uncached_samples_per_s": round(cold_rate, 1),
        "uncached_all_cores_samples_per_s": round(statistics.median(pooled), 1),
        "cells_a_sample": round(cells_each, 2),
        "plain_decode_mpx_per_s": round(plain_rate / 1e6, 1),
        "decode_share": round(cold_rate * cells_each * CELL**2 * dates / plain_rate, 2),
    }


def rate(read: object, indexes: range) -> float:
    """Samples a second of one core's time."""
    started = time.process_time()
    for index in indexes:
        read(index)  # type: ignore[operator]
    return len(indexes) / (time.process_time() - started)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    print(json.dumps(main(*(words + [4096, 1][len(words) :]))))
