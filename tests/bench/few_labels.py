"""Draw ten polygons, map, correct, map again: how long a person waits.

    python tests/bench/few_labels.py [ENCODER.geofm]

prints one JSON line: seconds from labels to map on the demo's scene (768 x 1536 px), first
with nothing kept, then with one polygon more, and what of it is training and mapping;
seconds of this process's CPU too, which a busy machine does not change; and the mean IoU on
labels of OpenStreetMap that were not given. Without an encoder, the demo's is pretrained
first, which is not counted.
"""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

import geofm
from geofm.demo import BANDS, CLASSES, CODES, PRETRAIN, demo_data
from geofm.model.metrics import confusion_matrix, mean_iou
from geofm.tasks import IGNORE

DRY = ["forest", "farm", "meadow", "residential"]
CONFIG = geofm.FinetuneConfig(encoder_rate=0, steps=100, batch_size=8)


def main(source: str | None) -> dict[str, Any]:
    scene_path, labels_path = demo_data()
    scene = geofm.open_scene(scene_path)
    truth = geofm.open_labels(labels_path, scene.geobox, classes=CODES, column="fclass").read()
    if source:
        encoder = geofm.load_encoder(source)
    else:
        encoder = geofm.pretrain([scene.select(bands=BANDS)], PRETRAIN)
    told: dict[str, Any] = {"pixels": int(np.prod(scene.shape))}
    with TemporaryDirectory() as folder:
        for name, count in (("first", 5), ("corrected", 6)):
            polygons = drawn(labels_path, scene, count)
            polygons.to_file(Path(folder) / f"{name}.gpkg")
            told[name] = once(scene, Path(folder) / f"{name}.gpkg", encoder, folder, truth)
    return told


def drawn(path: Path, scene: geofm.Scene, water: int) -> gpd.GeoDataFrame:
    """So many polygons of water, and five of dry land, of 2 ha or more."""
    every = gpd.read_file(path)
    every = every[every.to_crs(scene.geobox.crs.to_wkt()).area > 20_000]
    lakes, land = every[every.fclass == "water"], every[every.fclass.isin(DRY)]
    return pd.concat([lakes.sample(6, random_state=0)[:water], land.sample(5, random_state=0)])


def once(
    scene: geofm.Scene, polygons: Path, encoder: Any, folder: str, truth: np.ndarray
) -> dict[str, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    labels = geofm.open_labels(polygons, scene.geobox, classes=CODES, column="fclass")
    model = geofm.finetune(
        "water",
        [geofm.Pair(scene, labels, "havel")],
        classes=CLASSES,
        encoder=encoder,
        config=CONFIG,
        features=Path(folder) / "features",
    )
    trained = time.perf_counter()
    classes = model.map(scene)["classes"].to_numpy()
    mapped = time.perf_counter()
    others = np.where(labels.read() == IGNORE, truth, IGNORE)
    return {
        "seconds": round(mapped - clock, 1),
        "training_s": round(trained - clock, 1),
        "mapping_s": round(mapped - trained, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "mean_iou": round(float(mean_iou(confusion_matrix(classes, others, classes=2))), 3),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1] if len(sys.argv) > 1 else None)))
