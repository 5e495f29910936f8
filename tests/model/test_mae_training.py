"""The training step against a plain one that rebuilds every token and then looks away."""

from itertools import product
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geofm.model.coordinates import Coordinates
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.mae import MaeConfig, MaskedAutoencoder, Target, others
from geofm.model.patches import patchify, unpatchify
from geofm.model.smooth import smooth_fill


def small_mae(
    *,
    dates: int = 2,
    target: Target = "pixels",
    masking: Literal["random", "tube"] = "random",
) -> MaskedAutoencoder:
    encoder = EncoderConfig(
        bands=3,
        dates=dates,
        image_size=16,
        patch_size=4,
        embed_dim=32,
        depth=2,
        num_heads=2,
        coordinates=("time", "location"),
    )
    options = MaeConfig(
        decoder_dim=16,
        decoder_depth=3,
        decoder_heads=2,
        target=target,
        masking=masking,
    )
    return MaskedAutoencoder(Encoder(encoder), options).train()


def batch(size: int, dates: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, validity with an empty corner, noise."""
    valid = torch.rand(size, dates, 16, 16) > 0.2
    valid[0, 0, :6, :9] = False
    return torch.randn(size, dates, 3, 16, 16), valid, torch.rand(size, 16 * dates)


def plain_loss(
    mae: MaskedAutoencoder, x: Tensor, valid: Tensor, noise: Tensor, codes: Coordinates | None
) -> Tensor:
    """Patch by patch; the decoder answers for every token."""
    x = x.masked_fill(~valid.unsqueeze(2), 0.0)
    visible, hidden, _ = mae.hide(valid, noise)
    tokens = mae.encoder.forward_visible(x, visible, codes)
    prediction = mae.decoder(tokens, visible, mae.encoder.token_grid(x), codes)
    target, measured = patchify(x, patch_size=4), patchify(valid.unsqueeze(2), patch_size=4)
    base, spread, weight = (torch.ones_like(target) for _ in range(3))
    if mae.config.target == "departures":
        known = valid.clone()
        for sample in range(len(x)):
            for token in range(hidden.shape[1]):
                if token not in visible[sample].tolist():
                    date, row, col = token // 16, token % 16 // 4 * 4, token % 4 * 4
                    known[sample, date, row : row + 4, col : col + 4] = False
        shape = (*x.shape[:3], 1, 1)
        deviation, importance = torch.zeros(shape), torch.zeros(shape)
        for index in product(*map(range, x.shape[:3])):
            seen = x[index][known[index[:2]]]
            # Nothing seen: the least spread there is.
            variance = seen.var(correction=0) if len(seen) else torch.zeros(())
            deviation[index] = (variance + 0.01).sqrt()
            importance[index] = 1 / (x[index][valid[index[:2]]].var(correction=0) + 0.01)
        parts = (smooth_fill(x, known), deviation.expand_as(x), importance.expand_as(x))
        base, spread, weight = (patchify(part, patch_size=4) for part in parts)
        prediction = base + prediction * spread
    total, count = torch.zeros(()), 0
    for sample in range(len(x)):
        for token in hidden[sample].nonzero().flatten().tolist():
            counts = measured[sample, token]
            wanted = target[sample, token].reshape(16, 3)[counts]
            if mae.config.target == "patches":
                wanted = (wanted - wanted.mean()) / (wanted.var() + 1e-6).sqrt()
            rebuilt = prediction[sample, token].reshape(16, 3)[counts]
            error = (rebuilt - wanted).square() * weight[sample, token].reshape(16, 3)[counts]
            total = total + error.mean(dim=-1).sum()
            count += int(counts.sum())
    return total / count


def gradients(mae: MaskedAutoencoder, loss: Tensor) -> dict[str, Tensor]:
    mae.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in mae.named_parameters() if p.grad is not None}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        gap = (gradient - second[name]).abs().max()
        assert gap <= 1e-5 * max(second[name].abs().max().item(), 1e-3), name


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
@pytest.mark.parametrize("dates", [1, 2])
def test_a_step_is_that_of_rebuilding_everything(dates: int, target: Target, told: bool) -> None:
    mae = small_mae(dates=dates, target=target)
    x, valid, noise = batch(3, dates)
    when = torch.tensor([2020.0, 100.0]).expand(3, dates, 2)
    codes = Coordinates(when, torch.tensor([[52.0, 13.0]]).expand(3, 2)) if told else None
    found = mae(x, valid, noise, coordinates=codes)
    assert found.prediction.shape == (3, 12 * dates, 48)
    expected = plain_loss(mae, x, valid, noise, codes)
    torch.testing.assert_close(found.loss, expected, rtol=1e-5, atol=0)
    same(gradients(mae, found.loss), gradients(mae, expected))


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
def test_parts_that_share_a_count_add_up(target: Target) -> None:
    mae = small_mae(target=target)
    x, valid, noise = batch(4, 2)
    valid[3] = False  # a part's last sample has nothing to count
    whole = mae(x, valid, noise).loss
    expected = gradients(mae, whole)
    count = mae.hide(valid, noise).scored
    parts = [
        mae(x[part], valid[part], noise[part], count=count)
        for part in (slice(0, 1), slice(1, 3), slice(3, 4))
    ]
    loss = torch.stack([part.loss for part in parts]).sum()
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=0)
    same(gradients(mae, loss), expected)


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
def test_evaluation_rebuilds_all_to_the_same_loss(target: Target) -> None:
    mae = small_mae(target=target)
    x, valid, noise = batch(3, 2)
    trained = mae(x, valid, noise)
    evaluated = mae.eval()(x, valid, noise)
    torch.testing.assert_close(trained.loss, evaluated.loss, rtol=1e-5, atol=0)
    assert torch.equal(trained.hidden, evaluated.hidden)
    places = others(mae.hide(valid, noise).visible, 32)
    for sample in range(3):
        torch.testing.assert_close(
            trained.prediction[sample], evaluated.prediction[sample, places[sample]]
        )


def test_tokens_hidden_by_the_caller_are_the_ones_rebuilt() -> None:
    mae = small_mae()
    x, valid, noise = batch(3, 2)
    drawn = mae.hide(valid, noise)
    hidden = torch.ones(3, 32, dtype=torch.bool).scatter(1, drawn.visible, False)
    first, second = mae(x, valid, noise), mae(x, valid, hidden=hidden)
    torch.testing.assert_close(first.loss, second.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(first.prediction, second.prediction)
    assert torch.equal(mae.hide(valid, hidden=hidden).scored, drawn.scored)


@pytest.mark.parametrize("dates", [1, 2])
def test_tubes_hide_the_same_places_on_all_dates(dates: int) -> None:
    mae = small_mae(dates=dates, masking="tube")
    _, _, noise = batch(3, dates)
    hidden = mae.hide(torch.ones(3, dates, 16, 16, dtype=torch.bool), noise).hidden
    by_date = hidden.reshape(3, dates, 16)
    assert torch.equal(by_date, by_date[:, :1].expand_as(by_date))
    assert (hidden.sum(dim=1) == 12 * dates).all()


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 99), st.data())
@settings(max_examples=40)
def test_others_are_all_that_are_not_visible(
    size: int, tokens: int, seed: int, data: st.DataObject
) -> None:
    seen = data.draw(st.integers(0, tokens))
    draw = torch.Generator().manual_seed(seed)
    visible = torch.stack([torch.randperm(tokens, generator=draw)[:seen] for _ in range(size)])
    found = others(visible, tokens)
    for sample in range(size):
        expected = sorted(set(range(tokens)) - set(visible[sample].tolist()))
        assert found[sample].tolist() == expected


@pytest.mark.slow
def test_training_is_one_graph() -> None:
    mae = small_mae()
    x, valid, noise = batch(2, 2)
    graph = torch.compile(mae, backend="eager", fullgraph=True)
    count = torch.tensor(900.0, dtype=torch.float64)
    assert torch.equal(
        graph(x, valid, noise, count=count).loss, mae(x, valid, noise, count=count).loss
    )


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
def test_what_is_hidden_changes_nothing_that_is_rebuilt(target: Target) -> None:
    mae = small_mae(target=target).eval()
    x, valid, noise = batch(3, 2)
    visible = mae.hide(valid, noise).visible
    tokens = torch.zeros(3, 32, dtype=torch.bool).scatter(1, visible, True)
    seen = unpatchify(tokens.unsqueeze(-1).expand(-1, -1, 16 * 3), (2, 4, 4), patch_size=4)
    other = torch.where(seen, x, 100 * torch.randn_like(x))
    with torch.inference_mode():
        assert torch.equal(mae(x, valid, noise).prediction, mae(other, valid, noise).prediction)
