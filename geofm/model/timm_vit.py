"""Encoders from timm: any plain vision transformer by name, on our bands.

One more family costs one file like this: a function from a name to a
`PretrainedEncoder`, which says how it adapted the bands.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from geofm.contract import PixelContract
from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.folder import PretrainedEncoder
from geofm.model.foreign import fill, read_foreign

# The input channels of a model of photographs.
_RGB = ("red", "green", "blue")


def load_timm(
    name: str,
    contract: PixelContract,
    *,
    image_size: int | None = None,
    weights: str | Path | None = None,
) -> PretrainedEncoder:
    """A vision transformer of timm as an encoder of scenes.

    Red, green and blue keep their patch weights; every other band gets the mean
    of the three; all are scaled so that a grey scene gives the tokens that a
    grey photograph gives. Layer scales are multiplied into the weights, the
    position of the class token is added to it: the features are timm's own.

    Args:
        name: as timm lists it, such as ``"vit_base_patch16_224.dino"``.
        contract: the pixels that it will see; it was pretrained on photographs,
            whose statistics say nothing of reflectance.
        image_size: of an input, pixels; timm resizes the position code.
        weights: a file of its state dict; None downloads them.

    Raises:
        ModelError: timm knows no such model, it is of another architecture, or
            the file does not fit it.
    """
    model = _create(name, image_size, weights)
    _check_plain(model, name)
    config = _config(model, contract)
    with torch.device("meta"):
        encoder = Encoder(config)
    report = fill(
        encoder,
        _tensors(model, contract.bands),
        where=name,
        note=f"from timm; bands from {_adaptation(contract.bands)}",
    )
    facts: Any = model.pretrained_cfg or {}
    return PretrainedEncoder(
        encoder=encoder,
        contract=contract,
        name=name,
        provenance={
            "licences": [str(facts["license"])] if facts.get("license") else [],
            "sources": [f"timm/{name}"],
            "bands": _adaptation(contract.bands),
        },
        report=report,
    )


def adapt_patches(weight: Tensor, bands: tuple[str, ...]) -> Tensor:
    """Patch weights of a model of photographs (D, 3, p, p) for these bands (D, C, 1, p, p)."""
    mean = weight.mean(dim=1)
    slices = [weight[:, _RGB.index(band)] if band in _RGB else mean for band in bands]
    return (torch.stack(slices, dim=1) * (3 / len(bands))).unsqueeze(2)


def _adaptation(bands: tuple[str, ...]) -> str:
    return ", ".join(band if band in _RGB else f"{band} (mean of RGB)" for band in bands)


def _create(name: str, image_size: int | None, weights: str | Path | None) -> VisionTransformer:
    size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    try:
        model: nn.Module = timm.create_model(name, pretrained=weights is None, **size)
        if weights is not None:
            state = dict(read_foreign(Path(weights)).tensors)
            model.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"timm cannot give {name} ({said}); choose a name that timm lists, or weights that "
            "fit it"
        ) from error
    if not isinstance(model, VisionTransformer):
        raise ModelError(
            f"{name} is a {type(model).__name__}; choose a VisionTransformer of timm, such as "
            "vit_base_patch16_224"
        )
    return model


def _check_plain(model: Any, name: str) -> None:
    """Refuse what our encoder has not: registers, other norms, rotated positions."""
    block = model.blocks[0]
    strange = [
        what
        for what, there in (
            ("no class token", model.cls_token is None),
            ("register tokens", model.reg_token is not None),
            ("no position table", model.pos_embed is None),
            ("a norm before its blocks", not isinstance(model.norm_pre, nn.Identity)),
            ("no norm after its blocks", not isinstance(model.norm, nn.LayerNorm)),
            ("other blocks", type(block) is not Block or type(block.mlp).__name__ != "Mlp"),
            ("other channels than RGB", model.patch_embed.proj.in_channels != 3),
            ("normed queries", not isinstance(getattr(block.attn, "q_norm", None), nn.Identity)),
            ("another activation", not isinstance(getattr(block.mlp, "act", None), nn.GELU)),
        )
        if there
    ]
    if strange:
        raise ModelError(
            f"{name} has {', '.join(strange)}, which geofm's encoder cannot copy exactly; choose a "
            "plain one, such as vit_base_patch16_224"
        )


def _config(model: Any, contract: PixelContract) -> EncoderConfig:
    height, width = model.patch_embed.img_size
    side, block = model.patch_embed.patch_size[0], model.blocks[0]
    if height != width:
        raise ModelError(f"{height} x {width} px images are not square; choose another model")
    return EncoderConfig(
        bands=len(contract.bands),
        dates=contract.dates,
        image_size=height,
        patch_size=side,
        embed_dim=model.embed_dim,
        depth=len(model.blocks),
        num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features / model.embed_dim,
        norm_eps=model.norm.eps,
        learned_positions=True,
    )


def _tensors(model: Any, bands: tuple[str, ...]) -> dict[str, Tensor]:
    """timm's tensors under our names."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    positions = state["pos_embed"]
    cls = state["cls_token"]
    if not model.no_embed_class:
        cls, positions = cls + positions[:, :1], positions[:, 1:]
    ours = {
        "cls_token": cls,
        "positions.table": positions,
        "patch_embed.proj.weight": adapt_patches(state["patch_embed.proj.weight"], bands),
        "patch_embed.proj.bias": state.get("patch_embed.proj.bias", torch.zeros(model.embed_dim)),
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
    }
    for i, block in enumerate(model.blocks):
        ours |= _block(block, f"blocks.{i}.")
    return ours


def _block(block: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A block's tensors, its layer scales multiplied into what they scale."""
    state = {name: tensor.detach().clone() for name, tensor in block.state_dict().items()}
    for scale, scaled in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
        if f"{scale}.gamma" in state:
            gamma = state.pop(f"{scale}.gamma")
            state[f"{scaled}.weight"] *= gamma.unsqueeze(1)
            state[f"{scaled}.bias"] *= gamma
    if "attn.qkv.bias" not in state:
        state["attn.qkv.bias"] = torch.zeros(len(state["attn.qkv.weight"]))
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}
