"""Charts: losses, reliability, areas, scores by number of labels, confusion."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from geofm.plot.ink import COLORS, FAINT, INK, MARKERS, PALE, new_figure, plain_axes, plain_legend

Interval = tuple[float, float]


class Point(NamedTuple):
    """A score with so many labels; no interval where nothing is known of the spread."""

    labels: float
    score: float
    interval: Interval | None = None


class Bar(NamedTuple):
    """An amount with its interval."""

    name: str
    amount: float
    interval: Interval | None = None
    color: str = COLORS[0]


class Confidence(NamedTuple):
    """Pixels of like confidence: their mean, the share that is right, its error, their share."""

    confidence: float
    accuracy: float
    error: float | None
    share: float


def loss_curve(
    steps: Sequence[float],
    losses: Sequence[float],
    *,
    scores: Mapping[float, float] | None = None,
    what: str = "loss",
    score: str = "validation score",
) -> Figure:
    """The loss of each step, faint, and its running mean; beside it the validation score.

    Args:
        steps, losses: as in ``metrics.csv``.
        scores: on validation data, by step.
        what, score: names of the axes.
    """
    figure = new_figure(7, 3.6)
    axes = plain_axes(figure.subplots(), x="step", y=what)
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
    return figure


def reliability_diagram(
    bins: Sequence[Confidence], *, error: float | None = None, title: str = ""
) -> Figure:
    """How often a map is right where it is so sure: on the diagonal, it is as sure as right.

    Args:
        bins: from the least confident on; errors are standard errors, and bars show two.
        error: expected calibration error, to be named.
    """
    figure = new_figure(4.6, 4.8)
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
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
    return figure


def area_bars(bars: Sequence[Bar], *, unit: str = "ha", title: str = "") -> Figure:
    """An area a class with its 95 % interval; named with its number, which bars hide."""
    figure = new_figure(7, 0.55 + 0.42 * len(bars) + 0.5)
    axes = plain_axes(figure.subplots(), title=title, x=unit)
    axes.grid(visible=False, axis="y")
    places = np.arange(len(bars))[::-1]
    most = max([b.interval[1] if b.interval else b.amount for b in bars] or [1.0])
    for place, bar in zip(places, bars, strict=True):
        axes.barh(place, bar.amount, height=0.62, color=bar.color, edgecolor="#99999966")
        end = bar.amount
        text = _amount(bar.amount)
        if bar.interval:
            low, high = bar.interval
            axes.plot([low, high], [place, place], color=INK, linewidth=1.4)
            axes.plot([low, high], [place, place], "|", color=INK, markersize=8)
            end, text = max(high, end), f"{text}  ({_amount(low)} to {_amount(high)})"
        axes.text(end + most * 0.015, place, text, va="center", fontsize=8, color=INK)
    axes.set_yticks(places, [b.name for b in bars], fontsize=9, color=INK)
    axes.set_xlim(0, most * 1.4)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return figure


def _amount(value: float) -> str:
    """Three digits or all whole ones: 18,234 and 0.0123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def label_curve(
    curves: Mapping[str, Sequence[Point]], *, y: str = "mean IoU", title: str = ""
) -> Figure:
    """Scores by number of labels, with their intervals; each curve with its own mark.

    Args:
        curves: by name, each with ascending numbers of labels.
    """
    figure = new_figure(7, 4)
    axes = plain_axes(figure.subplots(), title=title, x="labelled scenes", y=y)
    axes.set_xscale("log")
    counts = sorted({point.labels for points in curves.values() for point in points})
    for at, (name, points) in enumerate(curves.items()):
        color, marker = COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]
        # Side by side, or intervals of one number of labels would hide each other.
        x = [p.labels * 1.03 ** (at - (len(curves) - 1) / 2) for p in points]
        axes.plot(
            x, [p.score for p in points], color=color, marker=marker, markersize=5, label=name
        )
        for place, point in zip(x, points, strict=True):
            if point.interval:
                axes.plot([place, place], point.interval, color=color, linewidth=1.2, alpha=0.8)
    axes.set_xticks(counts, [f"{count:g}" for count in counts])
    axes.minorticks_off()
    plain_legend(axes)
    return figure


def confusion_table(
    confusion: npt.NDArray[np.int64], names: Sequence[str], *, title: str = ""
) -> Figure:
    """Which class was mapped as which: a row a label, shares of its pixels.

    Args:
        confusion: (K, K) pixels; rows are labels, columns the map.
        names: of the classes.
    """
    count = len(names)
    side = 0.62 * count + 1.6
    figure = new_figure(max(side + 0.6, 3.6), max(side, 3.0))
    axes = figure.subplots()
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
    return figure
