"""Peak memory of mapping scenes of any size, over the model itself.

    python tests/bench/memory.py HEIGHT WIDTH CLASSES DATES [GIB|dask]

prints one JSON line. With ``dask`` the scene is a chunked xarray cube, and the map is streamed into
Zarr. Each call is a process of its own: a peak is a process's.
"""

import json
import sys
import tempfile
import time
from pathlib import Path


def main(height: int, width: int, classes: int, dates: int, gib: float | None) -> dict[str, float]:
    """Map a scene into a file under a ceiling of ``gib``; None: a cube on Dask into Zarr."""
    import torch

    import geofm.xarray  # noqa: F401
    from geofm.api import Model
    from geofm.contract import PixelContract
    from geofm.model.encoder import EncoderConfig
    from geofm.model.folder import TrainedModel
    from geofm.model.heads import HeadConfig
    from geofm.model.segmenter import build_segmenter
    from geofm.predict.engine import MapOptions
    from geofm.predict.mapping import map_to_file
    from geofm.scenes.open import open_scene
    from geofm.scenes.synthetic import make_big_scene
    from geofm.tasks import SHARED_BANDS, MapClass

    torch.manual_seed(0)
    # Window, bands and dates of a real model; next to no arithmetic.
    segmenter = build_segmenter(
        EncoderConfig(
            bands=6, dates=dates, image_size=224, patch_size=32, embed_dim=16, depth=1, num_heads=1
        ),
        HeadConfig(kind="linear", classes=classes, depths=(0,)),
    ).eval()
    model = TrainedModel(
        segmenter=segmenter,
        contract=PixelContract(
            bands=SHARED_BANDS,
            level="surface",
            mean=(0.1,) * 6,
            std=(0.1,) * 6,
            resolution=10,
            dates=dates,
        ),
        classes=tuple(MapClass(str(k), "#123456") for k in range(classes)),
        task="bench",
        name="bench",
        provenance={},
    )
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as folder:
        path = make_big_scene(Path(folder) / "scene.tif", height=height, width=width, dates=dates)
        scene = open_scene(path)
        for batch in (2, 16):  # what torch itself allocates on first use is not the scene's
            segmenter(torch.zeros(batch, dates, 6, 224, 224))
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _status("VmRSS")
        started = time.perf_counter()
        if gib is None:
            found = scene.to_xarray().geofm.map(Model(model))
            found.to_zarr(Path(folder) / "map.zarr", zarr_format=2)
        else:
            options = MapOptions(memory=int(gib * 2**30))
            map_to_file(model, scene, Path(folder) / "map.tif", options=options)
        seconds = time.perf_counter() - started
        peak = _status("VmHWM")
    return {
        "height": height,
        "width": width,
        "classes": classes,
        "dates": dates,
        "ceiling_mib": round((gib or 2) * 1024),
        "peak_over_model_mib": round((peak - before) / 1024),
        "seconds": round(seconds, 1),
        "mpx_per_s": round(height * width / 1e6 / seconds, 2),
    }


def _status(field: str) -> int:
    """A field of /proc/self/status, KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise AssertionError(field)


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:5]]
    ceiling = sys.argv[5] if len(sys.argv) > 5 else "2"
    print(json.dumps(main(*sizes, None if ceiling == "dask" else float(ceiling))))
