"""What geofm offers to Python: open a scene, load a model, map; pretrain and fine-tune.

Everything here is reached as ``geofm.NAME``; all other modules are private.
"""

from geofm.api.areas import design_area, estimate_area
from geofm.api.batches import estimate_batch, map_batch
from geofm.api.maps import estimate_map, map_again, map_scene
from geofm.api.models import Model, import_model, load_encoder, load_model, save
from geofm.api.scores import (
    calibrate,
    compare,
    evaluate,
    save_evaluation,
    validation_windows,
    with_scores,
)
from geofm.api.training import compare_controls, finetune, label_curve, pretrain, probe
from geofm.assess.area import AreaDesign, AreaEstimate
from geofm.assess.area_design import DesignConfig
from geofm.assess.check import CheckReport
from geofm.assess.compare import Comparison
from geofm.assess.curve_rows import CurveConfig, LabelCurve
from geofm.assess.evaluate import Evaluation
from geofm.contract import PixelContract
from geofm.datasets.open import open_dataset
from geofm.model.folder import PretrainedEncoder
from geofm.pairing.open import open_catalog, open_pairs
from geofm.pairing.scenes import Opened, open_scenes
from geofm.predict.again import Again
from geofm.predict.estimate import Estimate
from geofm.predict.forecast import BatchEstimate
from geofm.predict.many import BatchReport
from geofm.predict.mapping import MapReport
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import Labels, open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Pixels, Scene
from geofm.show import (
    area_html,
    batch_html,
    check_html,
    map_html,
    model_html,
    scene_html,
    score_html,
)
from geofm.tasks import MapClass
from geofm.tiles.leakage import Leakage, find_roles
from geofm.tiles.roles import Roles
from geofm.train.config import ControlConfig, EncoderShape, FinetuneConfig, PretrainConfig
from geofm.train.run_folder import Run

__all__ = [
    "Again",
    "AreaDesign",
    "AreaEstimate",
    "BatchEstimate",
    "BatchReport",
    "Comparison",
    "ControlConfig",
    "CurveConfig",
    "DesignConfig",
    "EncoderShape",
    "Estimate",
    "Evaluation",
    "FinetuneConfig",
    "LabelCurve",
    "Labels",
    "Leakage",
    "MapClass",
    "MapReport",
    "Model",
    "Opened",
    "Pair",
    "PixelContract",
    "Pixels",
    "PretrainConfig",
    "PretrainedEncoder",
    "Roles",
    "Run",
    "Scene",
    "calibrate",
    "compare",
    "compare_controls",
    "design_area",
    "estimate_area",
    "estimate_batch",
    "estimate_map",
    "evaluate",
    "find_roles",
    "finetune",
    "import_model",
    "label_curve",
    "load_encoder",
    "load_model",
    "map_again",
    "map_batch",
    "map_scene",
    "open_catalog",
    "open_dataset",
    "open_labels",
    "open_pairs",
    "open_scene",
    "open_scenes",
    "pretrain",
    "probe",
    "save",
    "save_evaluation",
    "validation_windows",
    "with_scores",
]

# What a notebook shows of these draws on rooms above theirs: their cards are lent from here.
Scene._repr_html_ = scene_html  # type: ignore[attr-defined]
PretrainedEncoder._repr_html_ = model_html  # type: ignore[attr-defined]
BatchReport._repr_html_ = batch_html  # type: ignore[attr-defined]
MapReport._repr_html_ = map_html  # type: ignore[attr-defined]
Evaluation._repr_html_ = score_html  # type: ignore[attr-defined]
AreaEstimate._repr_html_ = area_html  # type: ignore[attr-defined]
CheckReport._repr_html_ = check_html  # type: ignore[attr-defined]
