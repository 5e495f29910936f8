"""Pretrain the encoder of data/geofm-small.geofm, as it was: python tests/bench/encoder.py

Reads ../shared/data; takes about an hour on one core. Scenes of open licences only, and
their training halves only (`sets.unlabelled`).
"""

import sys
from pathlib import Path

import torch
from sets import unlabelled

from geofm.model.folder import save_encoder
from geofm.train.config import EncoderShape, PretrainConfig
from geofm.train.pretrain import pretrain_encoder

OUT = Path(__file__).parents[2] / "data" / "geofm-small.geofm"
CONFIG = PretrainConfig(
    encoder=EncoderShape(image_size=64, patch_size=8, embed_dim=192, depth=6, num_heads=6),
    steps=3000,
    batch_size=64,
    learning_rate=1.5e-3,
    warmup=0.05,
    dates=1,
    any_resolution=True,  # 6 to 30 m: the encoder is to help at any of them
)
LICENCES = (
    "NASA HLS v2.0 (open data)",
    "modified Copernicus Sentinel data 2019-2021 (free and open)",
    "Landsat 7, U.S. Geological Survey (public domain)",
)


def main(path: Path) -> None:
    torch.set_num_threads(1)  # blocks this narrow wait for threads longer than they compute

    def tell(done: float, text: str) -> None:
        print(f"\r{done:6.1%} {text:<70}", end="", file=sys.stderr, flush=True)

    encoder = pretrain_encoder(
        unlabelled(), CONFIG, name="geofm-small", licences=LICENCES, progress=tell
    )
    save_encoder(encoder, path, overwrite=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
