"""What an autoencoder saw, what it put in the hidden places, and how far off that is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch

from geofm.assess.rebuild import Rebuilt, rebuild_samples
from geofm.contract import PixelContract
from geofm.errors import SceneError
from geofm.model.mae import MaskedAutoencoder
from geofm.plot.ink import FAINT, INK, PALE, WIDTH, new_figure, picture_axes, save_figure
from geofm.scenes.picture import colours, composite, stretch
from geofm.tiles.dataset import TileDataset
from geofm.train.run_folder import Run

HIDDEN, SEEN, UNMEASURED = "#8a8a8a", "#f0f0f0", "#ffffff"
COLUMNS = ("scene", "what it saw", "rebuilt", "error")
GAP = 3  # white pixels between dates
SHOWN = 4  # the same samples each time, with the same places hidden

Image = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
_Number = TypeVar("_Number", np.bool_, np.float32)


def reconstructions(run: str | Path | Run, *, step: int | None = None) -> Figure:
    """What a pretraining rebuilt, as it drew it into its run folder.

    Args:
        run: the folder, such as ``encoder.run``.
        step: of the training; None for the last that was drawn.

    Raises:
        SceneError: there is no such picture.
    """
    folder = (run.folder if isinstance(run, Run) else Path(run)) / "pictures"
    drawn = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.png")}
    if not drawn or step not in (None, *drawn):
        steps = ", ".join(str(found) for found in sorted(drawn)) or "none"
        asked = "a picture" if step is None else f"one of step {step}"
        raise SceneError(
            f"{folder} has pictures of the steps {steps}; needed {asked}; give a run folder that "
            "geofm pretrain wrote, such as encoder.run"
        )
    image = imread(drawn[max(drawn) if step is None else step])
    figure = new_figure(WIDTH, WIDTH * image.shape[0] / image.shape[1])
    figure.set_layout_engine("none")
    figure.add_axes((0, 0, 1, 1)).imshow(image)
    figure.axes[0].set_axis_off()
    return figure


def draw_rebuilt(
    rebuilt: Rebuilt, contract: PixelContract, *, names: Sequence[str] = (), title: str = ""
) -> Figure:
    """A row an image: the scene, what was visible of it, the scene rebuilt, and the error.

    Dates stand side by side. A row has one stretch, that of its scene, so its three
    pictures can be compared; all errors have one scale, in reflectance. Rebuilt pictures
    keep the visible pixels as they are.

    Args:
        rebuilt: as `geofm.assess.rebuild.rebuild` gives it.
        contract: names the bands, and turns numbers back to reflectance.
        names: of the images.
        title: of the figure, such as the step of a training.
    """
    bands, named = composite(contract.bands)
    shown = [contract.bands.index(band) for band in bands]
    mean = np.asarray(contract.mean, np.float32)[:, None, None]
    std = np.asarray(contract.std, np.float32)[:, None, None]
    truth = rebuilt.image.cpu().numpy() * std + mean
    found = rebuilt.prediction.float().cpu().numpy() * std + mean
    valid, hidden = rebuilt.valid.cpu().numpy(), rebuilt.hidden.cpu().numpy()
    scored = valid & hidden
    error = np.abs(found - truth).mean(axis=2)  # (B, T, H, W)
    most = float(np.percentile(error[scored], 98)) if scored.any() else 1.0
    scale = Normalize(0, max(most, 1e-6))

    count, dates, height, width = valid.shape
    panel = 2.15
    tall = panel * height / (dates * width + GAP * (dates - 1))
    figure = new_figure(10, count * (tall + 0.25) + 0.75)
    rows = figure.subplots(count, len(COLUMNS), squeeze=False)
    for at, row in enumerate(rows):
        span = stretch(truth[at][:, shown], valid[at])
        clear = _side_by_side(colours(truth[at][:, shown], span), valid[at])
        full = np.where(scored[at][:, None], found[at], truth[at])
        seen = clear.copy()
        seen[_row(hidden[at] & valid[at])] = to_rgb(HIDDEN)
        filled = _side_by_side(colours(full[:, shown], span), valid[at])
        wrong = ScalarMappable(scale, "cividis").to_rgba(_row(error[at]))[..., :3]
        wrong[~_row(scored[at], fill=False)] = to_rgb(SEEN)
        wrong[~_row(valid[at], fill=True)] = to_rgb(UNMEASURED)
        for axes, image in zip(row, (clear, seen, filled, wrong), strict=True):
            axes.imshow(image, interpolation="nearest")
            picture_axes(axes)
        if names:
            row[0].set_ylabel(names[at], fontsize=8, color=FAINT)
        off = (
            f"{error[at][scored[at]].mean():.4f} on average" if scored[at].any() else "none hidden"
        )
        row[-1].set_xlabel(off, fontsize=8, color=FAINT, labelpad=2)
    for axes, name in zip(rows[0], COLUMNS, strict=True):
        axes.set_title(name, loc="left", fontsize=10, color=INK)
    bar = figure.colorbar(
        ScalarMappable(scale, "cividis"), ax=list(rows[:, -1]), shrink=min(1.0, 2.2 / count + 0.3)
    )
    bar.set_label("mean absolute error, reflectance", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, labelcolor=FAINT, color=PALE)
    bar.outline.set_visible(False)
    figure.suptitle("  ·  ".join(filter(None, (title, named))), x=0.01, ha="left", fontsize=10)
    figure.legend(
        handles=[
            Patch(facecolor=HIDDEN, label="hidden from the encoder"),
            Patch(facecolor=SEEN, edgecolor="#dddddd", label="seen: nothing to rebuild"),
            Patch(facecolor=UNMEASURED, edgecolor="#999999", label="not measured, not scored"),
        ],
        loc="outside lower left",
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )
    return figure


def save_look(
    folder: Path, step: int, mae: MaskedAutoencoder, dataset: TileDataset, contract: PixelContract
) -> Path:
    """Save ``pictures/step_000500.png`` in a run's folder: how a training is getting on.

    Raises:
        OutputError: it cannot be written.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    shown = range(min(SHOWN, len(dataset)))
    rebuilt = rebuild_samples(mae, dataset, contract, indexes=shown)
    figure = draw_rebuilt(rebuilt, contract, title=f"step {step:,}")
    return save_figure(figure, pictures / f"step_{step:06d}.png")


def _side_by_side(images: Image, valid: Bools) -> Image:
    """Dates (T, H, W, 3) in a row, what was not measured plain."""
    images = np.where(valid[..., None], images, np.array(to_rgb(UNMEASURED), np.float32))
    return _row(images, fill=1.0)


def _row(images: npt.NDArray[_Number], fill: float = 0) -> npt.NDArray[_Number]:
    """(T, H, W, ...) to (H, T * W + gaps, ...), gaps of ``fill``."""
    gap = np.full_like(images[0][:, :GAP], fill)
    parts = [images[0]]
    for image in images[1:]:
        parts += [gap, image]
    return np.concatenate(parts, axis=1)
