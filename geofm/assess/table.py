"""An evaluation, and a comparison, as lines of text."""

import textwrap
from collections.abc import Iterator

import numpy as np

from geofm.assess.compare import Comparison
from geofm.assess.evaluate import Evaluation
from geofm.assess.scores import ClassScore, Estimate
from geofm.terminal import Style

PLAIN = Style(colored=False)
_LABEL = 13  # columns of the labels on the left
_MOST_SLICES = 6
_MOST_CONFUSED = 3


def evaluation_text(evaluation: Evaluation, style: Style = PLAIN, *, width: int = 88) -> str:
    """The page of an evaluation: scores by class, what confuses, what fails, how sure it is."""
    scores = evaluation.scores
    scenes = f"{evaluation.pairs} scene{'s' if evaluation.pairs > 1 else ''}"
    lines = [
        f"{style.title(evaluation.model)} on {scenes}, {scores.pixels:,} labelled pixels",
        "",
        *_headline(evaluation, style),
        "",
        *_classes(evaluation.class_scores, style),
        *_confused(evaluation, style),
        *_slices(evaluation, style),
        "",
        *_wrapped("confidence", _confidence(evaluation), style, width),
        *_wrapped("seen before", evaluation.exposure.sentence, style, width),
    ]
    for at, note in enumerate(evaluation.notes):
        lines += _wrapped("" if at else "note", note, style, width)
    return "\n".join(lines)


def comparison_text(comparison: Comparison, style: Style = PLAIN, *, width: int = 88) -> str:
    """Whether the second model is better than the first."""
    found, p = comparison.difference, comparison.p
    names = f"{comparison.second} less {comparison.first}"
    told = f"{signed(found)} mean IoU" + ("" if p is None else f", p = {p:.4f}")
    verdict = "too few blocks to tell"
    if found.interval is not None:
        low, high = found.interval
        better = comparison.second if low > 0 else comparison.first
        verdict = f"{better} is better" if low > 0 or high < 0 else "no difference is shown"
    lines = [f"{style.title(names)}: {told}", style.name(verdict)]
    lines += [
        f"  {style.faint(name.ljust(_widest(comparison)))}  {signed(estimate)}"
        for name, estimate in comparison.classes
    ]
    return "\n".join([*lines, *_wrapped("note", comparison.note, style, width)])


def estimate_text(estimate: Estimate) -> str:
    """A score with its interval.

    >>> estimate_text(Estimate(0.8123, (0.75, 0.9))), estimate_text(Estimate(None))
    ('0.812 (0.750 to 0.900)', '-')
    """
    if estimate.value is None:
        return "-"
    interval = estimate.interval
    spread = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return f"{estimate.value:.3f}{spread}"


def signed(estimate: Estimate) -> str:
    """A difference with its interval.

    >>> signed(Estimate(0.02, (-0.01, 0.05)))
    '+0.020 (-0.010 to +0.050)'
    """
    if estimate.value is None:
        return "-"
    interval = estimate.interval
    spread = "" if interval is None else f" ({interval[0]:+.3f} to {interval[1]:+.3f})"
    return f"{estimate.value:+.3f}{spread}"


def _headline(evaluation: Evaluation, style: Style) -> Iterator[str]:
    scores = evaluation.scores
    for label, estimate in (
        ("mean IoU", scores.mean_iou),
        ("mean F1", scores.mean_f1),
        ("accuracy", scores.accuracy),
    ):
        text = estimate_text(estimate)
        yield style.faint(label.ljust(_LABEL)) + (
            style.title(text) if label == "mean IoU" else text
        )


def _classes(classes: tuple[ClassScore, ...], style: Style) -> Iterator[str]:
    width = max(len(each.name) for each in classes)
    head = (
        f"{'class':<{width}}  {'IoU':<22}  {'F1':>5}  {'prec.':>5}  {'recall':>6}  {'labelled':>12}"
    )
    yield style.faint(head)
    for each in classes:
        f1, precision, recall = (_short(e) for e in (each.f1, each.precision, each.recall))
        yield (
            f"{style.swatch(each.color)}{each.name:<{width}}  {estimate_text(each.iou):<22}  "
            f"{f1:>5}  {precision:>5}  {recall:>6}  {each.labelled:>12,}"
        )


def _confused(evaluation: Evaluation, style: Style) -> Iterator[str]:
    """The largest shares of a class that are taken for another; for two, recall says it."""
    if len(evaluation.classes) < 3:
        return
    rows = evaluation.confusion.sum(axis=1, keepdims=True)
    shares = evaluation.confusion / np.maximum(rows, 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(shares, axis=None)[::-1][:_MOST_CONFUSED]
    for at, (label, found) in enumerate(zip(*np.unravel_index(order, shares.shape), strict=True)):
        if shares[label, found] > 0:
            names = evaluation.classes[label].name, evaluation.classes[found].name
            if not at:
                yield ""
            text = f"{shares[label, found]:.0%} of {names[0]} is taken for {names[1]}"
            yield style.faint(("" if at else "confused").ljust(_LABEL)) + text


def _slices(evaluation: Evaluation, style: Style) -> Iterator[str]:
    """The parts of the data that score below the whole, the worst first."""
    whole = evaluation.scores.mean_iou.value or 0.0
    scores = ((each, each.mean_iou.value) for each in evaluation.slices)
    below = [each for each, score in scores if score is not None and score < whole]
    shown = below[:_MOST_SLICES]
    if not shown:
        return
    yield ""
    names = [f"{each.fact}: {each.value}" for each in shown]
    width = max(map(len, names))
    for at, (each, name) in enumerate(zip(shown, names, strict=True)):
        label = style.faint(("" if at else "worst at").ljust(_LABEL))
        pairs = f"{each.pairs} scene{'s' if each.pairs > 1 else ''}"
        yield f"{label}{name:<{width}}  {estimate_text(each.mean_iou):<22}  {pairs}"
    left = len(evaluation.slices) - len(shown)
    if left:
        yield " " * _LABEL + style.faint(f"and {left} more (--json, --html)")


def _confidence(evaluation: Evaluation) -> str:
    found, calibration = evaluation.reliability, evaluation.calibration
    debiased = "" if found.ece_debiased is None else f" ({found.ece_debiased:.3f} beyond chance)"
    fitted = (
        "not calibrated (geofm calibrate)"
        if calibration is None
        else f"temperature {calibration.temperature:.2f}"
    )
    bound = calibration.unsure_below if calibration else None
    unsure = "" if bound is None else f", unsure below {bound:.0%}"
    surest = next(wrong for share, wrong in found.risk if share == 0.8)
    return (
        f"calibration error {found.ece:.3f}{debiased}, {fitted}{unsure}; of the surest 80% of "
        f"the pixels {surest:.1%} are wrong, of all {found.risk[-1][1]:.1%}"
    )


def _short(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.3f}"


def _widest(comparison: Comparison) -> int:
    return max(len(name) for name, _ in comparison.classes)


def _wrapped(label: str, text: str, style: Style, width: int) -> list[str]:
    first, *rest = textwrap.wrap(text, width - _LABEL, break_on_hyphens=False)
    return [style.faint(label.ljust(_LABEL)) + first, *(" " * _LABEL + line for line in rest)]
