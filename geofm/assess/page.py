"""An evaluation as one HTML page that needs nothing else: tables, drawings and pictures inside."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from geofm.assess.chips import NOTHING, RIGHT, WRONG, Chip
from geofm.assess.compare import Comparison
from geofm.assess.evaluate import Evaluation
from geofm.assess.html import page_foot, page_head, png_address, write_html
from geofm.assess.reliability import Reliability
from geofm.assess.scores import ClassScore, Estimate
from geofm.assess.slices import Slice
from geofm.assess.table import estimate_text, signed

_MOST_SLICES = 40
_MOST_CLASSES = 30

_STYLE = """
:root { color-scheme: light; --ink: #1d252c; --faint: #66727c; --line: #dde3e8; --blue: #2166ac; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  margin: 2.5rem auto; max-width: 66rem; padding: 0 1.5rem; background: #fff }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem }
p { margin: .4rem 0 } .faint, figcaption { color: var(--faint) } small { font-size: .8rem }
.cards { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.2rem 0 }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1.1rem;
  min-width: 11rem }
.card b { display: block; font-size: 1.7rem; font-weight: 600; line-height: 1.2 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { font-weight: 500; color: var(--faint); text-align: left; font-size: .85rem }
td, th { padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: middle }
td.n, th.n { text-align: right } .swatch { display: inline-block; width: .8em; height: .8em;
  border-radius: .2em; margin-right: .45em; border: 1px solid #0003; vertical-align: -.05em }
.confusion td { text-align: center; padding: .3rem .6rem; border: 2px solid #fff;
  min-width: 4.2rem }
.confusion th { border: 0 } .pair { display: flex; gap: 3rem; flex-wrap: wrap }
.chips { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; margin: .3rem 0 1.2rem }
.chips img { width: 100%; image-rendering: pixelated; border: 1px solid var(--line);
  display: block }
.warn { border-left: 3px solid #d98f00; padding-left: .8rem }
figure { margin: 0 } svg text { font: 11px system-ui, sans-serif; fill: var(--faint) }
"""


def write_page(
    path: Path,
    evaluation: Evaluation,
    chips: Sequence[Chip],
    comparison: Comparison | None = None,
    *,
    command: str = "",
) -> Path:
    """Write the page.

    Args:
        path: an HTML file, replaced.
        chips: as `draw_chips` draws them; none leaves the pictures out.
        comparison: with another model.
        command: what the user typed, for the foot.

    Raises:
        OutputError: it cannot be written.
    """
    return write_html(path, _page(evaluation, chips, comparison, command))


def _page(
    evaluation: Evaluation, chips: Sequence[Chip], comparison: Comparison | None, command: str
) -> Iterator[str]:
    scores = evaluation.scores
    yield page_head(f"{evaluation.model}: evaluation", _STYLE)
    yield f"<h1>{escape(evaluation.model)}</h1>"
    scenes = f"{evaluation.pairs} scene{'s' if evaluation.pairs > 1 else ''}"
    yield f'<p class="faint">on {scenes}, {scores.pixels:,} labelled pixels</p>'
    yield '<div class="cards">'
    for label, estimate in (
        ("mean IoU", scores.mean_iou),
        ("mean F1", scores.mean_f1),
        ("accuracy", scores.accuracy),
    ):
        yield _card(label, estimate)
    yield "</div>"
    css = ' class="warn"' if evaluation.exposure.overlap else ""
    yield f"<p{css}>{escape(evaluation.exposure.sentence)}.</p>"
    yield from (f'<p class="faint">{escape(note)}.</p>' for note in evaluation.notes)
    if comparison is not None:
        yield from _comparison(comparison)
    yield from _class_table(evaluation.class_scores)
    yield from _confusion(evaluation)
    yield from _confidence(evaluation)
    yield from _slice_table(evaluation.slices)
    yield from _pictures(evaluation, chips)
    yield page_foot(f"; weights {evaluation.sha256[:12]}", command)


def _card(label: str, estimate: Estimate) -> str:
    value = "-" if estimate.value is None else f"{estimate.value:.3f}"
    interval = estimate.interval
    spread = "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return f'<div class="card">{label}<b>{value}</b><span class="faint">{spread}</span></div>'


def _comparison(comparison: Comparison) -> Iterator[str]:
    p = "" if comparison.p is None else f", p = {comparison.p:.4f}"
    names = f"{comparison.second} less {comparison.first}"
    yield f"<h2>{escape(names)}</h2>"
    yield f"<p><b>{signed(comparison.difference)}</b> mean IoU{p}</p><table>"
    for name, estimate in comparison.classes:
        yield f"<tr><td>{escape(name)}</td><td>{signed(estimate)}</td></tr>"
    yield f'</table><p class="faint">{escape(comparison.note)}.</p>'


def _class_table(classes: Sequence[ClassScore]) -> Iterator[str]:
    yield "<h2>Classes</h2><table><tr><th>class</th><th>IoU</th><th></th>"
    yield '<th class="n">F1</th><th class="n">precision</th><th class="n">recall</th>'
    yield '<th class="n">labelled</th><th class="n">mapped</th></tr>'
    for each in classes:
        yield f"<tr><td>{_swatch(each.color)}{escape(each.name)}</td>"
        yield f"<td>{_bar(each.iou, each.color)}</td><td>{estimate_text(each.iou)}</td>"
        for estimate in (each.f1, each.precision, each.recall):
            yield f'<td class="n">{"-" if estimate.value is None else f"{estimate.value:.3f}"}</td>'
        yield f'<td class="n">{each.labelled:,}</td><td class="n">{each.mapped:,}</td></tr>'
    yield "</table>"


def _bar(estimate: Estimate, color: str) -> str:
    """A score from 0 to 1 as a bar, its interval as a whisker."""
    if estimate.value is None:
        return ""
    whisker = ""
    if estimate.interval:
        low, high = (160 * end for end in estimate.interval)
        whisker = (
            f'<path d="M{low:.1f} 7H{high:.1f}M{low:.1f} 3V11M{high:.1f} 3V11" stroke="#1d252c" '
            'stroke-width="1.2" fill="none"/>'
        )
    return (
        '<svg width="162" height="14"><rect width="160" height="14" fill="#f1f4f6"/>'
        f'<rect width="{160 * estimate.value:.1f}" height="14" fill="{color}" stroke="#0002"/>'
        f"{whisker}</svg>"
    )


def _confusion(evaluation: Evaluation) -> Iterator[str]:
    """Shares of each label's pixels; dark where most go."""
    classes = evaluation.classes
    yield "<h2>What is taken for what</h2>"
    if len(classes) > _MOST_CLASSES:
        yield f'<p class="faint">{len(classes)} classes: the matrix is in --json.</p>'
        return
    rows = evaluation.confusion.sum(axis=1, keepdims=True)
    shares = evaluation.confusion / np.maximum(rows, 1)
    yield '<table class="confusion"><tr><th>labelled \\ mapped</th>'
    yield "".join(f"<th>{escape(kind.name)}</th>" for kind in classes) + "</tr>"
    for kind, row, numbers in zip(classes, shares, evaluation.confusion, strict=True):
        yield f"<tr><th>{_swatch(kind.color)}{escape(kind.name)}</th>"
        for share, number in zip(row, numbers, strict=True):
            ink = "#fff" if share > 0.55 else "#1d252c"
            shade = f"background:rgba(33,102,172,{share:.3f});color:{ink}"
            text = f"{share:.1%}" if numbers.sum() else "-"
            yield f'<td style="{shade}" title="{number:,} pixels">{text}</td>'
        yield "</tr>"
    yield "</table>"


def _confidence(evaluation: Evaluation) -> Iterator[str]:
    found, calibration = evaluation.reliability, evaluation.calibration
    yield "<h2>How far to trust its confidence</h2>"
    beyond = "" if found.ece_debiased is None else f" ({found.ece_debiased:.3f} beyond chance)"
    fitted = (
        "not calibrated" if calibration is None else f"temperature {calibration.temperature:.3f}"
    )
    bound = calibration.unsure_below if calibration else None
    unsure = "" if bound is None else f", unsure below {bound:.1%}"
    yield (
        f"<p>Expected calibration error {found.ece:.3f}{beyond}, negative log likelihood "
        f"{found.nll:.3f}; {fitted}{unsure}.</p>"
    )
    yield f'<div class="pair">{_reliability(found)}{_risk(found)}</div>'


_PLOT, _LEFT, _TOP = 230, 58, 12


def _frame(title: str, across: str, up: str, ticks: Sequence[tuple[float, str]]) -> Iterator[str]:
    """A square plot of 0 to 1 by 0 to 1; ``ticks`` of the axis that goes up."""
    low = _TOP + _PLOT
    yield f"<figure><figcaption>{title}</figcaption>"
    yield f'<svg width="{_LEFT + _PLOT + 16}" height="{low + 40}">'
    for share, text in ticks:
        y = low - _PLOT * share
        yield f'<path d="M{_LEFT} {y:.1f}h{_PLOT}" stroke="#dde3e8"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for share in (0, 0.5, 1):
        x = _LEFT + _PLOT * share
        yield f'<text x="{x:.1f}" y="{low + 16}" text-anchor="middle">{share:.0%}</text>'
    yield f'<text x="{_LEFT + _PLOT / 2}" y="{low + 33}" text-anchor="middle">{across}</text>'
    y = _TOP + _PLOT / 2
    yield f'<text transform="rotate(-90 11 {y})" x="11" y="{y}" text-anchor="middle">{up}</text>'


def _reliability(found: Reliability) -> str:
    """Accuracy over confidence, with two standard errors; on the diagonal where they hold."""
    x, y = _scale(1.0)
    ticks = [(share, f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)]
    lines = [*_frame("do the probabilities hold?", "confidence", "right", ticks)]
    lines.append(
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#66727c" stroke-dasharray="4 4"/>'
    )
    for each in found.bins:
        if each.error:
            low, high = (
                max(each.accuracy - 2 * each.error, 0),
                min(each.accuracy + 2 * each.error, 1),
            )
            at = x(each.confidence)
            lines.append(f'<path d="M{at} {y(low)}V{y(high)}" stroke="#2166ac" opacity=".45"/>')
    points = " ".join(f"{x(b.confidence)},{y(b.accuracy)}" for b in found.bins)
    lines.append(f'<polyline points="{points}" fill="none" stroke="#2166ac" stroke-width="1.5"/>')
    lines += [
        f'<circle cx="{x(b.confidence)}" cy="{y(b.accuracy)}" r="3" fill="#2166ac"><title>'
        f"{b.share:.1%} of the pixels: confidence {b.confidence:.3f}, right {b.accuracy:.3f}"
        "</title></circle>"
        for b in found.bins
    ]
    return "".join([*lines, "</svg></figure>"])


def _risk(found: Reliability) -> str:
    """Share of wrong pixels over the share that keeps a class."""
    top = max(*(wrong for _, wrong in found.risk), 1e-3)
    x, y = _scale(top)
    ticks = [(part, f"{part * top:.1%}") for part in (0, 0.5, 1)]
    title = "what leaving pixels unsure would gain"
    lines = [*_frame(title, "share of pixels with a class", "wrong among them", ticks)]
    points = " ".join(f"{x(share)},{y(wrong)}" for share, wrong in found.risk)
    lines.append(f'<polyline points="{points}" fill="none" stroke="#2166ac" stroke-width="1.5"/>')
    lines += [
        f'<circle cx="{x(share)}" cy="{y(wrong)}" r="3" fill="#2166ac"><title>{share:.0%} of the '
        f"pixels: {wrong:.2%} wrong</title></circle>"
        for share, wrong in found.risk
    ]
    return "".join([*lines, "</svg></figure>"])


def _scale(top: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    low = _TOP + _PLOT
    return (
        lambda share: round(_LEFT + _PLOT * share, 1),
        lambda value: round(low - _PLOT * value / top, 1),
    )


def _slice_table(slices: Sequence[Slice]) -> Iterator[str]:
    if not slices:
        return
    yield "<h2>Where it is worst</h2><table><tr><th>fact</th><th>value</th><th>mean IoU</th>"
    yield '<th></th><th class="n">accuracy</th><th class="n">scenes</th>'
    yield '<th class="n">pixels</th></tr>'
    for each in slices[:_MOST_SLICES]:
        share = "-" if each.accuracy.value is None else f"{each.accuracy.value:.3f}"
        yield f"<tr><td>{escape(each.fact)}</td><td>{escape(each.value)}</td>"
        yield f"<td>{_bar(each.mean_iou, '#9db8d0')}</td><td>{estimate_text(each.mean_iou)}</td>"
        yield f'<td class="n">{share}</td><td class="n">{each.pairs}</td>'
        yield f'<td class="n">{each.pixels:,}</td></tr>'
    yield "</table>"
    if len(slices) > _MOST_SLICES:
        yield f'<p class="faint">and {len(slices) - _MOST_SLICES} more (--json)</p>'


def _pictures(evaluation: Evaluation, chips: Sequence[Chip]) -> Iterator[str]:
    if not chips:
        return
    yield "<h2>Worst, median and best</h2><p>"
    legend = [(kind.name, kind.color) for kind in evaluation.classes[:_MOST_CLASSES]]
    legend += [("map and label agree", RIGHT), ("they differ", WRONG), ("not compared", NOTHING)]
    yield " &nbsp; ".join(f"{_swatch(color)}{escape(name)}" for name, color in legend)
    yield "</p>"
    for chip in chips:
        yield (
            f"<p><b>{chip.kind}</b> {escape(chip.name)} "
            f'<span class="faint">mean IoU {chip.mean_iou:.3f}, accuracy {chip.accuracy:.3f}'
            '</span></p><div class="chips">'
        )
        for title, picture in (
            ("image", chip.image),
            ("labels", chip.labels),
            ("map", chip.map),
            ("difference", chip.differs),
        ):
            source = png_address(picture)
            yield (
                f'<figure><img alt="{title} of {escape(chip.name)}" src="{source}">'
                f"<figcaption><small>{title}</small></figcaption></figure>"
            )
        yield "</div>"


def _swatch(color: str) -> str:
    return f'<span class="swatch" style="background:{color}"></span>'
