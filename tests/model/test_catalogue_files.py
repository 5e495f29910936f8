"""README.md and stac-item.json of a model folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pystac
import pytest
from huggingface_hub import ModelCard
from referencing import Registry, Resource

from geofm.model.folder import PretrainedEncoder, TrainedModel, save_encoder, save_model
from geofm.tasks import MapClass

# The few definitions that the schema borrows from others, as their specifications put them.
CLASSES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["value", "name"],
        "properties": {
            "value": {"type": "integer"},
            "name": {"type": "string", "pattern": "^[0-9A-Za-z-_]+$"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "color_hint": {"type": "string", "pattern": "^([0-9A-Fa-f]{6})$"},
        },
    },
}
EXPRESSION = {"type": "object", "required": ["format", "expression"]}
BORROWED = {
    "https://stac-extensions.github.io/classification/v1.1.0/schema.json": {
        "definitions": {"fields": {"properties": {"classification:classes": CLASSES}}}
    },
    "https://stac-extensions.github.io/processing/v1.1.0/schema.json": {
        "definitions": {"fields": {"properties": {"processing:expression": EXPRESSION}}}
    },
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json": {
        "definitions": {
            "bands": {"items": {"properties": {"data_type": {"enum": ["uint8", "float32"]}}}}
        }
    },
}
NAMES = ["Havel water", "x", "7 floods: |naïve| *cards*", "---", "ünïcödé"]


def saved_item(path: Path) -> dict[str, Any]:
    item: dict[str, Any] = json.loads((path / "stac-item.json").read_text())
    return item


@pytest.fixture
def validate(shared_reference: Path) -> jsonschema.Draft7Validator:
    schema = json.loads((shared_reference / "stac_mlm" / "schema.json").read_text())
    draft = {"$schema": "http://json-schema.org/draft-07/schema#"}
    registry: Registry[Any] = Registry().with_resources(
        (uri, Resource.from_contents(draft | content)) for uri, content in BORROWED.items()
    )
    return jsonschema.Draft7Validator(schema, registry=registry)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("provenance", ["full", "empty", "two places"])
def test_a_model_is_a_valid_stac_item(
    model: TrainedModel,
    tmp_path: Path,
    validate: jsonschema.Draft7Validator,
    name: str,
    provenance: str,
) -> None:
    model = replace(model, name=name)
    match provenance:
        case "empty":
            model = replace(model, provenance={})
        case "two places":
            ring = model.provenance["training_footprint"]["coordinates"]
            far = [[[-x, -y] for x, y in ring[0]]]
            places = {"type": "MultiPolygon", "coordinates": [ring, far]}
            model = replace(model, provenance={"training_footprint": places})
    save_model(model, tmp_path / "m.geofm")
    item = saved_item(tmp_path / "m.geofm")
    validate.validate(item)
    stac = pystac.Item.from_dict(item, preserve_dict=True)
    assert stac.assets["weights"].href == "./weights.safetensors"
    if provenance == "full":
        assert stac.bbox == [13.0, 52.0, 13.5, 52.5]
    if provenance == "two places":
        assert stac.bbox == [-13.5, -52.5, 13.5, 52.5]
    if provenance == "empty":
        assert stac.geometry is None


def test_an_encoder_is_a_valid_stac_item(
    encoder: PretrainedEncoder, tmp_path: Path, validate: jsonschema.Draft7Validator
) -> None:
    save_encoder(encoder, tmp_path / "e.geofm")
    validate.validate(saved_item(tmp_path / "e.geofm"))


def test_the_validator_would_notice(
    model: TrainedModel, tmp_path: Path, validate: jsonschema.Draft7Validator
) -> None:
    save_model(model, tmp_path / "m.geofm")
    for spoil in (
        lambda item: item["properties"].pop("mlm:input"),
        lambda item: item["properties"].pop("bands"),
        lambda item: item["assets"]["weights"].pop("mlm:artifact_type"),
        lambda item: item["properties"]["mlm:output"][0]["classification:classes"][0].pop("name"),
    ):
        item = saved_item(tmp_path / "m.geofm")
        spoil(item)
        assert not validate.is_valid(item)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_one_that_the_hub_reads(model: TrainedModel, tmp_path: Path, name: str) -> None:
    model = replace(model, name=name, classes=(MapClass("a|b", "#000000"), model.classes[1]))
    save_model(model, tmp_path / "m.geofm")
    card = ModelCard((tmp_path / "m.geofm" / "README.md").read_text(encoding="utf-8"))
    assert card.data.library_name == "geofm"
    assert card.data.license == "odbl"
    assert card.data.pipeline_tag == "image-segmentation"
    assert "geofm" in card.data.tags
    assert r"| 0 | a\|b | `#000000` |" in card.text
    assert "| blue | 0.1100 | 0.0400 |" in card.text
    assert "| mean IoU | 0.800 |" in card.text


def test_a_card_claims_nothing_that_is_not_known(
    model: TrainedModel, encoder: PretrainedEncoder, tmp_path: Path
) -> None:
    save_model(replace(model, provenance={}), tmp_path / "m.geofm")
    text = (tmp_path / "m.geofm" / "README.md").read_text()
    assert "license: unknown" in text
    assert "No score is recorded. Evaluate it on your own labels" in text
    assert "Not recorded: its scenes say nothing of where they lie." in text
    assert "![" not in text
    assert "Sources: not recorded." in text
    assert "Licences: not recorded." in text
    save_model(
        replace(model, provenance={"licences": ["ODbL", "Copernicus"]}), tmp_path / "two.geofm"
    )
    assert "license: other" in (tmp_path / "two.geofm" / "README.md").read_text()
    save_encoder(encoder, tmp_path / "e.geofm")
    assert "An encoder has no score of its own" in (tmp_path / "e.geofm" / "README.md").read_text()
