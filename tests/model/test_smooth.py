"""The smooth ground that departures are from, against a slow reference and the exact surface."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm.model.smooth import FLOOR, LOWEST, SWEEPS, image_variance, smooth_fill

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def slow_fill(image: Floats, known: Bools) -> Floats:
    """One band of one date, pixel by pixel."""
    height, width = image.shape
    if max(image.shape) == 1:
        return np.where(known, image, 0.0)
    half = ((height + 1) // 2, (width + 1) // 2)
    coarse, coarse_known = np.zeros(half), np.zeros(half, bool)
    for row in range(half[0]):
        for col in range(half[1]):
            box = np.s_[2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
            if known[box].any():
                coarse[row, col] = image[box][known[box]].mean()
                coarse_known[row, col] = True
    found = enlarge(slow_fill(coarse, coarse_known), height, width)
    found = np.where(known, image, found)
    return relaxed(found, known)


def relaxed(image: Floats, known: Bools) -> Floats:
    """Chebyshev sweeps in their other form, with two images and no step (Varga 1962, 5.1)."""
    centre, radius = 1 + LOWEST / 2, 1 - LOWEST / 2
    before, now, omega = image, image, 1.0
    for sweep in range(SWEEPS):
        if sweep:
            omega = 1 / (1 - (radius / centre) ** 2 * omega / (2 if sweep == 1 else 4))
        drawn = now + (mean_of_neighbours(now) - now) / centre
        before, now = now, np.where(known, image, omega * (drawn - before) + before)
    return now


def mean_of_neighbours(image: Floats) -> Floats:
    wide = np.pad(image, 1, mode="edge")
    mean: Floats = (wide[1:-1, 2:] + wide[1:-1, :-2] + wide[2:, 1:-1] + wide[:-2, 1:-1]) / 4
    return mean


def harmonic(image: Floats, known: Bools) -> Floats:
    """The surface itself: every unknown pixel is the mean of its neighbours."""
    size = image.size
    columns = [mean_of_neighbours(unit.reshape(image.shape)).ravel() for unit in np.eye(size)]
    matrix = np.eye(size) - np.where(known.ravel()[:, None], 0.0, np.stack(columns, axis=1))
    surface: Floats = np.linalg.solve(matrix, np.where(known, image, 0.0).ravel())
    return surface.reshape(image.shape)


def enlarge(image: Floats, height: int, width: int) -> Floats:
    """Bilinear, pixel centres at their places on the ground."""

    def taps(size: int, small: int) -> Floats:
        matrix = np.zeros((size, small))
        for at in range(size):
            place = max((at + 0.5) * small / size - 0.5, 0.0)
            low = min(int(place), small - 1)
            high = min(low + 1, small - 1)
            matrix[at, low] += 1 - (place - low)
            matrix[at, high] += place - low
        return matrix

    large: Floats = taps(height, image.shape[0]) @ image @ taps(width, image.shape[1]).T
    return large


@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 99),
)
def test_it_is_the_slow_fill(height: int, width: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(size=(1, 2, 2, height, width))
    known = random.random((1, 2, height, width)) < share
    found = smooth_fill(torch.from_numpy(image), torch.from_numpy(known)).numpy()
    for date in range(2):
        for band in range(2):
            expected = slow_fill(image[0, date, band], known[0, date])
            np.testing.assert_allclose(found[0, date, band], expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_close_to_the_surface_itself(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.normal(size=(32, 32)).cumsum(axis=0).cumsum(axis=1)
    known = np.kron(random.random((4, 4)) < 0.4, np.ones((8, 8))) > 0
    known[:8, :8] = True
    surface = harmonic(image, known)
    filled = smooth_fill(
        torch.from_numpy(image)[None, None, None], torch.from_numpy(known)[None, None]
    )
    missed = np.abs(filled.numpy()[0, 0, 0] - surface)[~known]
    span = np.abs(image - surface)[~known]
    assert (missed**2).mean() < 0.02 * (span**2).mean()


def test_known_pixels_stay_and_hidden_ones_do_not_matter() -> None:
    x, known = torch.randn(2, 2, 3, 24, 24), torch.rand(2, 2, 24, 24) > 0.6
    filled = smooth_fill(x, known)
    where = known.unsqueeze(2)
    assert torch.equal(filled.masked_fill(~where, 0), x.masked_fill(~where, 0))
    assert torch.equal(filled, smooth_fill(torch.where(where, x, 1e6), known))


def test_a_flat_image_is_filled_flat() -> None:
    known = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    known[..., :8, 16:24] = True
    filled = smooth_fill(torch.full((1, 1, 2, 32, 32), 0.7), known)
    torch.testing.assert_close(filled, torch.full((1, 1, 2, 32, 32), 0.7))


def test_variances_are_of_the_chosen_pixels() -> None:
    x, where = torch.randn(2, 2, 3, 9, 7), torch.rand(2, 2, 9, 7) > 0.5
    found = image_variance(x, where)
    for sample in range(2):
        for date in range(2):
            for band in range(3):
                expected = x[sample, date, band][where[sample, date]].var(correction=0) + FLOOR
                assert found[sample, date, band].item() == pytest.approx(float(expected), rel=1e-5)
    nothing = image_variance(x, torch.zeros_like(where))
    assert torch.equal(nothing, torch.full((2, 2, 3, 1, 1), FLOOR))
