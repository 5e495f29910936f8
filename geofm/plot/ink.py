"""What all pictures share: ink, colours that the colour-blind can tell apart, saving."""

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geofm.errors import OutputError

INK, FAINT, PALE = "#222222", "#666666", "#cccccc"
# Okabe and Ito (2008), in the order in which they stay apart in grey as well.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKERS = ("o", "s", "^", "D", "v", "P")
"""As many: what colour says, shape says too."""


def new_figure(width: float, height: float) -> Figure:
    """A figure of inches; 10 wide fills a notebook's page."""
    return Figure(figsize=(width, height), layout="constrained")


def plain_axes(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> Axes:
    """Axes of a chart: two thin lines, a faint grid, names in ink."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color=PALE, labelcolor=FAINT)
    axes.grid(visible=True, color="#eeeeee", linewidth=0.8)
    axes.set_axisbelow(True)
    for name, side in axes.spines.items():
        side.set_visible(name in ("left", "bottom"))
        side.set_color(PALE)
    return axes


def plain_legend(axes: Axes, *, loc: Literal["best", "upper left"] = "best") -> None:
    """A legend without a frame."""
    axes.legend(loc=loc, frameon=False, fontsize=8, labelcolor=INK)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a picture, 150 dots an inch.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        figure.savefig(path, dpi=150, facecolor="white")
    except OSError as error:
        raise OutputError(
            f"cannot write {path} ({error.strerror}); choose another folder"
        ) from error
    return Path(path)
