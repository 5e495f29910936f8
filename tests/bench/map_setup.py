"""What the benches of mapping share: random models, commands, and what these took."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Took:
    """What a process took: seconds on the clock and of all cores, and its peak, MiB."""

    wall: float
    cpu: float
    mib: int
    told: str


def take(words: list[str]) -> Took:
    """Run a command to its end; it must succeed."""
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        told = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}")
    return Took(wall, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, told)


def middle(runs: list[Took]) -> dict[str, float]:
    """Medians over runs, for one side of a table."""
    return {
        "wall_s": round(median(run.wall for run in runs), 1),
        "cpu_s": round(median(run.cpu for run in runs), 1),
        "peak_mib": round(median(run.mib for run in runs)),
    }


def map_command(model: Path, scene: Path, out: Path) -> list[str]:
    words = ["map", str(model), str(scene), "-o", str(out), "--overwrite", "--precision", "fp32"]
    return [str(Path(sys.executable).with_name("geofm")), *words]


def random_model(encoder: dict[str, Any], head: dict[str, Any]) -> Any:
    """A `TrainedModel` with seeded random weights for six bands of surface reflectance."""
    import torch

    from geofm.contract import PixelContract
    from geofm.model.encoder import EncoderConfig
    from geofm.model.folder import TrainedModel
    from geofm.model.heads import HeadConfig, default_depths
    from geofm.model.segmenter import build_segmenter
    from geofm.tasks import SHARED_BANDS, MapClass

    torch.manual_seed(0)
    depths = default_depths(head.get("kind", "fcn"), encoder["depth"])
    config = HeadConfig(depths=depths, **head)
    return TrainedModel(
        segmenter=build_segmenter(EncoderConfig(bands=6, **encoder), config).eval(),
        contract=PixelContract(
            bands=SHARED_BANDS, level="surface", mean=(0.1,) * 6, std=(0.1,) * 6, resolution=10
        ),
        classes=tuple(MapClass(f"class {k}", "#123456") for k in range(config.classes)),
        task="bench",
        name="bench",
        provenance={},
    )


def save_random(folder: Path, encoder: dict[str, Any], head: dict[str, Any]) -> Path:
    """A folder of `random_model`."""
    from geofm.model.folder import save_model

    save_model(random_model(encoder, head), folder)
    return folder


def make_scenes(folder: Path, sizes: Iterable[tuple[int, int]]) -> Path:
    """A folder of synthetic scenes of these heights and widths, which `random_model` maps."""
    from geofm.scenes.synthetic import make_scene
    from geofm.tasks import SHARED_BANDS

    folder.mkdir()
    for n, (height, width) in enumerate(sizes):
        path = folder / f"s{n:04d}.tif"
        make_scene(path, height=height, width=width, bands=SHARED_BANDS, seed=n)
    return folder


SMALL = {"image_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
BASE = {"image_size": 224, "patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
