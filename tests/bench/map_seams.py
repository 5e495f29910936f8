"""Seams of the defaults against half a window shared and averaged: map_seams.py MODEL SCENE.

By default the demo's model and scene. The seam score is as maps report it: differences of
probabilities across window edges over those elsewhere. Agreement is with half a window shared
and blended, the most careful map there is.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

MODEL = Path("runs/demo/water.geofm")
SCENE = Path("data/havel_s2_l1c_20170216.tif")


def main(model_path: Path, scene_path: Path) -> None:
    from geofm.model.folder import load_model_folder
    from geofm.predict.engine import MapOptions, SeamSums, prepare, run
    from geofm.predict.mapping import ArraySink
    from geofm.scenes.open import open_scene

    model, scene = load_model_folder(model_path), open_scene(scene_path)
    size = model.segmenter.encoder.config.image_size

    def mapped(overlap: int | None, *, averaged: bool = False):
        job = prepare(model, scene, MapOptions(overlap=overlap, precision="fp32"))
        plan = replace(job.plan)
        if averaged:
            plan.__dict__["weight"] = np.ones(size, np.float32)
        sink = ArraySink(scene.shape, 0)
        run(replace(job, plan=plan), sink)
        score = sum(sink.done.values(), SeamSums()).score
        return {"passes": round(plan.passes, 3), "seam_score": round(score, 3)}, sink.classes

    careful, classes = mapped(size // 2)
    found = {"half_blended": careful}
    for name, overlap, averaged in (("default", None, False), ("half_averaged", size // 2, True)):
        told, other = mapped(overlap, averaged=averaged)
        known = (classes < 253) & (other < 253)
        told["same_classes"] = round(float((classes == other)[known].mean()), 5)
        found[name] = told
    print(json.dumps(found))


if __name__ == "__main__":
    words = [Path(word) for word in sys.argv[1:3]]
    main(*(words + [MODEL, SCENE][len(words) :]))
