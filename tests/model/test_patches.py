import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.errors import ModelError
from geofm.model.patches import Positions, patchify, position_table, take_tokens, unpatchify


@given(
    grid=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    tubelet=st.integers(1, 3),
    patch_size=st.integers(1, 5),
    bands=st.integers(1, 4),
    batch=st.integers(1, 3),
)
@settings(max_examples=50, deadline=None)
def test_unpatchify_undoes_patchify(
    grid: tuple[int, int, int], tubelet: int, patch_size: int, bands: int, batch: int
) -> None:
    t, h, w = grid
    shape = (batch, t * tubelet, bands, h * patch_size, w * patch_size)
    x = torch.arange(torch.Size(shape).numel()).reshape(shape)
    patches = patchify(x, patch_size=patch_size, tubelet=tubelet)
    assert patches.shape == (batch, t * h * w, tubelet * patch_size**2 * bands)
    assert torch.equal(unpatchify(patches, grid, patch_size=patch_size, tubelet=tubelet), x)


def test_a_patch_vector_runs_by_date_row_column_and_band() -> None:
    x = torch.arange(4 * 3 * 6 * 4).reshape(1, 4, 3, 6, 4)
    patches = patchify(x, patch_size=2, tubelet=2)
    token = 1 * (3 * 2) + 2 * 2 + 1  # second pair of dates, third row, second column
    place = ((1 * 2 + 0) * 2 + 1) * 3 + 2  # its second date, upper right, third band
    assert patches[0, token, place] == x[0, 3, 2, 4, 3]


@pytest.mark.parametrize("shape", [(1, 1, 2, 9, 8), (1, 1, 2, 8, 9), (1, 3, 2, 8, 8)])
def test_a_side_that_is_no_multiple_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="needs multiples of 2 dates and 4 px; pad it"):
        patchify(torch.zeros(shape), patch_size=4, tubelet=2)


def test_every_place_has_its_own_code_and_the_channels_their_axis() -> None:
    table = position_table(32, (2, 3, 4)).reshape(2, 3, 4, 32)
    assert len(torch.unique(table.reshape(-1, 32), dim=0)) == 24
    assert (table[..., :12] == table[:1, :1, :, :12]).all(), "columns alone"
    assert (table[..., 12:24] == table[:1, :, :1, 12:24]).all(), "rows alone"
    assert (table[..., 24:] == table[:, :1, :1, 24:]).all(), "dates alone"


def test_more_dates_follow_the_formula_and_more_pixels_resize_the_code() -> None:
    positions = Positions(16, (2, 3, 3))
    assert torch.equal(positions((5, 3, 3)), position_table(16, (5, 3, 3)))
    wide = positions((2, 3, 5)).reshape(2, 3, 5, 16)
    built = positions((2, 3, 3)).reshape(2, 3, 3, 16)
    # align_corners: every second of five columns falls on one of the three built.
    torch.testing.assert_close(wide[:, :, ::2], built)
    assert not torch.allclose(wide[0, 0, 1], position_table(16, (2, 3, 5))[0, 1])


def test_positions_are_no_weights_and_real_on_the_meta_device() -> None:
    with torch.device("meta"):
        positions = Positions(16, (1, 2, 2))
    assert not positions.state_dict()
    assert torch.equal(positions((1, 2, 2)), position_table(16, (1, 2, 2)))


def test_the_position_code_needs_a_width_of_sixteens() -> None:
    with pytest.raises(ModelError, match="embed_dim is 24; the position code needs a multiple"):
        position_table(24, (1, 2, 2))


def test_take_tokens() -> None:
    tokens = torch.arange(12).reshape(1, 4, 3)
    taken = take_tokens(tokens, torch.tensor([[3, 0], [1, 1]]))
    assert taken[:, :, 0].tolist() == [[9, 0], [3, 3]]
