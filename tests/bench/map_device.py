"""A GPU against this machine's CPU: the same map, and how fast; one command for a GPU node.

    python tests/bench/map_device.py [DEVICE] [SIDE] [EQUAL_SIDE]

Prithvi 100M's shape with geofm's usual head and seeded random weights, which are harsher than
trained ones: the two best classes lie close. First equality on EQUAL_SIDE: probabilities in
float32 and bfloat16 against the CPU's float32, by promise 4, and the same bytes when mapped
again. Then whole maps of SIDE x SIDE px, and which share of the device's matrix products,
measured in the same process, the encoder's products come to.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from map_ceiling import operations
from map_setup import BASE, random_model

TURNS = 3


def main(device: str, side: int, equal_side: int) -> None:
    import torch

    from geofm.scenes.synthetic import make_scene

    precisions = ["fp32", "bf16"] if device != "cpu" else ["fp32"]
    model = random_model(BASE, {"classes": 2})
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as made:
        folder = Path(made)
        small = make_scene(folder / "small.tif", height=equal_side, width=equal_side)
        exact = mapped(model, small, folder / "cpu.tif", "cpu", "fp32")
        large = make_scene(folder / "large.tif", height=side, width=side, block=512)
        found: dict[str, Any] = {"device": named(torch, device), "torch": torch.__version__}
        for precision in precisions:
            once = mapped(model, small, folder / "once.tif", device, precision)
            mapped(model, small, folder / "again.tif", device, precision)
            found[precision] = {
                **against(exact, once),
                "same_bytes_again": (folder / "once.tif").read_bytes()
                == (folder / "again.tif").read_bytes(),
                **speed(torch, model, large, folder, device, precision),
            }
    print(json.dumps(found))


def map_once(
    model: Any, scene: Path, out: Path, device: str, precision: Any, *, probabilities: bool
) -> None:
    from geofm.predict.engine import MapOptions
    from geofm.predict.mapping import map_to_file
    from geofm.scenes.open import open_scene

    options = MapOptions(
        device=device, precision=precision, probabilities=probabilities, overwrite=True
    )
    map_to_file(model, open_scene(scene), out, options=options)


def mapped(model: Any, scene: Path, out: Path, device: str, precision: str) -> Any:
    """Probabilities (K, H, W) float64 of a map."""
    import rasterio

    map_once(model, scene, out, device, precision, probabilities=True)
    with rasterio.open(out.with_name(f"{out.stem}_probabilities.tif")) as file:
        return file.read(masked=True) * file.scales[0]


def against(exact: Any, found: Any) -> dict[str, float]:
    """By promise 4; stored probabilities are rounded to 0.004."""
    import numpy as np

    gap = np.abs(exact - found)
    best = np.sort(exact, axis=0)
    same = exact.argmax(0) == found.argmax(0)
    clear = (best[-1] - best[-2]) > 2 * gap.max()
    return {
        "probability_gap": round(float(gap.max()), 4),
        "same_classes": round(float(same.mean()), 5),
        "same_classes_where_clear": round(float(same[clear].mean()), 5),
    }


def speed(
    torch: Any, model: Any, scene: Path, folder: Path, device: str, precision: str
) -> dict[str, Any]:
    """Whole maps, files read and written, after one to warm up; the middle of `TURNS`."""
    import rasterio

    took = []
    for turn in range(TURNS + 1):
        began = time.perf_counter()
        map_once(model, scene, folder / "speed.tif", device, precision, probabilities=False)
        if turn:
            took.append(time.perf_counter() - began)
    seconds = sorted(took)[len(took) // 2]
    with rasterio.open(scene) as file:
        pixels = file.width * file.height
    config = model.segmenter.encoder.config
    windows = pixels / config.image_size**2  # what a map without overlap would take
    ceiling = products(torch, device, precision)
    found = {
        "mpx_per_s": round(pixels / 1e6 / seconds, 3),
        "seconds": [round(one, 2) for one in took],
        "ceiling_tflop_per_s": round(ceiling / 1e12, 3),
        "share_of_ceiling_by_needed_products": round(
            operations(config, 1) * windows / seconds / ceiling, 3
        ),
    }
    if device != "cpu":
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return found


def products(torch: Any, device: str, precision: str) -> float:
    """Operations a second of a large square product."""
    size = 8192 if device != "cpu" else 2048
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, dtype=kind, device=device) for _ in range(2))
    turns = 20 if device != "cpu" else 3
    for _ in range(3):
        a @ b
    _wait(torch, device)
    began = time.perf_counter()
    for _ in range(turns):
        a @ b
    _wait(torch, device)
    return float(2 * size**3 * turns / (time.perf_counter() - began))


def _wait(torch: Any, device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def named(torch: Any, device: str) -> str:
    return str(torch.cuda.get_device_name()) if device != "cpu" else "cpu"


if __name__ == "__main__":
    words = sys.argv[1:]
    sizes = [int(word) for word in words[1:]]
    main(words[0] if words else "cuda", *(sizes + [8192, 512][len(sizes) :]))
