"""The encoder inside a running map, as a share of this machine's matrix products.

    python tests/bench/map_ceiling.py [SIDE] [small|base]

Matrix products of the encoder's own shape are timed between the batches of one map, on the
same threads. Seconds are of all cores, so that other work on the machine counts little.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from map_setup import BASE, SMALL, random_model


def main(side: int, kind: str) -> None:
    import torch

    from geofm.model.encoder import Encoder
    from geofm.predict.engine import MapOptions
    from geofm.predict.mapping import map_to_file
    from geofm.scenes.open import open_scene
    from geofm.scenes.synthetic import make_scene

    model = random_model(SMALL if kind == "small" else BASE, {"classes": 2})
    config = model.segmenter.encoder.config
    encoder, products = [], []
    plain = Encoder.feature_maps

    def timed(self, x, depths, coordinates=None):
        began = time.process_time()
        maps = plain(self, x, depths, coordinates)
        encoder.append(operations(config, len(x)) / (time.process_time() - began))
        products.append(product_speed(torch, config, len(x)))
        return maps

    Encoder.feature_maps = timed
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as made:
        scene = open_scene(make_scene(Path(made) / "scene.tif", height=side, width=side))
        map_to_file(model, scene, Path(made) / "map.tif", options=MapOptions(precision="fp32"))
    found = {
        "model": kind,
        "threads": torch.get_num_threads(),
        "batches": len(encoder),
        "encoder_gflop_per_cpu_s": round(median(warm(encoder)) / 1e9, 1),
        "sgemm_gflop_per_cpu_s": round(median(warm(products)) / 1e9, 1),
        "share_of_ceiling": round(median(warm(encoder)) / median(warm(products)), 3),
    }
    print(json.dumps(found))


def warm(speeds: list[float]) -> list[float]:
    """All but the first, where there are more."""
    return speeds[1:] or speeds


def operations(config, batch: int) -> float:
    """Additions and multiplications of a forward pass."""
    patches = config.grid[0] * config.grid[1] * config.grid[2]
    tokens, width = patches + 1, config.embed_dim
    block = tokens * (4 + 2 * config.mlp_ratio) * width**2 + 2 * tokens**2 * width
    embed = patches * config.bands * config.patch_size**2 * width
    return 2.0 * batch * (config.depth * block + embed)


def product_speed(torch, config, batch: int) -> float:
    """Operations a second of the widest product of a block."""
    rows = batch * (config.grid[1] * config.grid[2] + 1)
    a = torch.randn(rows, config.embed_dim)
    b = torch.randn(config.embed_dim, int(config.embed_dim * config.mlp_ratio))
    out = torch.empty(rows, b.shape[1])
    turns = max(round(2e9 / (2.0 * a.numel() * b.shape[1])), 1)
    torch.mm(a, b, out=out)
    began = time.process_time()
    for _ in range(turns):
        torch.mm(a, b, out=out)
    return 2.0 * a.numel() * b.shape[1] * turns / (time.process_time() - began)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(int(words[0]) if words else 1024, words[1] if len(words) > 1 else "base")
