"""stac-item.json: a model for catalogues, as a STAC item with the machine-learning-model extension.

https://github.com/stac-extensions/mlm v1.5.2. It is written from model.json and never read back.
"""

import re
from typing import Any

import torch

from geofm.model.schema import Description, MultiPolygon, Polygon, SegmenterFile

MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"


def stac_item(description: Description) -> dict[str, Any]:
    """The item of a model folder, as JSON values."""
    name = _mlm_name(description.name)
    footprint = description.provenance.training_footprint
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM],
        "id": name.replace(" ", "-"),
        "geometry": footprint.model_dump(mode="json") if footprint else None,
    }
    if footprint:
        item["bbox"] = _bbox(footprint)
    return item | {
        "properties": _properties(description, name),
        "links": [],
        "assets": {
            "weights": {
                "href": f"./{description.weights.file}",
                "type": "application/octet-stream; application=safetensors",
                "title": "Weights",
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": "safetensors.torch.save_file",
            },
            "description": {
                "href": "./model.json",
                "type": "application/json",
                "title": "Architecture, pixel contract, classes and provenance",
                "roles": ["metadata"],
            },
        },
    }


def _properties(description: Description, name: str) -> dict[str, Any]:
    tasks = ["semantic-segmentation"] if isinstance(description, SegmenterFile) else []
    began_with = description.provenance.encoder
    return {
        # A model is no acquisition: STAC asks for a time, and all time claims nothing.
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "description": f"{description.name}, a {description.kind} of geofm",
        "bands": [{"name": band} for band in description.contract.bands],
        "mlm:name": name,
        "mlm:architecture": "Vision Transformer",
        "mlm:tasks": tasks,
        "mlm:framework": "PyTorch",
        "mlm:framework_version": torch.__version__.split("+")[0],
        "mlm:total_parameters": description.weights.parameters,
        "mlm:memory_size": 4 * description.weights.parameters,
        "mlm:pretrained": began_with is not None,
        "mlm:pretrained_source": str(began_with.get("name", "unnamed")) if began_with else None,
        "mlm:hyperparameters": description.architecture.encoder.model_dump(),
        "mlm:input": [_input(description)],
        "mlm:output": [_output(description)],
    }


def _input(description: Description) -> dict[str, Any]:
    contract, encoder = description.contract, description.architecture.encoder
    return {
        "name": "scene",
        "description": f"{contract.level} reflectance, 0 to 1, {round(contract.resolution, 1):g} m",
        "bands": list(contract.bands),
        "input": {
            "shape": [-1, encoder.dates, encoder.bands, encoder.image_size, encoder.image_size],
            "dim_order": ["batch", "time", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(contract.mean, contract.std, strict=True)
        ],
        "resize_type": None,
    }


def _output(description: Description) -> dict[str, Any]:
    encoder = description.architecture.encoder
    if not isinstance(description, SegmenterFile):
        return {
            "name": "tokens",
            "tasks": [],
            "result": {
                "shape": [-1, -1, encoder.embed_dim],
                "dim_order": ["batch", "token", "embedding"],
                "data_type": "float32",
            },
        }
    return {
        "name": "logits",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(description.classes), encoder.image_size, encoder.image_size],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": code,
                "name": re.sub(r"[^0-9A-Za-z_-]+", "-", kind.name),
                "title": kind.name,
                "description": kind.name,
                "color_hint": kind.color.removeprefix("#").upper(),
            }
            for code, kind in enumerate(description.classes)
        ],
    }


def _mlm_name(name: str) -> str:
    """The nearest name that the extension allows: a letter first, three or more, few signs."""
    plain = re.sub(r"[^a-zA-Z0-9_.\- ]+", "-", name).strip("-_. ")
    return plain if re.fullmatch(r"[a-zA-Z].+[a-zA-Z0-9]", plain) else f"geofm-{plain or 'model'}"


def _bbox(footprint: Polygon | MultiPolygon) -> list[float]:
    """West, south, east, north of a footprint, degrees."""
    single = isinstance(footprint, Polygon)
    polygons = (footprint.coordinates,) if single else footprint.coordinates
    points = [point for polygon in polygons for ring in polygon for point in ring]
    lons, lats = zip(*points, strict=True)
    return [min(lons), min(lats), max(lons), max(lats)]
