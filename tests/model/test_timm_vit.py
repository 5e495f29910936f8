"""Encoders from timm compute what timm computes; what cannot be copied exactly is refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from geofm.contract import PixelContract
from geofm.errors import ModelError
from geofm.model.folder import load_encoder_folder, save_encoder
from geofm.model.timm_vit import adapt_patches, load_timm

RGB = ("red", "green", "blue")


def contract(bands: tuple[str, ...], dates: int = 1) -> PixelContract:
    count = len(bands)
    return PixelContract(bands, "surface", (0.1,) * count, (0.1,) * count, 10.0, dates=dates)


def saved(name: str, folder: Path, **options: Any) -> tuple[nn.Module, Path]:
    """A model of timm with random numbers everywhere, and its file."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save(model.state_dict(), folder / "timm.pt")
    return model, folder / "timm.pt"


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        pytest.param("deit_tiny_patch16_224", marks=pytest.mark.slow),
        pytest.param("vit_small_patch14_dinov2", marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    side = 112
    model, weights = saved(name, tmp_path, img_size=side)
    encoder = load_timm(name, contract(RGB), image_size=side, weights=weights)
    x = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        expected, found = model.forward_features(x), encoder.encoder(x.unsqueeze(1))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert encoder.report is not None
    assert encoder.report.share == 1


def test_bands_are_adapted_as_stated(tmp_path: Path) -> None:
    bands = ("blue", "nir08", "red", "swir16")
    model, weights = saved("vit_tiny_patch16_224", tmp_path)
    encoder = load_timm("vit_tiny_patch16_224", contract(bands), weights=weights)
    photo = model.patch_embed.proj.weight
    ours = encoder.encoder.patch_embed.proj.weight
    assert ours.shape == (192, 4, 1, 16, 16)
    for i, expected in enumerate((photo[:, 2], photo.mean(1), photo[:, 0], photo.mean(1))):
        torch.testing.assert_close(ours[:, i, 0], expected * 3 / 4)
    assert encoder.provenance["bands"] == "blue, nir08 (mean of RGB), red, swir16 (mean of RGB)"
    assert "nir08 (mean of RGB)" in repr(encoder)


def test_grey_stays_grey() -> None:
    photo = torch.randn(8, 3, 4, 4).mean(1, keepdim=True).expand(8, 3, 4, 4)
    adapted = adapt_patches(photo, ("blue", "nir08", "swir16", "swir22", "red"))
    torch.testing.assert_close(adapted.sum(dim=(1, 2)), photo.sum(1))


def test_every_date_gets_the_same_positions_and_a_folder_keeps_them(tmp_path: Path) -> None:
    _, weights = saved("vit_tiny_patch16_224", tmp_path)
    encoder = load_timm("vit_tiny_patch16_224", contract(RGB, dates=2), weights=weights)
    x = torch.randn(1, 1, 3, 224, 224).expand(1, 2, 3, 224, 224)
    with torch.inference_mode():
        (feature,) = encoder.encoder.feature_maps(x, (11,))
    torch.testing.assert_close(feature[:, :192], feature[:, 192:], atol=1e-5, rtol=0)
    save_encoder(encoder, tmp_path / "e.geofm")
    again = load_encoder_folder(tmp_path / "e.geofm").encoder
    with torch.inference_mode():
        assert torch.equal(again.feature_maps(x, (11,))[0], feature)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18", "resnet18 is a ResNet; choose a VisionTransformer"),
        ("no_such_model", "timm cannot give no_such_model"),
        ("vit_small_patch14_reg4_dinov2", "has register tokens"),
        ("vit_base_patch16_clip_224", "a norm before its blocks"),
        ("vit_base_patch16_siglip_224", "no class token"),
    ],
)
def test_what_cannot_be_copied_exactly_is_refused(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def shape_only(name: str, **_options: Any) -> nn.Module:
        with torch.device("meta"):
            return create(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", shape_only)
    with pytest.raises(ModelError, match=said):
        load_timm(name, contract(RGB))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _, weights = saved("vit_tiny_patch16_224", tmp_path)
    with pytest.raises(ModelError, match="timm cannot give vit_small_patch16_224"):
        load_timm("vit_small_patch16_224", contract(RGB), weights=weights)
