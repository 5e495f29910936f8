"""Encoder and autoencoder against a plain, slow float64 version that shares no code with them.

Written from the published facts of Prithvi-EO: loops where a loop says it best.
"""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.mae import MaeConfig, MaskedAutoencoder, Target

Array = NDArray[np.float64]
Weights = dict[str, Array]

erf = np.vectorize(math.erf)


def sines(width: int, place: float) -> Array:
    angles = [place / 10000 ** (i / (width / 2)) for i in range(width // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def table(dim: int, grid: tuple[int, int, int]) -> Array:
    """(t, h, w, dim): columns, rows, dates."""
    codes = np.zeros((*grid, dim))
    for t, row, col in product(*map(range, grid)):
        codes[t, row, col] = np.concatenate(
            [sines(dim * 6 // 16, col), sines(dim * 6 // 16, row), sines(dim * 4 // 16, t)]
        )
    return codes


def cubic(distance: float) -> float:
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resize_axis(codes: Array, axis: int, length: int) -> Array:
    """Bicubic, corners on corners, the edge repeated."""
    codes = np.moveaxis(codes, axis, 0)
    built = len(codes)
    if built == length:
        return np.moveaxis(codes, 0, axis)
    out = np.zeros((length, *codes.shape[1:]))
    for i in range(length):
        place = i * (built - 1) / (length - 1) if length > 1 else 0.0
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            out[i] += cubic(place - tap) * codes[min(max(tap, 0), built - 1)]
    return np.moveaxis(out, 0, axis)


def positions(dim: int, built: tuple[int, int, int], grid: tuple[int, int, int]) -> Array:
    codes = table(dim, (grid[0], built[1], built[2]))
    return resize_axis(resize_axis(codes, 1, grid[1]), 2, grid[2]).reshape(-1, dim)


def layer_norm(x: Array, weights: Weights, name: str, eps: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Array, weights: Weights, name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def block(x: Array, weights: Weights, name: str, heads: int, eps: float) -> Array:
    dim = x.shape[-1]
    width = dim // heads
    qkv = linear(layer_norm(x, weights, f"{name}.norm1", eps), weights, f"{name}.attn.qkv")
    mixed = np.zeros_like(x)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        q, k, v = (qkv[:, part * dim : (part + 1) * dim][:, own] for part in range(3))
        scores = q @ k.T / math.sqrt(width)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed[:, own] = scores / scores.sum(-1, keepdims=True) @ v
    x = x + linear(mixed, weights, f"{name}.attn.proj")
    hidden = linear(layer_norm(x, weights, f"{name}.norm2", eps), weights, f"{name}.mlp.fc1")
    hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
    return x + linear(hidden, weights, f"{name}.mlp.fc2")


def grid_of(x: Array, config: EncoderConfig) -> tuple[int, int, int]:
    dates, _, height, width = x.shape
    side = config.patch_size
    return dates // config.tubelet, height // side, width // side


def cubes(x: Array, config: EncoderConfig) -> list[Array]:
    """Patches of (T, C, H, W) as (dates, C, rows, columns), by time, row, column."""
    p, d = config.patch_size, config.tubelet
    return [
        x[t * d : (t + 1) * d, :, row * p : (row + 1) * p, col * p : (col + 1) * p]
        for t, row, col in product(*map(range, grid_of(x, config)))
    ]


def embed(x: Array, weights: Weights, config: EncoderConfig) -> Array:
    kernel = weights["patch_embed.proj.weight"]  # (D, C, dates, rows, columns)
    tokens = [np.einsum("tchw,dcthw->d", cube, kernel) for cube in cubes(x, config)]
    places = positions(config.embed_dim, config.grid, grid_of(x, config))
    return np.array(tokens) + weights["patch_embed.proj.bias"] + places


def encode(tokens: Array, weights: Weights, config: EncoderConfig) -> list[Array]:
    """Every block's output, the last one normalised."""
    x = np.concatenate([weights["cls_token"][0], tokens])
    outputs = []
    for i in range(config.depth):
        x = block(x, weights, f"blocks.{i}", config.num_heads, config.norm_eps)
        outputs.append(x)
    outputs[-1] = layer_norm(x, weights, "norm", config.norm_eps)
    return outputs


def under(weights: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def rebuilt_loss(
    x: Array, valid: NDArray[np.bool_], noise: Array, weights: Weights, mae: MaskedAutoencoder
) -> tuple[float, int]:
    """Sum of squared errors, and the numbers it is over, of one sample (T, C, H, W)."""
    config, options = mae.encoder.config, mae.config
    x = np.where(valid[:, None], x, 0.0)
    seen = [cube.any() for cube in cubes(valid[:, None].astype(float), config)]
    count = int(len(noise) * (1 - options.mask_ratio))
    order = sorted(range(len(noise)), key=lambda i: (not seen[i], noise[i]))
    visible = order[:count]
    encoder = under(weights, "encoder.")
    tokens = encode(embed(x, encoder, config)[visible], encoder, config)[-1]

    decoder = under(weights, "decoder.")
    narrow = linear(tokens, decoder, "decoder_embed")
    full = np.repeat(decoder["mask_token"][0], len(noise), axis=0)
    full[visible] = narrow[1:]
    full = full + positions(options.decoder_dim, config.grid, grid_of(x, config))
    y = np.concatenate([narrow[:1], full])
    for i in range(options.decoder_depth):
        y = block(y, decoder, f"decoder_blocks.{i}", options.decoder_heads, config.norm_eps)
    y = linear(layer_norm(y, decoder, "decoder_norm", config.norm_eps), decoder, "decoder_pred")

    total, numbers = 0.0, 0
    measured = cubes(np.broadcast_to(valid[:, None], x.shape).astype(float), config)
    for i, (cube, known) in enumerate(zip(cubes(x, config), measured, strict=True)):
        if i in visible or not seen[i]:
            continue
        target = cube.transpose(0, 2, 3, 1).ravel()
        scored = known.transpose(0, 2, 3, 1).ravel() > 0
        if options.target == "patches":
            target = (target - target[scored].mean()) / math.sqrt(target[scored].var(ddof=1) + 1e-6)
        total += float(((y[1 + i] - target)[scored] ** 2).sum())
        numbers += int(scored.sum())
    return total, numbers


def plain(module: torch.nn.Module) -> Weights:
    """Weights as float64, all of them moved off their neat starting values."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return {k: v.double().numpy() for k, v in module.state_dict().items()}


CONFIGS: dict[str, dict[str, Any]] = {
    "one date": {},
    "dates, tubelets": {"dates": 4, "tubelet": 2},
    "old epsilon, odd patch": {"image_size": 35, "patch_size": 7, "norm_eps": 1e-6},
}
BASE = {
    "bands": 3,
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 3,
    "num_heads": 4,
    "mlp_ratio": 2.0,
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("more", [(0, 0, 0), (0, 1, 3), (1, 0, 0), (1, 2, -1)])
def test_encoder(name: str, more: tuple[int, int, int]) -> None:
    config = EncoderConfig(**BASE | CONFIGS[name])
    encoder = Encoder(config).eval()
    weights = plain(encoder)
    dates = config.dates + more[0] * config.tubelet
    height, width = (config.image_size + step * config.patch_size for step in more[1:])
    x = torch.randn(2, dates, config.bands, height, width)
    with torch.inference_mode():
        tokens = encoder(x).numpy()
        maps = [m.numpy() for m in encoder.feature_maps(x, (0, 2))]
    for sample in range(2):
        image = x[sample].double().numpy()
        expected = encode(embed(image, weights, config), weights, config)
        np.testing.assert_allclose(tokens[sample], expected[-1], atol=2e-5)
        t, h, w = grid_of(image, config)
        for found, depth in zip(maps, (0, 2), strict=True):
            for date, row, col in product(range(t), range(h), range(w)):
                np.testing.assert_allclose(
                    found[
                        sample, date * config.embed_dim : (date + 1) * config.embed_dim, row, col
                    ],
                    expected[depth][1 + (date * h + row) * w + col],
                    atol=2e-5,
                )


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target", ["pixels", "patches"])
@pytest.mark.parametrize("holes", ["none", "pixels", "patches", "nearly all"])
def test_masked_autoencoder(name: str, target: Target, holes: str) -> None:
    config = EncoderConfig(**BASE | CONFIGS[name])
    options = MaeConfig(
        mask_ratio=0.6,
        decoder_dim=16,
        decoder_depth=2,
        decoder_heads=2,
        target=target,
    )
    mae = MaskedAutoencoder(Encoder(config), options).eval()
    weights = plain(mae)
    side = config.image_size
    x = torch.randn(2, config.dates, config.bands, side, side)
    valid = torch.ones(2, config.dates, side, side, dtype=torch.bool)
    match holes:
        case "pixels":
            valid = torch.rand(valid.shape) > 0.4
        case "patches":
            valid[0, :, : side // 2 + 3] = False
        case "nearly all":
            valid[:, :, config.patch_size :] = False
    noise = torch.rand(2, math.prod(config.grid))
    with torch.inference_mode():
        output = mae(x, valid, noise)
    parts = [
        rebuilt_loss(
            x[i].double().numpy(), valid[i].numpy(), noise[i].double().numpy(), weights, mae
        )
        for i in range(2)
    ]
    total, numbers = map(sum, zip(*parts, strict=True))
    assert output.loss.item() == pytest.approx(total / max(numbers, 1), rel=2e-5)
