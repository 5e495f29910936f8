"""What all pictures share: ink, colours that the colour-blind can tell apart, showing, saving."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geofm.errors import OutputError

INK, FAINT, PALE = "#222222", "#666666", "#cccccc"
# Okabe and Ito (2008), in the order in which they stay apart in grey as well.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
MARKERS = ("o", "s", "^", "D", "v", "P")
"""As many: what colour says, shape says too."""


WIDTH, DPI = 9.0, 100
"""Inches that fill a notebook's page, and its dots an inch."""


class Picture(Figure):
    """A figure that a notebook shows where it is a cell's last line, whatever the backend."""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        # Notebooks are stored with their pictures: photographs are small as JPEG, charts as PNG.
        stored = {f"image/{kind}": self._encoded(kind) for kind in ("png", "jpeg")}
        kind = min(stored, key=lambda name: len(stored[name]))
        display({kind: stored[kind], "text/plain": str(self)}, raw=True)  # type: ignore[no-untyped-call]

    def _encoded(self, kind: str) -> bytes:
        memory = BytesIO()
        FigureCanvasAgg(self).print_figure(memory, format=kind, dpi=DPI, facecolor="white")
        return memory.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """A figure of inches."""
    return Picture(figsize=(width, height), dpi=DPI, layout="constrained")


def canvas(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw into: those given, or those of a new figure of inches."""
    return new_figure(width, height).subplots() if ax is None else ax


def figure_of(axes: Axes) -> Figure:
    """The figure that axes stand in, at the top."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes that draw have a figure"
    return figure


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


def picture_axes(axes: Axes, *, title: str = "") -> Axes:
    """Axes of an image: a thin frame, no ticks."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_color(PALE)
    return axes


def swatches(axes: Sequence[Axes], marks: Sequence[tuple[str, str]]) -> None:
    """A legend of (colour, text) below: of the whole figure, or of the only axes."""
    handles = [Patch(facecolor=color, edgecolor="#999999", label=text) for color, text in marks]
    figure = figure_of(axes[0])
    style = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 1.4}
    if len(figure.axes) == len(axes):
        most = max(int(figure.get_figwidth() / 1.8), 1)
        figure.legend(
            handles=handles, loc="outside lower left", ncols=min(len(handles), most), **style
        )
    else:  # one of several pictures of somebody's figure
        axes[0].legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0, -0.01),
            borderaxespad=0,
            ncols=min(len(handles), 2),
            **style,
        )


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
