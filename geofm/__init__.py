"""geofm: satellite scenes to maps of floods, burn scars and crops, with a number one can defend.

>>> import geofm
>>> scene = geofm.open_scene("scene.tif")  # doctest: +SKIP
>>> model = geofm.load_model("flood.geofm")  # doctest: +SKIP
>>> flood = model.map(scene)  # an xarray.Dataset on the scene's grid  # doctest: +SKIP
>>> geofm.map_scene(model, scene, "flood.tif")  # of any size  # doctest: +SKIP

Pictures are in `geofm.plot`, accessors of xarray in `geofm.xarray`, how-tos in `geofm.howto`. All
other modules are private, and may change. What is refused raises `GeofmError`, whose sentence says
what was found, what was needed, and the next step.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geofm.errors import GeofmError

if TYPE_CHECKING:
    from geofm.api import (
        Again,
        AreaDesign,
        AreaEstimate,
        BatchEstimate,
        BatchReport,
        Comparison,
        ControlConfig,
        CurveConfig,
        DesignConfig,
        EncoderShape,
        Estimate,
        Evaluation,
        FinetuneConfig,
        LabelCurve,
        Labels,
        Leakage,
        MapClass,
        MapReport,
        Model,
        Opened,
        Pair,
        PixelContract,
        Pixels,
        PretrainConfig,
        PretrainedEncoder,
        Roles,
        Run,
        Scene,
        calibrate,
        compare,
        compare_controls,
        design_area,
        estimate_area,
        estimate_batch,
        estimate_map,
        evaluate,
        find_roles,
        finetune,
        import_model,
        label_curve,
        load_encoder,
        load_model,
        map_again,
        map_batch,
        map_scene,
        open_catalog,
        open_dataset,
        open_labels,
        open_pairs,
        open_scene,
        open_scenes,
        pretrain,
        probe,
        save,
        save_evaluation,
        validation_windows,
        with_scores,
    )

__version__ = "0.1.0"

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
    "GeofmError",
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
    "__version__",
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


def __getattr__(name: str) -> Any:
    # torch, xarray and GDAL take seconds to import: they load with the first use.
    if name in __all__:
        return getattr(import_module("geofm.api"), name)
    if name == "plot":  # a room of its own, light until it draws
        return import_module("geofm.plot")
    raise AttributeError(f"module 'geofm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "plot"])
