"""Prithvi's facts, each against a plain float64 version that shares no code with ours.

Written from the published facts alone. Float32 appears only where the published
models themselves compute in it: the codes of time and place.
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geofm.errors import ModelError
from geofm.model.coordinates import CoordinateCode, Coordinates
from geofm.model.encoder import Encoder, EncoderConfig, legacy_order
from geofm.model.mae import MaeConfig, MaskedAutoencoder, Target
from geofm.model.patches import position_table

State = dict[str, Tensor]


# The reference.


def sines(places: Tensor, width: int) -> Tensor:
    half = width // 2
    rows = []
    for place in places.tolist():
        angles = [place * 10000.0 ** (-i / half) for i in range(half)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    return torch.tensor(rows, dtype=torch.float64)


def table(dim: int, grid: tuple[int, int, int]) -> Tensor:
    """(t, h, w, dim): six sixteenths for the column, six for the row, four for the date."""
    unit = dim // 16
    codes = [sines(torch.arange(n), k * unit) for n, k in zip(grid, (4, 6, 6), strict=True)]
    t, h, w = (
        c.reshape([-1 if axis == i else 1 for i in range(3)] + [c.shape[1]])
        for axis, c in enumerate(codes)
    )
    shape = [*grid, -1]
    return torch.cat([w.expand(shape), h.expand(shape), t.expand(shape)], dim=-1)


def places(dim: int, built: tuple[int, int, int], grid: tuple[int, int, int]) -> Tensor:
    """By formula in time, by bicubic resizing, corners on corners, in space."""
    codes = table(dim, (grid[0], built[1], built[2]))
    if grid[1:] != built[1:]:
        codes = F.interpolate(
            codes.permute(0, 3, 1, 2), size=grid[1:], mode="bicubic", align_corners=True
        ).permute(0, 2, 3, 1)
    return codes.reshape(-1, dim)


def float32_code(numbers: Tensor, width: int) -> Tensor:
    """(...) -> (..., width), in float32, operation by operation."""
    exponent = torch.arange(width // 2, dtype=torch.float32)
    exponent = exponent / (width / 2)
    omega = 1.0 / torch.pow(torch.tensor(10000.0), exponent)
    angle = numbers.float()[..., None] * omega
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def pair_code(pairs: Tensor, width: int) -> Tensor:
    parts = [float32_code(pairs[..., i], width // 2) for i in range(2)]
    return torch.cat(parts, dim=-1).double()


def norm(x: Tensor, state: State, name: str, eps: float) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
    return x * state[f"{name}.weight"] + state[f"{name}.bias"]


def affine(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def block(x: Tensor, state: State, name: str, heads: int, eps: float) -> Tensor:
    batch, length, dim = x.shape
    qkv = affine(norm(x, state, f"{name}.norm1", eps), state, f"{name}.attn.qkv")
    q, k, v = (
        part.reshape(batch, length, heads, dim // heads).permute(0, 2, 1, 3)
        for part in qkv.split(dim, dim=-1)
    )
    mixed = ((q @ k.transpose(-1, -2)) / math.sqrt(dim // heads)).softmax(-1) @ v
    x = x + affine(
        mixed.permute(0, 2, 1, 3).reshape(batch, length, dim), state, f"{name}.attn.proj"
    )
    y = affine(norm(x, state, f"{name}.norm2", eps), state, f"{name}.mlp.fc1")
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    return x + affine(y, state, f"{name}.mlp.fc2")


def coded(
    tokens: Tensor, state: State, prefix: str, coordinates: Coordinates | None, per_date: int
) -> Tensor:
    if coordinates is None:
        return tokens
    dim = tokens.shape[-1]
    if coordinates.when is not None:
        code = state[f"temporal_embed_{prefix}.scale"] * pair_code(coordinates.when, dim)
        tokens = tokens + code.repeat_interleave(per_date, dim=1)
    if coordinates.where is not None:
        code = state[f"location_embed_{prefix}.scale"] * pair_code(coordinates.where, dim)
        tokens = tokens + code[:, None]
    return tokens


def grid_of(x: Tensor, config: EncoderConfig) -> tuple[int, int, int]:
    p = config.patch_size
    return x.shape[1] // config.tubelet, x.shape[3] // p, x.shape[4] // p


def embedded(
    x: Tensor, state: State, config: EncoderConfig, coordinates: Coordinates | None
) -> Tensor:
    grid = grid_of(x, config)
    kernel = (config.tubelet, config.patch_size, config.patch_size)
    patches = F.conv3d(
        x.transpose(1, 2),
        state["patch_embed.proj.weight"],
        state["patch_embed.proj.bias"],
        stride=kernel,
    )
    tokens = patches.flatten(2).transpose(1, 2)
    side = (config.position_size or config.image_size) // config.patch_size
    built = (config.dates // config.tubelet, side, side)
    tokens = tokens + places(config.embed_dim, built, grid).float().double()
    return coded(tokens, state, "enc", coordinates, grid[1] * grid[2])


def run(tokens: Tensor, state: State, config: EncoderConfig) -> list[Tensor]:
    x = torch.cat([state["cls_token"].expand(len(tokens), -1, -1), tokens], dim=1)
    outputs = []
    for i in range(config.depth):
        x = block(x, state, f"blocks.{i}", config.num_heads, config.norm_eps)
        outputs.append(x)
    outputs[-1] = norm(outputs[-1], state, "norm", config.norm_eps)
    return outputs


def patched(x: Tensor, config: EncoderConfig) -> Tensor:
    """(B, N, P): in a patch by date, row, column, band, the last fastest."""
    p, d = config.patch_size, config.tubelet
    t, h, w = grid_of(x, config)
    vectors = [
        x[:, i * d : (i + 1) * d, :, r * p : (r + 1) * p, c * p : (c + 1) * p]
        .permute(0, 1, 3, 4, 2)
        .flatten(1)
        for i in range(t)
        for r in range(h)
        for c in range(w)
    ]
    return torch.stack(vectors, dim=1)


def rebuilt(
    x: Tensor, noise: Tensor, state: State, mae: MaskedAutoencoder, coordinates: Coordinates | None
) -> tuple[float, Tensor, Tensor]:
    """Loss, prediction and mask of a masked autoencoder."""
    config, options = mae.encoder.config, mae.config
    encoder, decoder = (
        {k.removeprefix(p): v for k, v in state.items() if k.startswith(p)}
        for p in ("encoder.", "decoder.")
    )
    length = noise.shape[1]
    keep = int(length * (1 - options.mask_ratio))
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    tokens = embedded(x, encoder, config, coordinates)
    visible = torch.stack([row[o[:keep]] for row, o in zip(tokens, order, strict=True)])
    latent = affine(run(visible, encoder, config)[-1], decoder, "decoder_embed")
    hidden = decoder["mask_token"].expand(len(x), length - keep, -1)
    shuffled = torch.cat([latent[:, 1:], hidden], dim=1)
    full = torch.stack([row[r] for row, r in zip(shuffled, restore, strict=True)])
    side = (config.position_size or config.image_size) // config.patch_size
    built = (config.dates // config.tubelet, side, side)
    grid = grid_of(x, config)
    full = full + places(options.decoder_dim, built, grid).float().double()
    full = coded(full, decoder, "dec", coordinates, grid[1] * grid[2])
    y = torch.cat([latent[:, :1], full], dim=1)
    for i in range(options.decoder_depth):
        y = block(y, decoder, f"decoder_blocks.{i}", options.decoder_heads, config.norm_eps)
    y = affine(norm(y, decoder, "decoder_norm", config.norm_eps), decoder, "decoder_pred")[:, 1:]
    target = patched(x, config)
    if options.target == "patches":
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True, correction=1)
        target = (target - mean) / (variance + 1e-6).sqrt()
    mask = torch.ones(len(x), length, dtype=torch.float64)
    mask[:, :keep] = 0
    mask = torch.stack([row[r] for row, r in zip(mask, restore, strict=True)])
    loss = ((y - target) ** 2).mean(-1)
    return ((loss * mask).sum() / mask.sum()).item(), y, mask


# The comparison.


def doubled(module: torch.nn.Module) -> State:
    """Its weights in float64, all moved off their neat starting values."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return {k: v.double() for k, v in module.state_dict().items()}


def coordinates_of(batch: int, dates: int, kind: str) -> Coordinates | None:
    when = torch.stack(
        [torch.randint(2015, 2026, (batch, dates)), torch.randint(0, 366, (batch, dates))], dim=-1
    ).float()
    where = torch.rand(batch, 2) * torch.tensor([170.0, 350.0]) - torch.tensor([85.0, 175.0])
    match kind:
        case "both":
            return Coordinates(when, where)
        case "time":
            return Coordinates(when=when)
        case "location":
            return Coordinates(where=where)
    return None


SHAPES = st.fixed_dictionaries(
    {
        "bands": st.integers(1, 6),
        "dates": st.integers(1, 4),
        "patch_size": st.sampled_from([14, 16]),
        "embed_dim": st.sampled_from([16, 48, 64]),
        "num_heads": st.sampled_from([1, 2, 4]),
        "depth": st.integers(1, 4),
        "norm_eps": st.sampled_from([1e-5, 1e-6]),
        "grid": st.integers(1, 4),
        "resized": st.sampled_from([None, 1, 3]),
    }
)


def config_of(shape: dict[str, Any]) -> EncoderConfig:
    options = {k: v for k, v in shape.items() if k not in {"grid", "resized"}}
    p = shape["patch_size"]
    return EncoderConfig(
        **options,
        image_size=shape["grid"] * p,
        position_size=shape["resized"] and shape["resized"] * p,
        coordinates=("time", "location"),
    )


def close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest value."""
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


@given(
    shape=SHAPES,
    rows=st.integers(1, 4),
    cols=st.integers(1, 4),
    dates=st.integers(1, 4),
    kind=st.sampled_from(["none", "both", "time", "location"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=25)
def test_features(
    shape: dict[str, Any], rows: int, cols: int, dates: int, kind: str, seed: int
) -> None:
    torch.manual_seed(seed)
    config = config_of(shape)
    encoder = Encoder(config).eval()
    state = doubled(encoder)
    x = torch.randn(2, dates, config.bands, rows * config.patch_size, cols * config.patch_size)
    coordinates = coordinates_of(2, dates, kind)
    expected = run(embedded(x.double(), state, config, coordinates), state, config)
    with torch.inference_mode():
        close(encoder(x, coordinates), expected[-1])
        maps = encoder.feature_maps(x, range(config.depth), coordinates)
    for found, layer in zip(maps, expected, strict=True):
        # Channel t * D + d.
        by_date = layer[:, 1:].reshape(2, dates, rows, cols, config.embed_dim)
        close(found, by_date.permute(0, 1, 4, 2, 3).flatten(1, 2))


@given(
    shape=SHAPES,
    mask_ratio=st.sampled_from([0.5, 0.75, 0.9]),
    target=st.sampled_from(["pixels", "patches"]),
    kind=st.sampled_from(["none", "both", "time", "location"]),
    seed=st.integers(0, 999),
)
@settings(max_examples=25)
def test_rebuilding(
    shape: dict[str, Any], mask_ratio: float, target: Target, kind: str, seed: int
) -> None:
    torch.manual_seed(seed)
    config = config_of(shape)
    options = MaeConfig(
        mask_ratio=mask_ratio,
        decoder_dim=32,
        decoder_depth=2,
        decoder_heads=4,
        target=target,
    )
    mae = MaskedAutoencoder(Encoder(config), options).eval()
    state = doubled(mae)
    side = config.image_size
    x = torch.randn(2, config.dates, config.bands, side, side)
    valid = torch.ones(2, config.dates, side, side, dtype=torch.bool)
    noise = torch.rand(2, math.prod(config.grid))
    coordinates = coordinates_of(2, config.dates, kind)
    loss, prediction, mask = rebuilt(x.double(), noise, state, mae, coordinates)
    with torch.inference_mode():
        found = mae(x, valid, noise, coordinates=coordinates)
        given_mask = mae(x, valid, hidden=found.hidden, coordinates=coordinates)
    assert found.loss.item() == pytest.approx(loss, rel=2e-6)
    assert torch.equal(found.hidden, mask.bool())
    close(found.prediction, prediction)
    assert given_mask.loss.item() == pytest.approx(loss, rel=2e-6)


# The traps, one by one.


def test_columns_come_first_in_the_position_code() -> None:
    codes = position_table(32, (2, 3, 4)).reshape(2, 3, 4, 32)
    assert torch.equal(codes[0, 0, 1, 12:24], codes[0, 0, 0, 12:24])  # another column, same row
    assert not torch.equal(codes[0, 0, 1, :12], codes[0, 0, 0, :12])
    assert not torch.equal(codes[0, 1, 0, 12:24], codes[0, 0, 0, 12:24])
    assert not torch.equal(codes[1, 0, 0, 24:], codes[0, 0, 0, 24:])
    assert torch.equal(codes, table(32, (2, 3, 4)).float())


def small(**options: Any) -> EncoderConfig:
    sizes = {"bands": 2, "image_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2}
    return EncoderConfig(**(sizes | {"num_heads": 2} | options))


def test_a_code_built_for_a_size_differs_from_one_resized_to_it() -> None:
    state = Encoder(small()).state_dict()
    x = torch.randn(1, 1, 2, 64, 64)
    features = []
    for options in ({"image_size": 64}, {"image_size": 64, "position_size": 32}, {}):
        encoder = Encoder(small(**options)).eval()
        encoder.load_state_dict(state)
        features.append(encoder(x))
    built, resized, fed = features
    assert (built - resized).abs().max() > 0.05
    assert torch.equal(resized, fed)  # as an encoder of 32 px that is fed 64 px


def test_a_new_number_of_dates_follows_the_formula() -> None:
    state = Encoder(small(dates=1)).state_dict()
    x = torch.randn(1, 3, 2, 32, 32)
    one, three = Encoder(small(dates=1)).eval(), Encoder(small(dates=3)).eval()
    one.load_state_dict(state)
    three.load_state_dict(state)
    assert torch.equal(one(x), three(x))


def test_codes_of_years_are_those_of_float32() -> None:
    code = CoordinateCode(1024)
    when = torch.tensor([[2021.0, 200.0]])
    found = (code(when) / code.scale).double()
    exact = torch.cat([sines(when[0, i : i + 1], 512) for i in range(2)], dim=-1)
    torch.testing.assert_close(found, pair_code(when, 1024), atol=2e-7, rtol=0)
    assert (found - exact).abs().max() > 3e-5  # what float64 would make of it


def test_the_class_token_gets_no_code() -> None:
    encoder = Encoder(small(coordinates=("time", "location"), depth=1)).eval()
    seen = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.randn(1, 1, 2, 32, 32), coordinates_of(1, 1, "both"))
    assert torch.equal(seen[0][:, 0], encoder.cls_token[0])


def test_coordinates_that_cannot_be_are_refused() -> None:
    plain_one, reader = Encoder(small()), Encoder(small(coordinates=("time", "location")))
    x = torch.randn(2, 1, 2, 32, 32)
    with pytest.raises(ModelError, match="does not read the time of an image"):
        plain_one(x, Coordinates(when=torch.zeros(2, 1, 2)))
    with pytest.raises(ModelError, match=r"needed floats \[2, 1, 2\]"):
        reader(x, Coordinates(when=torch.zeros(2, 1, 2, dtype=torch.int64)))
    with pytest.raises(ModelError, match=r"the location of a batch is .*needed floats \[2, 2\]"):
        reader(x, Coordinates(where=torch.zeros(1, 2)))
    with pytest.raises(ModelError, match="cannot be told one time"):
        small(coordinates=("time",), dates=2, tubelet=2)


@pytest.mark.parametrize(
    ("length", "ratio", "kept"), [(20, 0.9, 1), (10, 0.9, 0), (196, 0.75, 49), (588, 0.75, 147)]
)
def test_the_count_of_visible_tokens_is_cut_not_rounded(
    length: int, ratio: float, kept: int
) -> None:
    config = small(dates=length, image_size=16)
    options = MaeConfig(mask_ratio=ratio, decoder_dim=16, decoder_depth=1, decoder_heads=1)
    mae = MaskedAutoencoder(Encoder(config), options).eval()
    x, valid = torch.randn(1, length, 2, 16, 16), torch.ones(1, length, 16, 16, dtype=torch.bool)
    with torch.inference_mode():
        assert (~mae(x, valid, torch.rand(1, length)).hidden).sum() == kept


def test_hidden_tokens_must_be_as_many_in_every_sample() -> None:
    options = MaeConfig(decoder_dim=16, decoder_depth=1, decoder_heads=1)
    mae = MaskedAutoencoder(Encoder(small()), options).eval()
    hidden = torch.tensor([[True, True, False, False], [True, False, False, False]])
    valid = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    with pytest.raises(ModelError, match="as many visible in every sample"):
        mae(torch.randn(2, 1, 2, 32, 32), valid, hidden=hidden)


def test_only_the_last_layer_is_normalised() -> None:
    encoder = Encoder(small()).eval()
    x = torch.randn(1, 1, 2, 32, 32)
    first, last = encoder.feature_maps(x, (0, 1))
    assert last.mean(dim=1).abs().max() < 1e-5
    assert first.mean(dim=1).abs().max() > 1e-3


def test_normalised_pixels_use_the_unbiased_variance() -> None:
    from geofm.model.mae import normalise_patches

    target = torch.randn(1, 3, 12)
    measured = torch.ones(1, 3, 6, dtype=torch.bool)
    scaled = normalise_patches(target, measured)
    torch.testing.assert_close(scaled.var(-1, correction=1), torch.ones(1, 3), atol=1e-4, rtol=0)


def test_legacy_order_reads_layer_3c_plus_t() -> None:
    x = torch.arange(18.0).reshape(1, 3, 6, 1, 1)  # layer d * 6 + b of the stack
    shuffled = legacy_order(x)
    for t in range(3):
        for c in range(6):
            assert shuffled[0, t, c].item() == 3 * c + t
