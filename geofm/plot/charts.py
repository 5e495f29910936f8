"""Charts of what geofm measures: training, scores by labels, reliability, confusion, areas.

Each function returns a figure; with ``ax`` it draws into these axes instead, and returns
their figure.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from geofm.assess.area import AreaEstimate
from geofm.assess.curve_rows import METHOD_NAMES, CurvePoint, LabelCurve, points_of
from geofm.assess.curve_rows import read_rows as read_curve
from geofm.assess.evaluate import Evaluation
from geofm.assess.reliability import Bin
from geofm.errors import SceneError
from geofm.plot.ink import (
    COLORS,
    FAINT,
    INK,
    MARKERS,
    PALE,
    WIDTH,
    canvas,
    figure_of,
    new_figure,
    plain_axes,
    plain_legend,
)
from geofm.train.run_folder import Run, read_rows

METRICS = "metrics.csv"
_ESTIMATED = "estimated, with 95 % interval"
_COUNTED: dict[str, Any] = {
    "marker": "D",
    "linestyle": "",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgecolor": COLORS[1],
    "markeredgewidth": 1.5,
}


def curve(
    source: str | Path | Run | LabelCurve, *, title: str = "", ax: Axes | None = None
) -> Figure:
    """How a training went, or what labels brought.

    Args:
        source: a run folder (``NAME.run``) or its ``metrics.csv``: the loss by step, and the
            validation score; or what `geofm.label_curve` returned, or its CSV file: mean IoU by
            number of labels, with 95 % intervals over seeds.
        title: over the chart.
        ax: to draw into.

    Raises:
        SceneError: there is no such file.
        OutputError: the CSV file is neither.
    """
    if isinstance(source, LabelCurve):
        return label_curve(source.points, unit=source.unit, title=title, ax=ax)
    path = source.folder if isinstance(source, Run) else Path(source)
    path = path / METRICS if path.is_dir() else path
    if not path.is_file():
        raise SceneError(
            f"there is no {path}; give a run folder that holds {METRICS}, or the CSV file of a "
            "label curve"
        )
    if path.name != METRICS:
        return label_curve(points_of(read_curve(path)), title=title, ax=ax)
    rows = read_rows(path)
    return loss_curve(
        [row.step for row in rows],
        [row.loss for row in rows],
        scores={row.step: row.score for row in rows if row.score is not None},
        title=title,
        ax=ax,
    )


def reliability(score: Evaluation, *, title: str = "", ax: Axes | None = None) -> Figure:
    """How often a map is right where it is so sure: on the diagonal, it is as sure as right.

    Args:
        score: what `geofm.evaluate` returned; bars are two standard errors.
        title: before the expected calibration error.
        ax: to draw into.
    """
    found = score.reliability
    return reliability_diagram(found.bins, error=found.ece, title=title, ax=ax)


def confusion(score: Evaluation, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Which class was mapped as which: a row a label, shares of its pixels.

    Args:
        score: what `geofm.evaluate` returned.
        title: over the table.
        ax: to draw into.
    """
    names = [kind.name for kind in score.classes]
    return confusion_table(score.confusion, names, title=title, ax=ax)


def area(
    estimate: AreaEstimate, *, title: str = "", unit: str = "ha", ax: Axes | None = None
) -> Figure:
    """The area of each class with its 95 % interval, beside what the map shows of it.

    Args:
        estimate: what `geofm.estimate_area` returned.
        title: over the chart.
        unit: ``"ha"`` or ``"km2"``.
        ax: to draw into.
    """
    share = {"ha": 1.0, "km2": 0.01}[unit]
    kinds = estimate.classes
    axes = canvas(ax, WIDTH * 0.85, 0.62 * len(kinds) + 1.2)
    plain_axes(axes, title=title, x={"ha": "hectares", "km2": "km²"}[unit])
    axes.grid(visible=False, axis="y")
    places = np.arange(len(kinds))[::-1]
    most = max(max(kind.area.interval[1], kind.mapped) for kind in kinds) * share
    for place, kind in zip(places, kinds, strict=True):
        low, high = (end * share for end in kind.area.interval)
        value, mapped = kind.area.value * share, kind.mapped * share
        axes.plot([low, high], [place, place], color=COLORS[0], linewidth=2)
        axes.plot([low, high], [place, place], "|", color=COLORS[0], markersize=9)
        axes.plot(value, place, "o", color=COLORS[0], markersize=5)
        axes.plot(mapped, place - 0.24, **_COUNTED)
        text = f"{_amount(value)}  ({_amount(low)} to {_amount(high)})"
        at = max(high, mapped) + most * 0.025
        axes.text(at, place, text, va="center", fontsize=8, color=INK)
    axes.plot([], [], "o-", color=COLORS[0], linewidth=2, markersize=5, label=_ESTIMATED)
    axes.plot([], [], label="pixels of the map, counted", **_COUNTED)
    axes.set_yticks(places, [kind.name for kind in kinds], fontsize=9, color=INK)
    axes.set_ylim(-0.6, len(kinds) - 0.4)
    axes.set_xlim(0, most * 1.4)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False, fontsize=8,
        labelcolor=INK, borderaxespad=0.2,
    )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=20)
    return figure_of(axes)


def loss_curve(
    steps: Sequence[float],
    losses: Sequence[float],
    *,
    scores: Mapping[float, float] | None = None,
    what: str = "loss",
    score: str = "validation score",
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """The loss of each step, faint, and its running mean; beside it the validation score.

    Args:
        steps, losses: as in ``metrics.csv``.
        scores: on validation data, by step.
        what, score: names of the axes.
    """
    axes = plain_axes(canvas(ax, WIDTH * 0.85, 3.6), title=title, x="step", y=what)
    values = np.asarray(losses, np.float64)
    width = max(len(values) // 50, 1)
    axes.plot(steps, values, color=COLORS[0], alpha=0.25, linewidth=0.8)
    if len(values) > width:
        smooth = np.convolve(values, np.full(width, 1 / width), "valid")
        middle = np.asarray(steps, np.float64)[width // 2 : width // 2 + len(smooth)]
        axes.plot(middle, smooth, color=COLORS[0], linewidth=1.8, label=what)
    finite = values[np.isfinite(values)]
    if finite.size:  # the first steps stand far above all others
        axes.set_ylim(finite.min() * 0.95, np.percentile(finite, 99) * 1.05)
    if scores:
        other = axes.twinx()
        other.plot(list(scores), list(scores.values()), color=COLORS[5], marker="o", markersize=4)
        other.set_ylabel(score, fontsize=9, color=COLORS[5])
        other.tick_params(labelsize=8, color=PALE, labelcolor=COLORS[5])
        for side in other.spines.values():
            side.set_visible(False)
    return figure_of(axes)


def reliability_diagram(
    bins: Sequence[Bin],
    *,
    error: float | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """How often a map is right where it is so sure: on the diagonal, it is as sure as right.

    Args:
        bins: from the least confident on; errors are standard errors, and bars show two.
        error: expected calibration error, to be named.
    """
    # Below, over the same confidence, how many pixels that is.
    if ax is None:
        above, below = new_figure(5.0, 4.8).subplots(2, 1, height_ratios=(4, 1), sharex=True)
    else:
        above, below = ax, ax.inset_axes((0, -0.32, 1, 0.2), sharex=ax)
        above.tick_params(labelbottom=False)
    named = f"expected calibration error {error:.3f}" if error is not None else ""
    plain_axes(above, title="  ·  ".join(filter(None, (title, named))), y="share that is right")
    plain_axes(below, x="confidence", y="pixels")
    ends = [0.0, 1.0]
    above.plot(
        ends, ends, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="as sure as right"
    )
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    bars = [2 * (b.error or 0.0) for b in bins]
    above.errorbar(
        x, y, yerr=bars, color=COLORS[0], ecolor=COLORS[0], elinewidth=1, capsize=2,
        marker="o", markersize=4, linewidth=1.2, label="this map, ± 2 standard errors",
    )  # fmt: skip
    low = max(min([*x, *y, 1.0]) - 0.05, 0.0)
    above.set(xlim=(low, 1.01), ylim=(low, 1.01))
    below.vlines(x, 0, [b.share for b in bins], color=COLORS[0], linewidth=3)
    below.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.set_ylim(bottom=0)
    plain_legend(above, loc="upper left")
    return figure_of(above)


def _amount(value: float) -> str:
    """Three digits or all whole ones: 18,234 and 0.0123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def label_curve(
    points: Sequence[CurvePoint],
    *,
    unit: str = "labels",
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Scores by number of labels, with their intervals; each method with its own mark.

    Args:
        points: of each method by ascending numbers of labels.
        unit: what is counted.
    """
    axes = plain_axes(canvas(ax, WIDTH * 0.85, 4), title=title, x=unit, y="mean IoU")
    axes.set_xscale("log")
    counts = sorted({point.labels for point in points})
    methods = list(dict.fromkeys(point.method for point in points))
    curves = {
        METHOD_NAMES.get(method, method): [p for p in points if p.method == method]
        for method in methods
    }
    for at, (name, these) in enumerate(curves.items()):
        color, marker = COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]
        # Side by side, or intervals of one number of labels would hide each other.
        x = [p.labels * 1.03 ** (at - (len(curves) - 1) / 2) for p in these]
        axes.plot(
            x, [p.mean_iou for p in these], color=color, marker=marker, markersize=5, label=name
        )
        for place, point in zip(x, these, strict=True):
            if point.interval:
                axes.plot([place, place], point.interval, color=color, linewidth=1.2, alpha=0.8)
    axes.set_xticks(counts, [f"{count:g}" for count in counts])
    axes.minorticks_off()
    plain_legend(axes)
    return figure_of(axes)


def confusion_table(
    confusion: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Which class was mapped as which: a row a label, shares of its pixels.

    Args:
        confusion: (K, K) pixels; rows are labels, columns the map.
        names: of the classes.
    """
    count = len(names)
    side = 0.62 * count + 1.6
    axes = canvas(ax, max(side + 0.6, 3.6), max(side, 3.0))
    rows = confusion.sum(axis=1, keepdims=True)
    share = np.divide(confusion, rows, out=np.zeros(confusion.shape), where=rows > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(count):
        for j in range(count):
            text = f"{share[i, j]:.0%}" if rows[i, 0] else "–"
            text = "< 1%" if 0 < share[i, j] < 0.005 else text  # a trace is not nothing
            color = "white" if share[i, j] > 0.55 else INK
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(count), names, fontsize=8, color=INK)
    if count > 3 or max(map(len, names)) > 12:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right")
    labels = [f"{name}\n{n:,}" for name, n in zip(names, rows[:, 0], strict=True)]
    axes.set_yticks(range(count), labels, fontsize=8, color=INK)
    axes.set_xlabel("mapped as", fontsize=9, color=INK)
    axes.set_ylabel("labelled, pixels", fontsize=9, color=INK)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(length=0)
    for side_line in axes.spines.values():
        side_line.set_visible(False)
    return figure_of(axes)
