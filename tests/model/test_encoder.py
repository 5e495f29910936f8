import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.mae import MaeConfig, MaskedAutoencoder

SMALL: dict[str, Any] = {
    "bands": 2,
    "image_size": 16,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
}


@given(
    bands=st.integers(1, 5),
    dates=st.integers(1, 3),
    tubelet=st.integers(1, 2),
    patch_size=st.integers(1, 6),
    sides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_any_bands_dates_patch_and_size(
    bands: int,
    dates: int,
    tubelet: int,
    patch_size: int,
    sides: tuple[int, int],
    batch: int,
) -> None:
    config = EncoderConfig(
        **SMALL
        | {
            "bands": bands,
            "dates": dates * tubelet,
            "tubelet": tubelet,
            "patch_size": patch_size,
            "image_size": 2 * patch_size,
        }
    )
    encoder = Encoder(config).eval()
    h, w = sides
    x = torch.randn(batch, dates * tubelet, bands, h * patch_size, w * patch_size)
    with torch.inference_mode():
        tokens = encoder(x)
        (features,) = encoder.feature_maps(x, (1,))
    assert tokens.shape == (batch, 1 + dates * h * w, 16)
    assert tokens.isfinite().all()
    # Channel t * D + d of the map is channel d of date t's token there.
    again = features.reshape(batch, dates, 16, h, w).permute(0, 1, 3, 4, 2).flatten(1, 3)
    assert torch.equal(again, tokens[:, 1:])


def test_every_token_visible_is_the_plain_forward() -> None:
    encoder = Encoder(EncoderConfig(**SMALL)).eval()
    x = torch.randn(3, 1, 2, 16, 16)
    order = torch.stack([torch.randperm(16) for _ in range(3)])
    with torch.inference_mode():
        all_tokens, seen = encoder(x), encoder.forward_visible(x, order)
    for sample in range(3):
        torch.testing.assert_close(
            seen[sample, 1:], all_tokens[sample, 1 + order[sample]], atol=2e-6, rtol=1e-5
        )


def test_hidden_tokens_have_no_say() -> None:
    encoder = Encoder(EncoderConfig(**SMALL)).eval()
    x = torch.randn(1, 1, 2, 16, 16)
    other = x.clone()
    other[..., 4:, :] = torch.nan
    keep = torch.tensor([[2, 0]])
    assert torch.equal(encoder.forward_visible(x, keep), encoder.forward_visible(other, keep))


def test_names_and_shapes_are_those_of_published_prithvis(shared_reference: Path) -> None:
    files = sorted((shared_reference / "prithvi_keys").glob("prithvi_eo_*.json"))
    # The variants between these differ in numbers alone.
    files = [f for f in files if f.stem[11:] in {"v1_100", "v2_tiny_tl", "v2_600_tl"}]
    assert len(files) == 3
    for file in files:
        published = json.loads(file.read_text())
        shape = published["config"]
        with torch.device("meta"):
            encoder = Encoder(
                EncoderConfig(
                    bands=shape["in_chans"],
                    dates=shape["num_frames"],
                    image_size=shape["img_size"],
                    tubelet=shape["patch_size"][0],
                    patch_size=shape["patch_size"][1],
                    embed_dim=shape["embed_dim"],
                    depth=shape["depth"],
                    num_heads=shape["num_heads"],
                    mlp_ratio=float(shape["mlp_ratio"]),
                )
            )
            mae = MaskedAutoencoder(
                encoder,
                MaeConfig(
                    decoder_dim=shape["decoder_embed_dim"],
                    decoder_depth=shape["decoder_depth"],
                    decoder_heads=shape["decoder_num_heads"],
                ),
            )
        # Position tables are rebuilt; time and location codes are not built yet.
        theirs = {
            name: entry["shape"]
            for name, entry in published["keys"].items()
            if "pos_embed" not in name and not name.endswith(".scale")
        }
        ours = {name: list(tensor.shape) for name, tensor in mae.state_dict().items()}
        assert ours == theirs, file.name


def test_weights_start_as_published() -> None:
    encoder = Encoder(EncoderConfig(**SMALL | {"embed_dim": 64, "num_heads": 4}))
    patch = encoder.patch_embed.proj.weight
    bound = (6 / (64 + 2 * 4 * 4)) ** 0.5
    assert 0.95 * bound < patch.abs().max() <= bound
    assert encoder.cls_token.std().item() == pytest.approx(0.02, rel=0.4)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        if "norm" in name and name.endswith("weight"):
            assert (parameter == 1).all(), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth is 0; it can be 1 to 256"),
        ({"embed_dim": 10**12}, "embed_dim is 1000000000000; it can be 1 to 8,192"),
        ({"embed_dim": 24}, "embed_dim is 24; the position code needs a multiple of 16"),
        ({"num_heads": 3}, "embed_dim is 16; num_heads needs a multiple of 3"),
        ({"image_size": 18}, "image_size is 18; patch_size needs a multiple of 4"),
        ({"dates": 3, "tubelet": 2}, "dates is 3; tubelet needs a multiple of 2"),
        ({"image_size": 8192, "patch_size": 1}, "67,108,864 tokens of 16 numbers"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
        ({"mlp_ratio": 1e9}, "mlp_ratio 1000000000.0"),
    ],
)
def test_shapes_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        EncoderConfig(**SMALL | change)


def test_other_bands_are_refused() -> None:
    with pytest.raises(ModelError, match="has 3 bands; this encoder needs 2"):
        Encoder(EncoderConfig(**SMALL))(torch.zeros(1, 1, 3, 16, 16))
