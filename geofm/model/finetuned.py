"""Models fine-tuned from Prithvi elsewhere -> ours, with their whole pixel contract.

Known are the five that IBM and NASA published, and TerraTorch's checkpoints of
the same families, which come with the YAML file that trained them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from geofm.bands import Level
from geofm.errors import ModelError
from geofm.model.deconv import ConvBn
from geofm.model.folder import TrainedModel
from geofm.model.foreign import ForeignFile, check_tensors, fill, read_foreign
from geofm.model.hub import fetch
from geofm.model.published import HUB, LICENCE, MODELS, PublishedModel
from geofm.model.segmenter import Segmenter, build_segmenter
from geofm.model.terratorch import Unsaid, read_terratorch

# How published names begin, and ours; the first that fits counts.
_RENAMED = {
    "mmseg": (
        (r"backbone\.", "encoder."),
        (r"neck\.", "head.neck."),
        (r"decode_head\.", "head."),
    ),
    "terratorch": (
        (r"model\.encoder\.", "encoder."),
        (r"model\.neck\.\d+\.", "head.pyramid."),
        (r"model\.decoder\.(?=fpn[12]\.)", "head.pyramid."),
        (r"model\.decoder\.decoder\.", "head."),
        (r"model\.decoder\.", "head."),
        (r"model\.head\.head\.2\.", "head.logits."),
    ),
}
# What served the training alone.
_TRAINING = r"model\.aux_heads\.|criterion\."
_TABLE = "encoder.pos_embed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the caller knows of a file, beyond what it says itself.

    Attributes:
        published: the name of the published model that the file is.
        config: TerraTorch's YAML file.
        level, resolution: of the pixels that it was taught with, where the
            config does not tell.
        licence: of the weights.
        legacy_order: whether it was taught on shuffled dates and bands; see
            `geofm.model.encoder.legacy_order`. None: as published.
        upsample_last: of a U-Net; see `geofm.model.unet.UnetHead`. None: as
            published, or as TerraTorch does today.
    """

    published: str | None = None
    config: str | Path | None = None
    level: Level | None = None
    resolution: float | None = None
    licence: str | None = None
    legacy_order: bool | None = None
    upsample_last: bool | None = None


def find_model(name: str) -> PublishedModel | None:
    """The published model of this name or file name, in any case."""
    plain = name.lower().removeprefix(f"{HUB}/")
    return next((m for m in MODELS if plain in {m.name, m.file.lower()}), None)


def is_finetuned(source: str | Path, options: ImportOptions) -> bool:
    """Whether a source is said to be a fine-tuned model, by name or by its config."""
    if options.config is not None:
        return Path(options.config).suffix.lower() in {".yaml", ".yml"}
    return options.published is not None or find_model(Path(source).name) is not None


def import_finetuned(source: str | Path, options: ImportOptions | None = None) -> TrainedModel:
    """A model from the hub or from a file, complete or not at all.

    Args:
        source: a published name, such as ``"prithvi-eo-2.0-300m-burnscars"``, or
            a file; one that keeps its published name is known by it.

    Raises:
        ModelError: it is unknown, or the file is not exactly it.
        OutputError: the download cannot be stored.
    """
    options = options or ImportOptions()
    path = Path(source)
    known = _described(path, options)
    if not path.exists() and known.repo and options.config is None:
        path = fetch(known.repo, known.file)
    file = read_foreign(path)
    known = _as_told(known, options)
    with torch.device("meta"):
        segmenter = build_segmenter(known.encoder, known.head)
    report = fill(segmenter, _our_tensors(file, known, segmenter), where=_where(file, known))
    licences = [options.licence] if options.licence else [LICENCE] if known.repo else []
    return TrainedModel(
        segmenter=segmenter,
        contract=known.contract,
        classes=known.task.classes,
        task=known.task.name,
        name=known.name,
        provenance={
            "licences": licences,
            "sources": [known.labels] if known.labels else [],
            "imported_from": f"{known.repo}/{known.file}" if known.repo else file.path.name,
            "file_sha256": file.sha256,
        },
        report=report,
    )


def _described(path: Path, options: ImportOptions) -> PublishedModel:
    """What the source must be: by config, by the name given, or by its own name."""
    if options.config is not None:
        unsaid = Unsaid(level=options.level, resolution=options.resolution)
        return read_terratorch(Path(options.config), unsaid)
    found = find_model(options.published or path.name)
    if found is None:
        raise ModelError(
            f"{options.published or path} is no published model that geofm knows; say which it "
            f"is (--as), one of {', '.join(m.name for m in MODELS)}; or give the YAML file of "
            "TerraTorch that trained it (--config)"
        )
    return found


def _as_told(known: PublishedModel, options: ImportOptions) -> PublishedModel:
    encoder, head = known.encoder, known.head
    if options.legacy_order is not None:
        encoder = replace(encoder, legacy_order=options.legacy_order)
    if options.upsample_last is not None:
        head = replace(head, upsample_last=options.upsample_last)
    return replace(known, encoder=encoder, head=head)


def _our_tensors(
    file: ForeignFile, known: PublishedModel, segmenter: Segmenter
) -> dict[str, Tensor]:
    """The file's tensors under our names, without those that mapping does not need."""
    tensors = _renamed(file.tensors, known)
    wanted = {name: tuple(tensor.shape) for name, tensor in segmenter.state_dict().items()}
    wanted[_TABLE] = (1, 1 + prod(known.encoder.position_grid), known.encoder.embed_dim)
    auxiliary = _auxiliary_shapes(known) if any(map(_is_auxiliary, tensors)) else {}
    check_tensors(tensors, wanted | auxiliary, where=_where(file, known))
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name != _TABLE and not _is_auxiliary(name)
    }


def _renamed(tensors: Mapping[str, Tensor], known: PublishedModel) -> dict[str, Tensor]:
    """Published names to ours; a name that fits no rule stays, and is an error later."""
    ours = {}
    for name, tensor in tensors.items():
        if re.match(_TRAINING, name):
            continue
        plain = name.replace("_timm_module.", "")
        if known.layout == "terratorch" and not plain.startswith("model."):
            plain = f"model.{plain}"
        for pattern, prefix in _RENAMED[known.layout]:
            renamed, fits = re.subn(f"^{pattern}", prefix, plain)
            if fits:
                plain = renamed
                break
        ours[plain] = tensor
    return ours


def _is_auxiliary(name: str) -> bool:
    return name.startswith("auxiliary_head.")


def _auxiliary_shapes(known: PublishedModel) -> dict[str, tuple[int, ...]]:
    """The head of mmseg's models that helped their training."""
    channels = known.head.channels
    with torch.device("meta"):
        head = nn.ModuleDict(
            {
                "convs": nn.ModuleList(
                    [
                        ConvBn(known.encoder.grid[0] * known.encoder.embed_dim, channels),
                        ConvBn(channels, channels),
                    ]
                ),
                "conv_seg": nn.Conv2d(channels, known.head.classes, 1),
            }
        )
    return {f"auxiliary_head.{name}": tuple(t.shape) for name, t in head.state_dict().items()}


def _where(file: ForeignFile, known: PublishedModel) -> str:
    return f"{file.path} (as {known.name})"
