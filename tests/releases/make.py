"""Keep a model folder and a map of this release, to be opened by all later ones.

    python tests/releases/make.py

writes ``tests/releases/VERSION``. Run once when a release is made, then leave it alone:
`tests/test_old_work.py` opens every folder here for ever after.
"""

import os
from pathlib import Path

import geofm
from geofm.scenes.synthetic import make_labels, make_scene

SHAPE = geofm.EncoderShape(image_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3)


def main() -> None:
    folder = Path(__file__).parent / geofm.__version__
    folder.mkdir()
    os.chdir(folder)  # receipts name files as they were given
    make_scene("scene.tif", height=96, width=128)
    make_labels("labels.tif", "scene.tif")
    scene = geofm.open_scene("scene.tif")
    classes = {0: 0, 1: 1}
    labels = geofm.open_labels("labels.tif", scene.geobox, classes=classes)
    config = geofm.PretrainConfig(
        encoder=SHAPE, steps=20, batch_size=8, decoder_dim=48, decoder_depth=1, decoder_heads=3
    )
    encoder = geofm.pretrain([scene], config)
    model = geofm.finetune(
        "flood",
        [geofm.Pair(scene, labels, "scene")],
        encoder=encoder,
        config=geofm.FinetuneConfig(steps=60, batch_size=8, channels=16),
    )
    geofm.save(encoder, "encoder.geofm")
    geofm.save(model, "flood.geofm")
    model = geofm.load_model("flood.geofm")
    geofm.map_scene(model, scene, "flood.tif", probabilities=True)
    Path("labels.tif").unlink()


if __name__ == "__main__":
    main()
