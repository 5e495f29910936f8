"""Opening a product and reading a window of it, against plain rasterio, in turns.

    python tests/bench/products.py [ROUNDS]

prints one JSON line: medians of milliseconds over a real Landsat product (six bands and two
quality layers, ../shared/data). rasterio opens the files and reads the same numbers; geofm
also finds them, reads scale, offset, date and level from the MTL, checks the units, and tells
which pixels are valid.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import rasterio
from rasterio.windows import Window as Part

from geofm.scenes.handles import close_idle
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window

SHARED = Path(__file__).parents[3] / "shared" / "data" / "products" / "landsat_c2_l2"
PRODUCT = "LC08_L2SP_005009_20150710_20200908_02_T2"
LAYERS = [*(f"SR_B{n}" for n in range(2, 8)), "QA_PIXEL", "QA_RADSAT"]


def with_rasterio() -> None:
    for layer in LAYERS:
        with rasterio.open(SHARED / f"{PRODUCT}_{layer}.TIF") as file:
            file.read(1, window=Part(0, 0, 512, 512))


def with_geofm() -> None:
    scene = open_scene(SHARED / f"{PRODUCT}_MTL.txt")
    scene.setting_aside(["cloud"]).read_stored(Window(0, 0, 512, 512))
    close_idle()  # the next round opens the files again, as rasterio does


def milliseconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def main(rounds: int) -> dict[str, float]:
    with_rasterio(), with_geofm()  # imports and the disk's cache
    times = [(milliseconds(with_rasterio), milliseconds(with_geofm)) for _ in range(rounds)]
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "rasterio_ms": round(plain, 1),
        "geofm_ms": round(ours, 1),
        "ratio": round(statistics.median(b / a for a, b in times), 2),
    }


if __name__ == "__main__":
    if not SHARED.is_dir():
        sys.exit(f"the real products are not on this machine ({SHARED.name})")
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)))
