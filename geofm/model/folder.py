"""The model folder ``NAME.geofm/``: weights and the contract that gives them meaning.

- ``weights.safetensors``: the tensors;
- ``model.json``: the only truth about them (`geofm.model.schema`);
- ``stac-item.json`` and ``README.md``: written from it, for catalogues and people;
- ``footprint.svg``: where it was trained, where that is known, as a map in the card.

The same model gives the same bytes. A folder is written whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import nn

import geofm
from geofm.contract import PixelContract
from geofm.errors import ModelError, OutputError
from geofm.model.calibration import Calibration
from geofm.model.card import MAP_FILE, model_card
from geofm.model.encoder import Encoder
from geofm.model.footprint_map import footprint_svg
from geofm.model.schema import (
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    Description,
    EncoderFile,
    SegmenterFile,
    describe,
    description_text,
    encoder_config,
    parse_description,
    pixel_contract,
)
from geofm.model.segmenter import Segmenter, build_segmenter
from geofm.model.stac_item import stac_item
from geofm.model.weights import LoadReport, load_weights, write_weights
from geofm.tasks import MapClass

DESCRIPTION_FILE = "model.json"
_PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}
# A footprint of a hundred thousand corners stays below it.
_MOST_DESCRIPTION_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A model that maps.

    Attributes:
        task: what it maps, such as ``"flood"``.
        calibration: fitted on validation pixels; None for plain softmax, no pixel unsure.
        provenance: JSON values; `geofm.model.schema.Provenance` names the known ones.
        sha256: of the weights file; None before the model is saved.
        report: what came from the file; None for a model not loaded from one.
    """

    segmenter: Segmenter
    contract: PixelContract
    classes: tuple[MapClass, ...]
    task: str
    name: str
    provenance: Mapping[str, Any]
    calibration: Calibration | None = None
    sha256: str | None = None
    report: LoadReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PretrainedEncoder:
    """An encoder that a model can begin with; the fields are those of `TrainedModel`."""

    encoder: Encoder
    contract: PixelContract
    name: str
    provenance: Mapping[str, Any]
    sha256: str | None = None
    report: LoadReport | None = None

    def __repr__(self) -> str:
        shape, count = self.encoder.config, self.contract.dates
        dates = "1 date" if count == 1 else f"{count} dates"
        lines = [
            f"encoder {self.name}",
            f"  ViT, {shape.depth} blocks {shape.embed_dim} wide, patches of {shape.patch_size} px",
            f"  {dates} of {', '.join(self.contract.bands)}",
            f"  licences: {', '.join(self.provenance.get('licences', ())) or 'not recorded'}",
            f"  sha256: {self.sha256 or 'not saved yet'}",
        ]
        if self.report:
            lines.append(f"  {self.report}")
        return "\n".join(lines)


def save_model(model: TrainedModel, path: Path, *, overwrite: bool = False) -> TrainedModel:
    """Write a model folder, whole or not at all.

    Returns:
        The model with the hash of its weights.

    Raises:
        ModelError: its parts do not agree, or a number is not finite.
        OutputError: the path is taken, or cannot be written.
    """
    segmenter = model.segmenter
    fields = _fields("segmenter", model, segmenter.encoder) | {
        "task": model.task,
        "classes": [asdict(c) for c in model.classes],
        "calibration": None if model.calibration is None else asdict(model.calibration),
    }
    fields["architecture"]["head"] = asdict(segmenter.head_config)
    return replace(model, sha256=_save(segmenter, fields, Path(path), overwrite=overwrite))


def save_encoder(
    encoder: PretrainedEncoder, path: Path, *, overwrite: bool = False
) -> PretrainedEncoder:
    """Write an encoder folder, whole or not at all; as `save_model`."""
    fields = _fields("encoder", encoder, encoder.encoder)
    return replace(encoder, sha256=_save(encoder.encoder, fields, Path(path), overwrite=overwrite))


def load_model_folder(path: Path) -> TrainedModel:
    """Open a model folder, on the CPU, ready to map.

    Raises:
        ModelError: it is damaged, incomplete, or no model folder.
    """
    path = Path(path)
    description = _read_segmenter(path)
    with torch.device("meta"):
        segmenter = build_segmenter(encoder_config(description), description.head_config())
    report = _fill(segmenter, path, description)
    return TrainedModel(
        segmenter=segmenter,
        contract=pixel_contract(description),
        classes=description.map_classes(),
        task=description.task,
        name=description.name,
        provenance=description.provenance.model_dump(mode="json"),
        calibration=description.map_calibration(),
        sha256=description.weights.sha256,
        report=report,
    )


def read_provenance(path: Path) -> Mapping[str, Any]:
    """Where a model that maps comes from, as its folder says; its weights are left alone.

    Raises:
        ModelError: the description is damaged, or of no such model.
    """
    return _read_segmenter(path).provenance.model_dump(mode="json")


def load_encoder_folder(path: Path) -> PretrainedEncoder:
    """Open an encoder folder, on the CPU.

    Raises:
        ModelError: it is damaged, incomplete, or no encoder folder.
    """
    path = Path(path)
    description = read_description(path)
    if not isinstance(description, EncoderFile):
        raise ModelError(
            f"{path} is a whole model, not an encoder; choose the encoder folder "
            "that geofm pretrain wrote"
        )
    with torch.device("meta"):
        encoder = Encoder(encoder_config(description))
    report = _fill(encoder, path, description)
    return PretrainedEncoder(
        encoder=encoder,
        contract=pixel_contract(description),
        name=description.name,
        provenance=description.provenance.model_dump(mode="json"),
        sha256=description.weights.sha256,
        report=report,
    )


def read_description(path: Path) -> Description:
    """What a model folder says of itself; its weights stay unread.

    Raises:
        ModelError: it is no model folder, or model.json is damaged.
    """
    path = Path(path)
    _check_folder(path)
    file = path / DESCRIPTION_FILE
    size = file.stat().st_size
    if size > _MOST_DESCRIPTION_BYTES:
        raise ModelError(
            f"{file} has {size:,} bytes; a description has at most {_MOST_DESCRIPTION_BYTES:,}; "
            "fetch the model again"
        )
    return parse_description(file.read_bytes(), where=str(file))


def _read_segmenter(path: Path) -> SegmenterFile:
    description = read_description(path)
    if not isinstance(description, SegmenterFile):
        raise ModelError(
            f"{path} is an encoder without a head and makes no map; fine-tune one on it: "
            f"geofm finetune --encoder {path}"
        )
    return description


def _check_folder(path: Path) -> None:
    """Say what stands at ``path`` if it is no model folder."""
    if path.suffix.lower() in _PICKLES:
        raise ModelError(
            f"{path} is a pickle, which can run any code when opened; geofm does not open it; "
            "turn it into a model folder once: geofm import"
        )
    if not path.exists():
        raise ModelError(f"{path} does not exist; give the path of a model folder (NAME.geofm)")
    if not path.is_dir():
        raise ModelError(f"{path} is a file; give the model folder (NAME.geofm) itself")
    if (path / DESCRIPTION_FILE).is_file():
        return
    pickles = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _PICKLES)
    if pickles:
        raise ModelError(
            f"{path} has no {DESCRIPTION_FILE} but a pickle, {pickles[0]}, which geofm does not "
            "open; turn it into a model folder once: geofm import"
        )
    raise ModelError(f"{path} has no {DESCRIPTION_FILE}; it is not a model folder (NAME.geofm)")


def _fill(module: nn.Module, path: Path, description: Description) -> LoadReport:
    """Weights into a module on the meta device; no number in it is left to chance."""
    file = path / WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(f"{path} has no {WEIGHTS_FILE}; fetch the model again, whole")
    report = load_weights(module, file, sha256=description.weights.sha256)
    assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    module.eval()
    return report


def _fields(kind: str, model: TrainedModel | PretrainedEncoder, encoder: Encoder) -> dict[str, Any]:
    """What both kinds of folder say of themselves, as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "name": model.name,
        "geofm_version": geofm.__version__,
        "contract": asdict(model.contract),
        "architecture": {"encoder": asdict(encoder.config)},
        "provenance": dict(model.provenance),
    }


def _save(module: nn.Module, fields: Mapping[str, Any], path: Path, *, overwrite: bool) -> str:
    """Write a folder beside ``path`` and move it there; returns the weights' SHA-256."""
    _check_target(path, overwrite=overwrite)
    partial = path.parent / f".{path.name}.{uuid4().hex}.partial"
    try:
        partial.mkdir(parents=True)
        sha256 = write_weights(module, partial / WEIGHTS_FILE)
        sizes = [tensor.numel() for tensor in module.state_dict().values()]
        weights = {
            "file": WEIGHTS_FILE,
            "sha256": sha256,
            "tensors": len(sizes),
            "parameters": sum(sizes),
        }
        description = describe({**fields, "weights": weights})
        item = json.dumps(stac_item(description), indent=2, ensure_ascii=False) + "\n"
        for name, text in (
            (DESCRIPTION_FILE, description_text(description)),
            ("stac-item.json", item),
            ("README.md", model_card(description)),
        ):
            (partial / name).write_text(text, encoding="utf-8")
        footprint = description.provenance.training_footprint
        if footprint is not None:
            (partial / MAP_FILE).write_text(footprint_svg(footprint), encoding="utf-8")
        # The library writes for the owner alone; a model is as readable as its card.
        shutil.copymode(partial / DESCRIPTION_FILE, partial / WEIGHTS_FILE)
        _publish(partial, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; choose another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sha256


def _check_target(path: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise OutputError(f"{path} exists; choose another path or give --overwrite")
    if not (path / DESCRIPTION_FILE).is_file():
        raise OutputError(
            f"{path} exists and is no model folder, so it is not replaced; choose another path"
        )


def _publish(partial: Path, path: Path) -> None:
    """Sync a finished folder and rename it into place.

    Replacing takes two renames: killed between them, the old folder waits
    beside the path under a hidden name that ends in ``.old``.
    """
    for file in (*partial.iterdir(), partial):
        _sync(file)
    retired = partial.with_suffix(".old")
    if path.exists():
        path.rename(retired)
    try:
        partial.rename(path)
    except OSError:
        if retired.exists():
            retired.rename(path)
        raise
    shutil.rmtree(retired, ignore_errors=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
