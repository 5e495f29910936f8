"""Rebuilding unseen scenes: the fills do what they say, and all see and are scored on the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm.assess.fill import bilinear_fill, mean_fill
from geofm.assess.rebuild import rebuild, rebuild_score
from geofm.contract import PixelContract
from geofm.errors import SceneError
from geofm.model.encoder import Encoder, EncoderConfig
from geofm.model.mae import MaeConfig, MaskedAutoencoder
from geofm.scenes.open import open_scene
from geofm.tasks import SHARED_BANDS
from geofm.tiles.area import areas_of
from geofm.tiles.dataset import TileDataset, valid_spots
from geofm.tiles.statistics import measure_statistics
from geofm.train.inputs import contract_of, normalise_batch
from geofm.train.pretrain import hiding_noise


def small_mae(bands=6, dates=1, coordinates=(), **options) -> MaskedAutoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = EncoderConfig(
            bands=bands,
            dates=dates,
            image_size=32,
            patch_size=8,
            embed_dim=32,
            depth=1,
            num_heads=2,
            coordinates=coordinates,
        )
        small = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2}
        return MaskedAutoencoder(Encoder(shape), MaeConfig(**small | options)).eval()


def tiles(scenes, length=24):
    areas = areas_of(scenes, None)
    statistics = measure_statistics(areas)
    dataset = TileDataset(areas, valid_spots(areas, statistics.valid), size=32, length=length)
    return dataset, contract_of(areas, statistics)


def image(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_bilinear_surface_is_continued_exactly() -> None:
    rows, cols = torch.meshgrid(torch.arange(24.0), torch.arange(20.0), indexing="ij")
    x = (3 + 0.2 * rows - 0.1 * cols + 0.01 * rows * cols)[None, None, None]
    known = torch.ones(1, 1, 24, 20, dtype=torch.bool)
    known[..., 4:15, 3:9] = False
    known[..., 17:19, 12:18] = False
    torch.testing.assert_close(bilinear_fill(x, known), x, atol=2e-2, rtol=0)


@given(st.integers(0, 99), st.booleans(), st.floats(0.1, 0.9))
@settings(max_examples=12)
def test_the_fill_solves_laplaces_equation(seed: int, through_time: bool, share: float) -> None:
    x = image(2, 2, 2, 6, 5, seed=seed)
    known = torch.rand(2, 2, 6, 5, generator=torch.Generator().manual_seed(seed)) < share
    filled = bilinear_fill(x, known, through_time=through_time)
    seen = known.unsqueeze(2).expand_as(x)
    torch.testing.assert_close(filled[seen], x[seen], atol=1e-5, rtol=0)
    # By a dense solver, one system an image and band, in departures from each date's mean.
    base = mean_fill(x, known)
    for b in range(2):
        for c in range(2):
            wanted = dense(x[b, :, c] - base[b, :, c], known[b], through_time=through_time)
            torch.testing.assert_close(filled[b, :, c], wanted + base[b, :, c], atol=1e-2, rtol=0)


def dense(x, known, *, through_time):
    """(T, H, W): known as they are, others the mean of their neighbours."""
    index = torch.arange(x.numel()).reshape(x.shape)
    matrix = torch.zeros(x.numel(), x.numel(), dtype=torch.float64)
    for axis in (0, 1, 2) if through_time else (1, 2):
        length = x.shape[axis]
        a = index.narrow(axis, 0, length - 1).flatten()
        b = index.narrow(axis, 1, length - 1).flatten()
        for i, j in [*zip(a, b, strict=True), *zip(b, a, strict=True)]:
            matrix[i, i] += 1
            matrix[i, j] -= 1
    seen = known.flatten()
    matrix[seen] = torch.eye(x.numel(), dtype=torch.float64)[seen]
    right = torch.where(seen, x.flatten().double(), 0.0)
    # A date without any known pixel has no equation that sets its height: the least one is 0.
    return (
        torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution.reshape(x.shape).float()
    )


def test_means_are_of_the_visible_alone() -> None:
    x = image(1, 2, 3, 4, 4)
    known = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    known[0, 0, :2] = True
    filled = mean_fill(x, known)
    wanted = x[0, 0, :, :2].mean(dim=(1, 2))
    # The second date shows nothing: the first stands in.
    for date in range(2):
        torch.testing.assert_close(filled[0, date], wanted[:, None, None].expand(3, 4, 4))
    assert not mean_fill(x, torch.zeros_like(known)).any()


@pytest.mark.parametrize("fill", [mean_fill, bilinear_fill])
def test_hidden_pixels_do_not_reach_a_fill(fill) -> None:
    x = image(2, 1, 3, 16, 16)
    known = torch.rand(2, 1, 16, 16) > 0.5
    other = torch.where(known.unsqueeze(2), x, image(2, 1, 3, 16, 16, seed=1) * 100)
    assert torch.equal(fill(x, known), fill(other, known))


@pytest.mark.parametrize("target", ["pixels", "patches", "departures"])
@pytest.mark.parametrize("dates", [1, 3])
def test_the_score_is_the_loss_of_training(make_scene, target, dates) -> None:
    """Weighted by hidden valid pixels, the score is the mean of the losses."""
    dataset, contract = tiles([open_scene(make_scene(dates=dates))])
    mae = small_mae(dates=dates, target=target)
    score = rebuild_score(mae, dataset, contract, seed=3, batch_size=5)
    total = pixels = 0.0
    for i in range(len(dataset)):
        sample = dataset[i]
        batch = type(sample)(*(part[None] for part in sample))
        x = normalise_batch(batch, contract)
        tokens = dates * 16
        output = mae(x, batch.valid, hiding_noise(batch.number, tokens=tokens, seed=3))
        found = rebuild(
            mae, x, batch.valid, noise=hiding_noise(batch.number, tokens=tokens, seed=3)
        )
        count = int(found.scored.sum())
        total, pixels = total + output.loss.item() * count, pixels + count
    assert score.error == pytest.approx(total / pixels, rel=1e-5)
    assert score.pixels == pixels
    assert len(score.fills) == 2 + (dates > 1) + (target == "departures")
    assert str(score).startswith("rebuilt")


def test_one_that_has_learnt_nothing_comes_to_the_fill_it_departs_from(make_scene) -> None:
    dataset, contract = tiles([open_scene(make_scene())])
    mae = small_mae(target="departures")
    torch.nn.init.zeros_(mae.decoder.decoder_pred.weight)
    torch.nn.init.zeros_(mae.decoder.decoder_pred.bias)
    score = rebuild_score(mae, dataset, contract)
    fill = next(fill for fill in score.fills if fill.name == "the fill it departs from")
    assert fill.error == pytest.approx(score.error)
    assert fill.gain == pytest.approx(0, abs=1e-9)


def test_an_encoder_that_reads_coordinates_is_told_them(make_scene, monkeypatch) -> None:
    """As in training: nothing would be scored as it was learnt without them."""
    from geofm.assess import rebuild as room

    dataset, contract = tiles([open_scene(make_scene(dates=2))], 2)
    told = []
    right = room.rebuild

    def spy(*given, coordinates, **options):
        told.append(coordinates)
        return right(*given, coordinates=coordinates, **options)

    monkeypatch.setattr(room, "rebuild", spy)
    rebuild_score(small_mae(dates=2, coordinates=("time",)), dataset, contract)
    assert told[0].where is None
    assert told[0].when.tolist() == [dataset[i].when.tolist() for i in range(2)]


def test_a_perfect_autoencoder_takes_all_error_away(make_scene, monkeypatch) -> None:
    from geofm.assess import rebuild as room

    dataset, contract = tiles([open_scene(make_scene(f"{i}.tif", seed=i)) for i in range(12)], 96)
    right = room.rebuild

    def perfect(mae, x, valid, **options):
        found = right(mae, x, valid, **options)
        return found._replace(prediction=found.image.clone())

    monkeypatch.setattr(room, "rebuild", perfect)
    score = rebuild_score(small_mae(), dataset, contract)
    assert score.error == 0
    assert score.groups == 12
    for fill in score.fills:
        assert (fill.gain, fill.gain_interval) == (1, (1, 1))
        assert fill.interval is not None
        assert fill.interval[0] < fill.error < fill.interval[1]
    assert "drawing 12 groups" in score.note
    # Four places of three scenes each: too few to say how they spread.
    few = rebuild_score(small_mae(), dataset, contract, groups=[str(i // 3) for i in range(12)])
    assert few.groups == 4
    assert few.interval is None
    assert "no interval: 4 groups" in few.note
    assert [fill.error for fill in few.fills] == pytest.approx([f.error for f in score.fills])


def test_scoring_leaves_the_mode_of_training(make_scene) -> None:
    dataset, contract = tiles([open_scene(make_scene())], 2)
    mae = small_mae().train()
    rebuild_score(mae, dataset, contract)
    assert mae.training


def test_nothing_to_score_is_said(array_of_nothing) -> None:
    dataset, contract = array_of_nothing
    with pytest.raises(SceneError, match="no hidden pixel"):
        rebuild_score(small_mae(), dataset, contract)


@pytest.fixture
def array_of_nothing(make_scene):
    scene = open_scene(make_scene())
    dataset, contract = tiles([scene], 2)

    class Blind:
        areas = dataset.areas

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return dataset[index]._replace(valid=torch.zeros(1, 32, 32, dtype=torch.bool))

        def draw(self, index):
            return dataset.draw(index)

    return Blind(), contract


def test_units_are_those_of_training_pixels(make_scene) -> None:
    """Their mean everywhere has an error of about 1."""
    dataset, contract = tiles([open_scene(make_scene(height=200, width=200))], 40)
    assert contract == PixelContract(
        SHARED_BANDS, "surface", contract.mean, contract.std, contract.resolution
    )
    squares = [
        float(normalise_batch(dataset[i], contract)[:, :, dataset[i].valid[0]].square().mean())
        for i in range(40)
    ]
    assert np.mean(squares) == pytest.approx(1, abs=0.3)
