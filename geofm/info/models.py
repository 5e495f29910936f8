"""The page of a model folder: what it maps, what it needs, how it was made."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geofm.bands import LEVEL_NAMES
from geofm.contract import PixelContract
from geofm.model.calibration import Calibration
from geofm.model.encoder import EncoderConfig
from geofm.model.folder import (
    PretrainedEncoder,
    TrainedModel,
    load_encoder_folder,
    load_model_folder,
    read_description,
)
from geofm.model.licences import model_terms
from geofm.model.schema import SegmenterFile
from geofm.model.score_tables import score_lines
from geofm.page import Page, Row, bounds_text, bytes_text, counted

_MOST_NAMES = 12


def model_page(folder: Path) -> Page:
    """The page of a model or encoder folder, whose weights are verified on the way.

    Raises:
        ModelError: it is damaged or incomplete.
    """
    description = read_description(folder)
    whole = isinstance(description, SegmenterFile)
    model = load_model_folder(folder) if whole else load_encoder_folder(folder)
    rows = (
        *model_rows(model),
        Row(
            "weights",
            f"{counted(description.weights.parameters, 'parameter')}, {_folder_size(folder)}",
        ),
        Row("", f"{model.report}; hash verified"),
        *provenance_rows(model.provenance),
        Row("written by", f"geofm {description.geofm_version}"),
    )
    plain = {"path": str(folder), "verified": True, **description.model_dump(mode="json")}
    plain["kind"] = "model" if whole else "encoder"
    return Page("model" if whole else "encoder", f"{folder} ({model.name})", rows, plain)


def model_rows(model: TrainedModel | PretrainedEncoder) -> Iterator[Row]:
    """What a model maps and what it needs: its contract at a glance."""
    if isinstance(model, TrainedModel):
        yield Row("maps", model.task)
        for code, kind in enumerate(model.classes):
            yield Row("" if code else "classes", f"{code:>3}  {kind.name}", kind.color)
        yield from contract_rows(model.contract)
        yield from _encoder_rows(model.segmenter.encoder.config)
        head = model.segmenter.head_config
        yield Row("head", f"{head.kind}, on blocks {', '.join(map(str, head.depths))}")
        yield Row("confidence", _calibration_text(model.calibration))
    else:
        yield Row("is", "an encoder; it maps after geofm finetune --encoder")
        yield from contract_rows(model.contract)
        yield from _encoder_rows(model.encoder.config)


def _calibration_text(calibration: Calibration | None) -> str:
    if calibration is None:
        return "not calibrated (geofm calibrate)"
    bound = calibration.unsure_below
    unsure = "no pixel unsure" if bound is None else f"unsure below {bound:.1%}"
    return f"calibrated, temperature {calibration.temperature:.3g}, {unsure}"


def contract_rows(contract: PixelContract) -> Iterator[Row]:
    """What pixels a model needs."""
    yield Row(
        "needs", f"{LEVEL_NAMES[contract.level]}, pixels of about {contract.resolution:.4g} m"
    )
    if contract.dates > 1:
        yield Row(
            "dates", f"{contract.dates}; a pixel is mapped with {contract.min_valid_dates} valid"
        )
    label = "bands"
    for band, mean, std in zip(contract.bands, contract.mean, contract.std, strict=True):
        yield Row(label, f"{band:<10} {mean:.4f} ± {std:.4f}")
        label = ""
    if contract.masked_qa:
        yield Row("set aside", f"pixels that QA calls {', '.join(contract.masked_qa)}")


def _encoder_rows(config: EncoderConfig) -> Iterator[Row]:
    yield Row(
        "encoder",
        f"ViT, {config.depth} blocks {config.embed_dim} wide, {config.num_heads} heads, "
        f"patches of {config.patch_size} px, windows of {config.image_size} px",
    )


def provenance_rows(provenance: Mapping[str, Any]) -> Iterator[Row]:
    """What a model came from, and how good it is."""
    encoder = provenance.get("encoder")
    if encoder:
        yield Row("began with", str(encoder.get("name", "an encoder without a name")))
    for label, key in (("sources", "sources"), ("licences", "licences")):
        words = _some(provenance.get(key) or ["not recorded"])
        yield from (Row("" if at else label, str(word)) for at, word in enumerate(words))
    for headline, sentence in model_terms(provenance):
        yield Row("", f"{headline}: {sentence}")
    yield Row("trained on", _extent(provenance.get("training_footprint")))
    for at, line in enumerate(score_lines(provenance.get("scores") or {})):
        yield Row("" if at else "scores", line)


def _some(names: Sequence[Any]) -> list[str]:
    """The first names, and how many more there are; the facts hold all."""
    more = len(names) - _MOST_NAMES
    told = [f"and {more:,} more (--json)"] if more > 0 else []
    return [*map(str, names[:_MOST_NAMES]), *told]


def _extent(footprint: Mapping[str, Any] | None) -> str:
    """The box around a GeoJSON footprint, longitude and latitude."""
    if not footprint:
        return "not recorded"
    rings = footprint["coordinates"]
    if footprint["type"] == "MultiPolygon":
        rings = [ring for polygon in rings for ring in polygon]
    points = [point for ring in rings for point in ring]
    lons, lats = [point[0] for point in points], [point[1] for point in points]
    return bounds_text(min(lons), min(lats), max(lons), max(lats))


def _folder_size(folder: Path) -> str:
    return bytes_text(sum(file.stat().st_size for file in folder.iterdir() if file.is_file()))
