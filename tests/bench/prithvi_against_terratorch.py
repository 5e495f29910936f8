"""Prithvi here and in TerraTorch: the same random weights, the same numbers?

    uv venv .peers && uv pip install --python .peers/bin/python terratorch
    python tests/bench/prithvi_against_terratorch.py [PEER_PYTHON]

TerraTorch, in an environment of its own, saves random weights under published names with what
it computes from them; geofm loads the files and compares. Prints one JSON line: for encoders
the largest difference of a feature over its layer's largest value, and the relative difference
of the loss; for fine-tuned models the same of logits, and the share of a scene's pixels that get
the same class.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
# TerraTorch's name, and dates.
ENCODERS = {
    "prithvi_eo_v1_100": 3,
    "prithvi_eo_v2_tiny_tl": 1,
    "prithvi_eo_v2_100_tl": 4,
}
PYRAMID = [
    {"name": "SelectIndices", "indices": [5, 11, 17, 23]},
    {"name": "ReshapeTokensToImage"},
]
MODELS: dict[str, dict[str, Any]] = {
    "prithvi-eo-2.0-300m-tl-sen1floods11": {
        "backbone": "prithvi_eo_v2_300_tl",
        "necks": PYRAMID,
        "decoder": "UperNetDecoder",
        "decoder_channels": 256,
        "decoder_scale_modules": True,
    },
    "prithvi-eo-2.0-300m-burnscars": {
        "backbone": "prithvi_eo_v2_300",
        "necks": [*PYRAMID, {"name": "LearnedInterpolateToPyramidal"}],
        "decoder": "UNetDecoder",
        "decoder_channels": [512, 256, 128, 64],
    },
}
SIDE = {"prithvi-eo-2.0-300m-tl-sen1floods11": 224, "prithvi-eo-2.0-300m-burnscars": 512}


# In TerraTorch's environment.


def peer(folder: Path) -> None:
    import warnings

    warnings.filterwarnings("ignore")
    from importlib.metadata import version

    import torch

    torch.set_num_threads(2)
    for name, dates in ENCODERS.items():
        torch.manual_seed(0)
        _save_autoencoder(folder, name, dates)
    for name, args in MODELS.items():
        torch.manual_seed(0)
        _save_model(folder, name, args)
    (folder / "version").write_text(version("terratorch"))


def _save_autoencoder(folder: Path, name: str, dates: int) -> None:
    import torch
    from terratorch.models.backbones.prithvi_mae import PrithviMAE
    from terratorch.models.backbones.prithvi_vit import prithvi_cfgs

    config = dict(prithvi_cfgs[name])
    mae = PrithviMAE(**config).eval()
    with torch.no_grad():
        for parameter in mae.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save(mae.state_dict(), folder / f"{name}.pt")
    x = torch.randn(1, 6, dates, 224, 224)
    when = torch.tensor([[[2018.0 + t, 30.0 * t] for t in range(dates)]])
    where = torch.tensor([[47.31, 8.54]])
    codes = (when, where) if config["coords_encoding"] else (None, None)
    with torch.no_grad():
        features = mae.encoder.forward_features(x, *codes)
        torch.manual_seed(1)
        output = mae(x, *codes, mask_ratio=0.75)
    loss = output[0]["loss"] if isinstance(output[0], dict) else output[0]
    np.savez(
        folder / f"{name}.npz",
        x=x.transpose(1, 2),
        when=when,
        where=where,
        features=torch.stack(features),
        loss=loss,
    )


def _save_model(folder: Path, name: str, args: dict[str, Any]) -> None:
    import torch
    from terratorch.tasks import SemanticSegmentationTask

    task = SemanticSegmentationTask(
        model_args={
            **args,
            "backbone_pretrained": False,
            "backbone_bands": BANDS,
            "num_classes": 2,
            "rescale": True,
        },
        model_factory="EncoderDecoderFactory",
        loss="ce",
    ).eval()
    _settle(task, torch)
    torch.save({"state_dict": task.state_dict()}, folder / f"{name}.ckpt")
    side = SIDE[name]
    reflectance = np.load(folder / "scene.npy")[:, : 2 * side, :side]
    # The windows that geofm will cut, normalised by the same statistics.
    mean, std = np.load(folder / f"{name}.stats.npy")
    x = torch.from_numpy((reflectance - mean[:, None, None]) / std[:, None, None]).float()
    with torch.no_grad():
        logits = torch.cat(
            [task.model(x[None, :, top : top + side]).output for top in (0, side)], dim=2
        )
    np.savez(folder / f"{name}.npz", x=x[None, None, :, :side], logits=logits[0])


def _settle(task: Any, torch: Any) -> None:
    """Numbers in every BatchNorm, as after training."""
    for module in task.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)


# Here.


def compare(python: str) -> None:
    import torch

    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write_scene(folder)
        subprocess.run([python, __file__, "--peer", made], check=True, stdout=sys.stderr)
        found: dict[str, Any] = {"terratorch": (folder / "version").read_text()}
        found |= {name: _compare_autoencoder(folder, name) for name in ENCODERS}
        found |= {name: _compare_model(folder, name) for name in MODELS}
    print(json.dumps(found))


def _write_scene(folder: Path) -> None:
    """Reflectance that looks a little like land, and each model's statistics."""
    from geofm.model.finetuned import find_model

    rows, cols = np.mgrid[:1024, :512]
    waves = [np.sin(rows / (9 + 5 * b)) * np.cos(cols / (7 + 3 * b)) for b in range(6)]
    noise = np.random.default_rng(0).normal(0, 0.02, (6, 1024, 512))
    dn = np.clip((0.2 + 0.1 * np.stack(waves) + noise) * 10_000, 1, 9_999).astype(np.uint16)
    np.save(folder / "dn.npy", dn)
    np.save(folder / "scene.npy", dn.astype(np.float32) * np.float32(1e-4))
    for name in MODELS:
        known = find_model(name)
        assert known is not None
        np.save(folder / f"{name}.stats.npy", [known.contract.mean, known.contract.std])


def _compare_autoencoder(folder: Path, name: str) -> dict[str, Any]:
    import torch

    from geofm.model.coordinates import Coordinates
    from geofm.model.prithvi import load_prithvi_mae

    mae = load_prithvi_mae(folder / f"{name}.pt")
    saved = {key: torch.from_numpy(value) for key, value in np.load(folder / f"{name}.npz").items()}
    encoder, x = mae.encoder, saved["x"]
    codes = Coordinates(saved["when"], saved["where"]) if encoder.config.coordinates else None
    worst = 0.0
    with torch.inference_mode():
        maps = encoder.feature_maps(x, range(encoder.config.depth), codes)
        torch.manual_seed(1)
        noise = torch.rand(1, math.prod(encoder.config.grid))
        valid = torch.ones(1, x.shape[1], 224, 224, dtype=torch.bool)
        loss = mae(x, valid, noise, coordinates=codes).loss.item()
    for found, layer in zip(maps, saved["features"], strict=True):
        t, h, w = encoder.token_grid(x)
        expected = layer[:, 1:].reshape(1, t, h, w, -1).permute(0, 1, 4, 2, 3).flatten(1, 2)
        worst = max(worst, ((found - expected).abs().max() / expected.abs().max()).item())
    relative = abs(loss / saved["loss"].item() - 1)
    return {"features": f"{worst:.1e}", "loss": f"{relative:.1e}"}


def _compare_model(folder: Path, name: str) -> dict[str, Any]:
    import torch
    from affine import Affine

    from geofm.model.finetuned import ImportOptions, import_finetuned
    from geofm.predict.engine import MapOptions
    from geofm.predict.mapping import map_in_memory
    from geofm.scenes.open import open_scene

    # TerraTorch of today runs segmentation_models.pytorch 0.5 or later.
    options = ImportOptions(published=name, upsample_last=False)
    model = import_finetuned(folder / f"{name}.ckpt", options)
    saved = {key: torch.from_numpy(value) for key, value in np.load(folder / f"{name}.npz").items()}
    side = SIDE[name]
    with torch.inference_mode():
        logits = model.segmenter(saved["x"])[0]
    expected = saved["logits"]
    gap = (logits - expected[:, :side]).abs().max().item()
    step = model.contract.resolution
    path = folder / "scene.tif"
    _write_tiff(path, np.load(folder / "dn.npy")[:, : 2 * side, :side], Affine.scale(step, -step))
    scene = open_scene(
        path, bands=model.contract.bands, scale=1e-4, level=model.contract.level, nodata=0
    )
    mapped = map_in_memory(model, scene, options=MapOptions(overlap=0, precision="fp32"))
    classes = expected.argmax(0).numpy()
    margin = (expected[0] - expected[1]).abs().numpy()
    same = mapped.classes == classes
    return {
        "logits": f"{gap / expected.abs().max().item():.1e}",
        "same_classes": float(same.mean()),
        "same_classes_beyond_margin": float(same[margin > 2 * gap].mean()),
        "share_of_class_1": round(float((classes == 1).mean()), 4),
    }


def _write_tiff(path: Path, dn: np.ndarray[Any, Any], transform: Any) -> None:
    import rasterio

    count, height, width = dn.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=dn.dtype,
        crs="EPSG:32633",
        transform=transform,
    ) as file:
        file.write(dn)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(Path(sys.argv[2]))
    else:
        compare(sys.argv[1] if len(sys.argv) > 1 else ".peers/bin/python")
