"""Prithvi with an UPerNet head, like for like: geofm's command against TerraTorch's.

    uv venv .peers && uv pip install --python .peers/bin/python terratorch
    PYTHONDONTWRITEBYTECODE= .peers/bin/python -m compileall -q .peers/lib
    python tests/bench/map_peer.py [SIDE] [TURNS] [100m|300m]

TerraTorch saves random weights under its names; geofm imports the checkpoint by its config. Both
map the same scene in float32 on the CPU with the same threads, each with its own defaults (windows
of 224 px; TerraTorch steps by 192), whole commands in turns. On equal windows logits are compared.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PEER = Path(".peers/bin/python")
MEAN, STD = (0.1,) * 6, (0.1,) * 6
BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
MODELS = {"100m": ("prithvi_eo_v1_100", 12), "300m": ("prithvi_eo_v2_300", 24)}


def model_args(name: str) -> dict[str, Any]:
    """In TerraTorch's words; the head reads the ends of four quarters of the blocks."""
    backbone, depth = MODELS[name]
    quarters = [depth * part // 4 - 1 for part in (1, 2, 3, 4)]
    return {
        "backbone": backbone,
        "backbone_pretrained": False,
        "backbone_bands": BANDS,
        "backbone_num_frames": 1,
        "necks": [
            {"name": "SelectIndices", "indices": quarters},
            {"name": "ReshapeTokensToImage"},
        ],
        "decoder": "UperNetDecoder",
        "decoder_channels": 256,
        "decoder_scale_modules": True,
        "num_classes": 2,
        "rescale": True,
    }


# In TerraTorch's environment.


def peer(step: str, name: str, folder: Path) -> None:
    import warnings

    warnings.filterwarnings("ignore")
    import numpy as np
    import rasterio
    import torch
    from terratorch.tasks import SemanticSegmentationTask

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    task = SemanticSegmentationTask(
        model_args=model_args(name), model_factory="EncoderDecoderFactory", loss="ce"
    ).eval()
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (MEAN, STD))
    with rasterio.open(folder / "scene.tif") as file:
        values, profile = file.read().astype("float32") * np.float32(1e-4), file.profile
    x = torch.from_numpy((values - mean) / std)[None]
    if step == "weights":
        torch.save({"state_dict": task.state_dict()}, folder / "model.ckpt")
        with torch.no_grad():
            np.savez(
                folder / "windows.npz",
                x=x[:, :, :224, :448],
                logits=torch.cat(
                    [task.model(x[:, :, :224, c : c + 224]).output for c in (0, 224)], dim=3
                ),
            )
        return
    from terratorch.tasks.tiled_inference import tiled_inference

    task.load_state_dict(torch.load(folder / "model.ckpt")["state_dict"])
    with torch.no_grad():
        logits = tiled_inference(lambda z, **_: task.model(z).output, x, batch_size=8)
    profile.update(count=1, dtype="uint8", nodata=255)
    with rasterio.open(folder / "peer.tif", "w", **profile) as file:
        file.write(logits.argmax(1)[0].to(torch.uint8).numpy(), 1)


# Here.


def main(side: int, turns: int, name: str) -> None:
    import numpy as np
    import rasterio
    import torch
    import yaml
    from map_setup import map_command, middle, take

    from geofm.model.finetuned import ImportOptions, import_finetuned
    from geofm.model.folder import save_model
    from geofm.scenes.synthetic import make_scene

    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as made:
        folder = Path(made)
        scene = make_scene(folder / "scene.tif", height=side, width=side, nodata_corner=False)
        theirs_is = [str(PEER), __file__, "--peer"]
        subprocess.run([*theirs_is, "weights", name, made], check=True, stdout=sys.stderr)
        data = {"means": list(MEAN), "stds": list(STD)}
        config = {
            "model": {
                "init_args": {"model_args": model_args(name), "class_names": ["land", "water"]}
            },
            "data": {"class_path": "GenericNonGeoSegmentationDataModule", "init_args": data},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        model = import_finetuned(
            folder / "model.ckpt",
            ImportOptions(config=folder / "config.yaml", level="surface", resolution=10),
        )
        save_model(model, folder / "model.geofm")
        ours, theirs = [], []
        for _ in range(turns):
            ours.append(take(map_command(folder / "model.geofm", scene, folder / "map.tif")))
            theirs.append(take([*theirs_is, "map", name, made]))
        saved = np.load(folder / "windows.npz")
        x, expected = torch.from_numpy(saved["x"]), torch.from_numpy(saved["logits"])
        with torch.inference_mode():
            found = [model.segmenter(x[:, None, :, :, c : c + 224]) for c in (0, 224)]
        logits = torch.cat(found, dim=3)
        with rasterio.open(folder / "map.tif") as a, rasterio.open(folder / "peer.tif") as b:
            same = float((a.read(1) == b.read(1)).mean())
    geofm, terratorch = middle(ours), middle(theirs)
    report = {
        "model": name,
        "mpx": side * side / 1e6,
        "threads": torch.get_num_threads(),
        "geofm": geofm,
        "terratorch": terratorch,
        **{
            f"times_{key}": round(terratorch[key] / geofm[key], 2)
            for key in ("wall_s", "cpu_s", "peak_mib")
        },
        "equal_windows": {
            "logits": f"{float((logits - expected).abs().max() / expected.abs().max()):.1e}",
            "same_classes": float((logits.argmax(1) == expected.argmax(1)).float().mean()),
        },
        "same_classes_of_the_maps": round(same, 5),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        side, turns, which = (sys.argv[1:] + ["1024", "1", "100m"][len(sys.argv) - 1 :])[:3]
        main(int(side), int(turns), which)
