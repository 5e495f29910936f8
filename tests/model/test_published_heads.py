"""The heads of published models against plain float64 versions, from the published facts alone."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from geofm.errors import ModelError
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig, build_head
from geofm.model.segmenter import Segmenter, build_segmenter

State = dict[str, Tensor]


def encoder(**options: Any) -> EncoderConfig:
    sizes: dict[str, Any] = {
        "bands": 2,
        "image_size": 64,
        "patch_size": 16,
        "embed_dim": 32,
        "depth": 4,
        "num_heads": 2,
    }
    return EncoderConfig(**(sizes | options))


HEADS = {
    "unet": HeadConfig(kind="unet", classes=3, depths=(0, 1, 2, 3), channels=4),
    "unet, smp 0.5": HeadConfig(
        kind="unet", classes=3, depths=(0, 1, 2, 3), channels=4, upsample_last=False
    ),
    "upernet": HeadConfig(kind="upernet", classes=3, depths=(0, 1, 2, 3), channels=8),
    "deconv": HeadConfig(kind="deconv", classes=3, depths=(3,), channels=8),
}


def trained(config: HeadConfig, shape: EncoderConfig) -> Segmenter:
    """With numbers in every BatchNorm, as after training."""
    segmenter = build_segmenter(shape, config).eval()
    for name, tensor in segmenter.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand_like(tensor)
            tensor.copy_(0.5 + noise if "running_var" in name else tensor + 0.1 * (noise - 0.5))
    return segmenter


# The reference.


def bn(x: Tensor, state: State, name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"].reshape(1, -1, 1, 1)
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def conv(x: Tensor, state: State, name: str, padding: int = 0) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), padding=padding)


def double(x: Tensor, state: State, name: str) -> Tensor:
    """A deconvolution of 2 x 2 with stride 2: every pixel becomes four, alone."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    batch, _, h, w = x.shape
    four = torch.einsum("bihw,ioyx->bohywx", x, weight)
    return four.reshape(batch, -1, 2 * h, 2 * w) + bias.reshape(1, -1, 1, 1)


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def nearest(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def axis_weights(old: int, new: int, align: bool) -> Tensor:
    """(new, old): bilinear weights along one side."""
    weights = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        if align:
            place = i * (old - 1) / (new - 1) if new > 1 else 0.0
        else:
            place = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(place), old - 1)
        high = min(low + 1, old - 1)
        weights[i, low] += 1 - (place - low)
        weights[i, high] += place - low
    return weights


def bilinear(x: Tensor, size: tuple[int, int], *, align: bool) -> Tensor:
    rows = axis_weights(x.shape[-2], size[0], align)
    cols = axis_weights(x.shape[-1], size[1], align)
    return torch.einsum("bchw,yh,xw->bcyx", x, rows, cols)


def pyramid(features: list[Tensor], state: State) -> list[Tensor]:
    first = gelu(bn(double(features[0], state, "pyramid.fpn1.0"), state, "pyramid.fpn1.1"))
    coarse = features[3]
    h, w = coarse.shape[-2] // 2 * 2, coarse.shape[-1] // 2 * 2
    corners = [coarse[..., i:h:2, j:w:2] for i, j in itertools.product((0, 1), repeat=2)]
    return [
        double(first, state, "pyramid.fpn1.3"),
        double(features[1], state, "pyramid.fpn2.0"),
        features[2],
        torch.stack(corners).amax(0),
    ]


def unet(features: list[Tensor], state: State, size: tuple[int, int], last: bool) -> Tensor:
    levels = pyramid(features, state)
    y = levels[3]
    for i, skip in enumerate((levels[2], levels[1], levels[0], None)):
        if skip is not None:
            y = torch.cat([nearest(y), skip], dim=1)
        elif last:
            y = nearest(y)
        for step in ("conv1", "conv2"):
            y = conv(y, state, f"blocks.{i}.{step}.0", padding=1)
            y = bn(y, state, f"blocks.{i}.{step}.1").clamp(min=0)
    return bilinear(conv(y, state, "logits"), size, align=False)


def conv_bn(x: Tensor, state: State, name: str, side: int) -> Tensor:
    y = conv(x, state, f"{name}.conv", padding=side // 2)
    return bn(y, state, f"{name}.norm").clamp(min=0)


def pool(x: Tensor, side: int) -> Tensor:
    h, w = x.shape[-2:]
    cells = [
        x[..., i * h // side : -(-(i + 1) * h // side), j * w // side : -(-(j + 1) * w // side)]
        for i, j in itertools.product(range(side), repeat=2)
    ]
    means = [cell.mean((-1, -2)) for cell in cells]
    return torch.stack(means, dim=-1).unflatten(-1, (side, side))


def upernet(features: list[Tensor], state: State, size: tuple[int, int]) -> Tensor:
    levels = pyramid(features, state)
    top = levels[3]
    shape = (top.shape[-2], top.shape[-1])
    glance = [top]
    for i, side in enumerate((1, 2, 3, 6)):
        small = conv_bn(pool(top, side), state, f"psp_modules.{i}.1", 1)
        glance.append(bilinear(small, shape, align=True))
    sides = [conv_bn(levels[i], state, f"lateral_convs.{i}", 1) for i in range(3)]
    sides.append(conv_bn(torch.cat(glance, dim=1), state, "bottleneck", 3))
    for i in (2, 1, 0):
        sides[i] = sides[i] + bilinear(sides[i + 1], tuple(sides[i].shape[-2:]), align=True)
    outs = [conv_bn(sides[i], state, f"fpn_convs.{i}", 3) for i in range(3)] + [sides[3]]
    outs = [bilinear(out, tuple(outs[0].shape[-2:]), align=True) for out in outs]
    y = conv_bn(torch.cat(outs, dim=1), state, "fpn_bottleneck", 3)
    return bilinear(conv(y, state, "logits"), size, align=False)


def deconv(feature: Tensor, state: State, size: tuple[int, int], dates: int) -> Tensor:
    width = feature.shape[1]
    dim = width // dates
    # Ours is t * D + d; these heads were taught d * T + t.
    order = [t * dim + d for d in range(dim) for t in range(dates)]
    y = feature[:, order]
    for part in ("fpn1", "fpn2"):
        y = double(y, state, f"neck.{part}.0")
        mean = y.mean(1, keepdim=True)
        y = (y - mean) / torch.sqrt(((y - mean) ** 2).mean(1, keepdim=True) + 1e-6)
        weight, bias = (state[f"neck.{part}.1.ln.{p}"] for p in ("weight", "bias"))
        y = gelu(y * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1))
        y = double(y, state, f"neck.{part}.3")
    y = bn(conv(y, state, "convs.0.conv", padding=1), state, "convs.0.bn").clamp(min=0)
    return bilinear(conv(y, state, "conv_seg"), size, align=False)


# The comparison.


@pytest.mark.parametrize("dates", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (96, 32), (128, 160)])
@pytest.mark.parametrize("name", HEADS)
def test_logits(name: str, size: tuple[int, int], dates: int) -> None:
    config = HEADS[name]
    segmenter = trained(config, encoder(dates=dates))
    state = {k: v.double() for k, v in segmenter.head.state_dict().items()}
    x = torch.randn(2, dates, 2, *size)
    with torch.inference_mode():
        logits = segmenter(x)
        maps = [m.double() for m in segmenter.encoder.feature_maps(x, config.depths)]
    match config.kind:
        case "unet":
            expected = unet(maps, state, size, config.upsample_last)
        case "upernet":
            expected = upernet(maps, state, size)
        case _:
            expected = deconv(maps[0], state, size, dates)
    assert logits.shape == (2, 3, *size)
    assert (logits.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_two_rules_of_the_last_unet_block_differ() -> None:
    old, new = (trained(HEADS[name], encoder()) for name in ("unet", "unet, smp 0.5"))
    new.load_state_dict(old.state_dict())
    x = torch.randn(1, 1, 2, 64, 64)
    with torch.inference_mode():
        assert (old(x) - new(x)).abs().max() > 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_a_sample_has_the_same_logits_in_any_slot(name: str) -> None:
    segmenter = trained(HEADS[name], encoder())
    x = torch.randn(4, 1, 2, 64, 64)
    with torch.inference_mode():
        whole, turned = segmenter(x), segmenter(x.roll(1, dims=0))
        others = segmenter(torch.cat([x[:1], torch.randn(3, 1, 2, 64, 64)]))
    assert torch.equal(whole, turned.roll(-1, dims=0))
    assert torch.equal(whole[0], others[0])


@pytest.mark.parametrize("name", HEADS)
def test_it_learns(name: str) -> None:
    """Every weight of a head gets a gradient."""
    segmenter = build_segmenter(encoder(), HEADS[name]).train()
    segmenter(torch.randn(2, 1, 2, 64, 64)).square().mean().backward()
    without = [n for n, p in segmenter.head.named_parameters() if p.grad is None]
    assert without == []


def test_legacy_order_reaches_the_encoder() -> None:
    plain = build_segmenter(encoder(dates=3), HEADS["deconv"]).eval()
    shuffled = build_segmenter(encoder(dates=3, legacy_order=True), HEADS["deconv"]).eval()
    shuffled.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 2, 64, 64)
    stack = x.flatten(1, 2)  # date-major
    as_read = torch.stack([stack[:, [3 * c + t for c in range(2)]] for t in range(3)], dim=1)
    with torch.inference_mode():
        assert torch.equal(shuffled(x), plain(as_read))
        assert not torch.equal(shuffled(x), plain(x))


@pytest.mark.parametrize(
    ("kind", "depths", "said"),
    [
        ("unet", (0, 1, 2), "unet reads 4 blocks, not 3"),
        ("upernet", (3,), "upernet reads 4 blocks, not 1"),
        ("deconv", (2, 3), "deconv reads 1 blocks, not 2"),
    ],
)
def test_a_wrong_number_of_maps_is_refused(kind: Any, depths: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build_head(HeadConfig(kind=kind, classes=2, depths=depths), encoder())
