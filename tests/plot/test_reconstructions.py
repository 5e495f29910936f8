"""Pictures of rebuilding: one stretch a row, visible pixels kept, what is not valid plain."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from geofm import plot
from geofm.assess.rebuild import Rebuilt
from geofm.contract import PixelContract
from geofm.errors import SceneError
from geofm.plot.ink import save_figure
from geofm.plot.rebuilt import GAP, draw_rebuilt
from geofm.scenes.open import open_scene
from geofm.tasks import SHARED_BANDS


def made(count=2, dates=1, side=16, **changes):
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(count, dates, 6, side, side, generator=draw)
    valid = torch.ones(count, dates, side, side, dtype=torch.bool)
    valid[..., :4, :4] = False
    hidden = torch.zeros_like(valid)
    hidden[..., side // 2 :] = True
    parts = {"image": image, "valid": valid, "hidden": hidden, "prediction": image + 0.5}
    return Rebuilt(**parts | changes)


def contract(dates=1):
    return PixelContract(SHARED_BANDS, "surface", (0.2,) * 6, (0.1,) * 6, 30.0, dates)


def shown(figure):
    """The four images of each row."""
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    return [images[i : i + 4] for i in range(0, len(images), 4)]


def test_visible_pixels_stay_and_errors_are_reflectance() -> None:
    rows = shown(draw_rebuilt(made(), contract()))
    assert len(rows) == 2
    for scene, seen, rebuilt, error in rows:
        assert scene.shape == (16, 16, 3)
        np.testing.assert_array_equal(scene[:, :8], rebuilt[:, :8])
        np.testing.assert_array_equal(scene[:, :8], seen[:, :8])
        assert seen[4:, 8:].std(axis=(0, 1)).max() < 1e-5  # hidden is one grey
        assert (scene[:4, :4] == 1).all()  # what was not measured is white everywhere
        assert (rebuilt[:4, :4] == 1).all()
        assert (error[:4, :4] == 1).all()
        # Half a deviation of 0.1 is off by 0.05 everywhere.
        assert np.ptp(error[:, 8:], axis=(0, 1)).max() < 0.02  # neighbours on the scale
    figure = draw_rebuilt(made(), contract())
    assert "0.0500 on average" in [axes.get_xlabel() for axes in figure.axes]
    assert "mean absolute error, reflectance" in [axes.get_ylabel() for axes in figure.axes]


def test_a_perfect_autoencoder_shows_the_scene() -> None:
    perfect = made()
    perfect = perfect._replace(prediction=perfect.image)
    for scene, _, rebuilt, _ in shown(draw_rebuilt(perfect, contract())):
        np.testing.assert_array_equal(scene, rebuilt)


def test_dates_stand_side_by_side() -> None:
    for row in shown(draw_rebuilt(made(dates=3), contract(3))):
        for image in row:
            assert image.shape == (16, 3 * 16 + 2 * GAP, 3)


@pytest.mark.parametrize("what", ["valid", "hidden"])
def test_nothing_valid_or_nothing_hidden(what, tmp_path) -> None:
    empty = made()
    empty = empty._replace(**{what: torch.zeros_like(empty.valid)})
    path = save_figure(draw_rebuilt(empty, contract(), names=["a", "b"]), tmp_path / "x.png")
    assert imread(path).shape[1] == 1500


@pytest.mark.slow
def test_a_run_has_pictures(make_scene, tmp_path) -> None:
    import geofm
    from geofm.train.run_folder import Run

    config = geofm.PretrainConfig(
        steps=4,
        batch_size=2,
        encoder=geofm.EncoderShape(image_size=32, patch_size=8, embed_dim=32, depth=1, num_heads=2),
        decoder_dim=32,
        decoder_depth=1,
        decoder_heads=2,
    )
    run = Run(folder=tmp_path / "e.run")
    geofm.pretrain([open_scene(make_scene())], config, run=run)
    pictures = sorted(path.name for path in (Path(run.folder) / "pictures").iterdir())
    assert pictures[-1] == "step_000004.png"
    (shown,) = plot.reconstructions(run.folder).axes
    drawn = imread(Path(run.folder) / "pictures" / "step_000004.png")
    np.testing.assert_array_equal(shown.images[0].get_array(), drawn)
    with pytest.raises(SceneError, match=r"needed one of step 9"):
        plot.reconstructions(run, step=9)
