"""Prithvi-EO encoders and autoencoders: published weights -> ours, complete or not at all.

A file is read, its names are brought to one layout, and every tensor is held
against the published shape before any is used. Then the encoder is given the
bands, dates and image size that are asked for, all by exact rules.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from geofm.bands import band_indexes, parse_band
from geofm.contract import PixelContract
from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder
from geofm.model.foreign import ForeignFile, check_tensors, fill, read_foreign
from geofm.model.hub import fetch
from geofm.model.mae import MaeConfig, MaskedAutoencoder, Target
from geofm.model.published import ENCODERS, HUB, LICENCE, MODELS, PublishedEncoder

PATCHES = "patch_embed.proj.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How a published encoder is to be used, where that differs from how it was made.

    Attributes:
        bands: some of its bands, in any order; empty for all, in its own.
        dates: of an input.
        image_size: of an input, pixels.
        positions: the position code of another ``image_size`` is ``"computed"``
            for it, or that of the published size is ``"resized"``, as TerraTorch
            does with inputs of other sizes. Features differ.
        norm_eps: of every LayerNorm; the oldest published code had 1e-6.
    """

    bands: Sequence[str] = ()
    dates: int | None = None
    image_size: int | None = None
    positions: Literal["computed", "resized"] = "computed"
    norm_eps: float = 1e-5

    def shape(self, made: EncoderConfig) -> EncoderConfig:
        """The shape of the adapted encoder, from that of the published one."""
        return replace(
            made,
            bands=len(self.bands) or made.bands,
            dates=self.dates or made.dates,
            image_size=self.image_size or made.image_size,
            position_size=made.image_size if self.positions == "resized" else None,
            norm_eps=self.norm_eps,
        )


def find_encoder(name: str) -> PublishedEncoder | None:
    """The published encoder of this name, in any case, with or without its organisation."""
    plain = name.lower().removeprefix(f"{HUB}/")
    return next((known for known in ENCODERS if known.name == plain), None)


def load_prithvi(
    source: str | Path,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    adapt: Adaptation | None = None,
) -> PretrainedEncoder:
    """A Prithvi encoder from the hub or from a file, with every tensor that it needs.

    Args:
        source: a published name, such as ``"prithvi-eo-2.0-300m-tl"``, or a file.
        config: of a file that is none of the published: the hub's ``config.json``,
            or its content.
        adapt: other bands, dates or sizes.

    Raises:
        ModelError: there is no such model, or the file is not exactly it.
        BandError: the encoder has not seen a band.
        OutputError: the download cannot be stored.
    """
    adapt = adapt or Adaptation()
    file, published = _open(source, config)
    tensors = _mae_layout(file.tensors)
    _check_complete(tensors, published, where=str(file.path))

    seen = published.contract.bands
    bands = tuple(adapt.bands) or seen
    order = band_indexes(seen, bands, where=published.name)
    encoder_tensors = {
        name.removeprefix("encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder.") and name not in _TABLES
    }
    if bands != seen:
        encoder_tensors[PATCHES] = encoder_tensors[PATCHES][:, order].contiguous()
    with torch.device("meta"):
        encoder = Encoder(adapt.shape(published.shape))
    left_out = [band for band in seen if band not in bands]
    report = fill(
        encoder,
        encoder_tensors,
        where=str(file.path),
        note=f"bands left out: {', '.join(left_out)}" if left_out else "",
    )
    contract = replace(
        published.contract,
        bands=bands,
        mean=tuple(published.contract.mean[i] for i in order),
        std=tuple(published.contract.std[i] for i in order),
        dates=encoder.config.dates,
    )
    return PretrainedEncoder(
        encoder=encoder,
        contract=contract,
        name=published.name,
        provenance={
            "licences": [LICENCE] if published.repo else [],
            "sources": [f"{published.repo}/{published.file}" if published.repo else file.path.name],
            "file_sha256": file.sha256,
            "pretraining": "masked autoencoding of Harmonized Landsat and Sentinel-2",
        },
        sha256=file.sha256,
        report=report,
    )


def load_prithvi_mae(
    source: str | Path,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    adapt: Adaptation | None = None,
    mask_ratio: float = 0.75,
    target: Target = "pixels",
) -> MaskedAutoencoder:
    """A whole Prithvi autoencoder, on all its bands; arguments as `load_prithvi`.

    Raises:
        ModelError: as `load_prithvi`; the file holds the encoder alone; other bands are asked for.
    """
    adapt = adapt or Adaptation()
    file, published = _open(source, config)
    tensors = _mae_layout(file.tensors)
    _check_complete(tensors, published, where=str(file.path))
    if adapt.bands and tuple(adapt.bands) != published.contract.bands:
        raise ModelError(
            f"{published.name} rebuilds {', '.join(published.contract.bands)}, all in this order; "
            "an autoencoder takes no other bands; leave bands out"
        )
    options = replace(published.decoder, mask_ratio=mask_ratio, target=target)
    with torch.device("meta"):
        mae = MaskedAutoencoder(Encoder(adapt.shape(published.shape)), options)
    fill(mae, {k: v for k, v in tensors.items() if k not in _TABLES}, where=str(file.path))
    return mae


def check_source(source: str | Path) -> None:
    """Refuse what is neither a published name nor a path, before anything else is done.

    Raises:
        ModelError: it is neither.
    """
    if find_encoder(str(source)) is None and not Path(source).exists():
        known = ", ".join(known.name for known in (*ENCODERS, *MODELS))
        raise ModelError(f"{source} does not exist, and is no published model; known: {known}")


def published_tensors(published: PublishedEncoder) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of its file."""
    shape = published.shape
    with torch.device("meta"):
        mae = MaskedAutoencoder(Encoder(shape), published.decoder)
    dates, rows, cols = shape.grid
    tokens = 1 + dates * rows * cols
    return {name: tuple(tensor.shape) for name, tensor in mae.state_dict().items()} | {
        "encoder.pos_embed": (1, tokens, shape.embed_dim),
        "decoder.decoder_pos_embed": (1, tokens, published.decoder.decoder_dim),
    }


# The position codes of a file: their formula is the truth, so we compute them.
_TABLES = {"encoder.pos_embed", "decoder.decoder_pos_embed"}


def _open(
    source: str | Path, config: str | Path | Mapping[str, Any] | None
) -> tuple[ForeignFile, PublishedEncoder]:
    """The file of a source, and the encoder that it must hold."""
    path, published = Path(source), find_encoder(str(source))
    if config is not None:
        return read_foreign(path), read_config(config)
    if published is not None and not path.exists():
        return read_foreign(fetch(published.repo, published.file)), published
    check_source(source)
    file = read_foreign(path)
    return file, _recognised(file)


def _recognised(file: ForeignFile) -> PublishedEncoder:
    """The published encoder that a file's tensors agree with most."""
    found = {(name, tuple(t.shape)) for name, t in _mae_layout(file.tensors).items()}
    agreeing = {known.name: len(found & set(_tensors_of(known.name).items())) for known in ENCODERS}
    best = max(ENCODERS, key=lambda known: agreeing[known.name])
    if 2 * agreeing[best.name] < len(found):
        raise ModelError(
            f"{file.path} is none of the published Prithvi encoders; give its config (--config, "
            "the hub's config.json), or, if it is a fine-tuned model, say which (--as) or give "
            "the YAML file of TerraTorch that trained it (--config)"
        )
    return best


@cache
def _tensors_of(name: str) -> dict[str, tuple[int, ...]]:
    return published_tensors(next(known for known in ENCODERS if known.name == name))


def _check_complete(
    tensors: Mapping[str, Tensor], published: PublishedEncoder, *, where: str
) -> None:
    """Every tensor of the file is as published; a file may hold the encoder alone."""
    wanted = published_tensors(published)
    if not any(name.startswith("decoder.") for name in tensors):
        wanted = {name: shape for name, shape in wanted.items() if name.startswith("encoder.")}
    check_tensors(tensors, wanted, where=f"{where} (as {published.name})")


def _mae_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as in the newer files, ``encoder.`` and ``decoder.``; the oldest have no prefix."""
    names = {name: name.removeprefix("module.").replace("_timm_module.", "") for name in tensors}
    if not any(name.startswith(("encoder.", "decoder.")) for name in names.values()):
        names = {old: f"{_owner(new)}.{new}" for old, new in names.items()}
    return {new: tensors[old] for old, new in names.items()}


def _owner(name: str) -> Literal["encoder", "decoder"]:
    return "decoder" if "decoder" in name or "_dec." in name or name == "mask_token" else "encoder"


def read_config(config: str | Path | Mapping[str, Any]) -> PublishedEncoder:
    """An encoder from the ``config.json`` that stands beside Prithvi's files on the hub.

    Raises:
        ModelError: it is no such file, or lacks a value.
    """
    where = "the config" if isinstance(config, Mapping) else str(config)
    content = config if isinstance(config, Mapping) else _read_json(Path(config))
    values = content.get("pretrained_cfg", content)
    try:
        tubelet, patch_size, _ = values["patch_size"]
        shape = EncoderConfig(
            bands=values["in_chans"],
            dates=values["num_frames"],
            image_size=values["img_size"],
            patch_size=patch_size,
            tubelet=tubelet,
            embed_dim=values["embed_dim"],
            depth=values["depth"],
            num_heads=values["num_heads"],
            mlp_ratio=float(values.get("mlp_ratio", 4.0)),
            coordinates=tuple(values.get("coords_encoding") or ()),
        )
        decoder = MaeConfig(
            decoder_dim=values.get("decoder_embed_dim", 512),
            decoder_depth=values.get("decoder_depth", 8),
            decoder_heads=values.get("decoder_num_heads", 16),
        )
        contract = PixelContract(
            tuple(_band(code) for code in values["bands"]),
            "surface",
            tuple(value / 10_000 for value in values["mean"]),
            tuple(value / 10_000 for value in values["std"]),
            resolution=30.0,
            dates=shape.dates,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{where} is no config of a Prithvi encoder ({type(error).__name__}: {error}); give "
            "the config.json that stands beside the file on the hub"
        ) from error
    return PublishedEncoder(
        name=str(content.get("architecture", "prithvi")),
        repo="",
        file="",
        shape=shape,
        contract=contract,
        decoder=decoder,
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is no JSON file ({error}); give the config.json that stands beside the "
            "weights on the hub"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; give the config.json of the hub")
    return content


# What HLS calls the six bands, after Landsat 8.
_HLS_CODES = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "nir08",
    "B06": "swir16",
    "B07": "swir22",
}


def _band(code: str) -> str:
    name = _HLS_CODES.get(code) or parse_band(code)
    if name is None:
        raise ModelError(
            f"the config has an unknown band {code!r}; known: {', '.join(_HLS_CODES)} and names "
            "such as BLUE, NIR_NARROW, SWIR_1"
        )
    return name
