import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geofm.errors import ModelError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.mae import MaeConfig, MaskedAutoencoder, Target, choose_visible


def small_mae(**options: object) -> MaskedAutoencoder:
    encoder = EncoderConfig(
        bands=2, dates=2, image_size=16, patch_size=4, embed_dim=16, depth=1, num_heads=2
    )
    small = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return MaskedAutoencoder(Encoder(encoder), MaeConfig(**small | options))  # type: ignore[arg-type]


def gradients(mae: MaskedAutoencoder, x: Tensor, valid: Tensor, noise: Tensor) -> list[Tensor]:
    mae.zero_grad()
    loss = mae(x, valid, noise).loss
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in mae.parameters() if p.grad is not None)]


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
@pytest.mark.parametrize("number", [0.0, 1e30, -9999.0, float("nan"), float("inf")])
def test_an_invalid_pixel_set_to_any_number_moves_nothing(number: float, target: Target) -> None:
    mae = small_mae(target=target)
    x = torch.randn(3, 2, 2, 16, 16)
    valid = torch.rand(3, 2, 16, 16) > 0.3
    valid[0, :, :9] = False
    noise = torch.rand(3, 32)
    first = gradients(mae, x, valid, noise)
    second = gradients(mae, x.masked_fill(~valid.unsqueeze(2), number), valid, noise)
    assert first[0].isfinite()
    assert len(first) == 1 + len(list(mae.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
def test_no_valid_pixel_gives_no_loss_and_finite_gradients(target: Target) -> None:
    mae = small_mae(target=target)
    x = torch.full((2, 2, 2, 16, 16), torch.nan)
    loss, *grads = gradients(mae, x, torch.zeros(2, 2, 16, 16, dtype=torch.bool), torch.rand(2, 32))
    assert loss == 0
    assert all(not g.any() for g in grads)


@given(
    batch=st.integers(1, 4),
    tokens=st.integers(2, 40),
    mask_ratio=st.floats(0.05, 0.95),
    empty=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_empty_patches_are_neither_seen_nor_rebuilt(
    batch: int, tokens: int, mask_ratio: float, empty: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    measured = torch.rand(batch, tokens, 1, generator=draw) >= empty
    noise = torch.rand(batch, tokens, generator=draw)
    visible, hidden = choose_visible(noise, measured, mask_ratio=mask_ratio)
    assert visible.shape == (batch, int(tokens * (1 - mask_ratio)))
    for sample in range(batch):
        seen = set(visible[sample].tolist())
        full = {i for i in range(tokens) if measured[sample, i]}
        rebuilt = {i for i in range(tokens) if hidden[sample, i]}
        assert len(seen) == visible.shape[1]
        if len(full) < len(seen):
            assert not rebuilt
            continue
        assert seen <= full
        assert rebuilt == full - seen
        assert all(noise[sample, i] <= noise[sample, j] for i in seen for j in rebuilt)


@given(
    dates=st.integers(1, 4),
    places=st.integers(2, 20),
    mask_ratio=st.floats(0.05, 0.95),
    empty=st.floats(0, 0.6),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_tube_is_hidden_on_all_dates_or_on_none(
    dates: int, places: int, mask_ratio: float, empty: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    measured = torch.rand(1, dates * places, 1, generator=draw) >= empty
    noise = torch.rand(1, dates * places, generator=draw)
    visible, hidden = choose_visible(noise, measured, mask_ratio=mask_ratio, tubes=dates)
    seen = torch.zeros(dates * places, dtype=torch.bool)
    seen[visible[0]] = True
    seen, rebuilt = seen.reshape(dates, places), hidden[0].reshape(dates, places)
    full = measured[0, :, 0].reshape(dates, places)
    assert seen.eq(seen[0]).all()
    assert seen[0].sum() == int(places * (1 - mask_ratio))
    if full.all(0).sum() < seen[0].sum():
        assert not rebuilt.any()
    else:
        assert full[seen].all()
        assert rebuilt.equal(full & ~seen)


@pytest.mark.parametrize("masking", ["random", "tube"])
def test_a_sample_that_lacks_patches_to_see_teaches_nothing(masking: str) -> None:
    mae = small_mae(masking=masking)
    x, noise = torch.randn(2, 2, 2, 16, 16), torch.rand(2, 32)
    valid = torch.ones(2, 2, 16, 16, dtype=torch.bool)
    alone = gradients(mae, x[:1], valid[:1], noise[:1])
    valid[1] = False
    valid[1, :, :4, :8] = True  # two of sixteen places; four are to be seen
    both = gradients(mae, x, valid, noise)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone, both, strict=True))


def test_noise_follows_its_generator() -> None:
    mae = small_mae().eval()
    x, valid = torch.randn(2, 2, 2, 16, 16), torch.ones(2, 2, 16, 16, dtype=torch.bool)

    def hidden(seed: int) -> Tensor:
        torch.rand(1)  # the global state has no say
        return mae(x, valid, generator=torch.Generator().manual_seed(seed)).hidden

    assert torch.equal(hidden(1), hidden(1))
    assert not torch.equal(hidden(1), hidden(2))
    assert (hidden(1).sum(dim=1) == 24).all()


def test_it_learns() -> None:
    mae = small_mae(mask_ratio=0.5)
    x = torch.linspace(-1, 1, 16).expand(4, 2, 2, 16, 16).clone()
    valid, noise = torch.ones(4, 2, 16, 16, dtype=torch.bool), torch.rand(4, 32)
    optimiser = torch.optim.AdamW(mae.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = mae(x, valid, noise).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_forward_is_one_graph() -> None:
    mae = small_mae().eval()
    x, valid, noise = (
        torch.randn(2, 2, 2, 16, 16),
        torch.rand(2, 2, 16, 16) > 0.2,
        torch.rand(2, 32),
    )
    graph = torch.compile(mae, backend="eager", fullgraph=True)
    with torch.inference_mode():
        assert torch.equal(graph(x, valid, noise).loss, mae(x, valid, noise).loss)


def test_float32_loss_under_autocast() -> None:
    mae = small_mae(target="patches")
    x, valid, noise = (
        torch.randn(2, 2, 2, 16, 16),
        torch.rand(2, 2, 16, 16) > 0.2,
        torch.rand(2, 32),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = mae(x, valid, noise).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(mae(x, valid, noise).loss.item(), rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio is 1.0; it can be between 0 and 1"),
        ({"decoder_heads": 3}, "decoder_dim is 16; it needs a multiple of decoder_heads, 3"),
        ({"decoder_dim": 24}, "embed_dim is 24; the position code needs a multiple of 16"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small_mae(**options)
