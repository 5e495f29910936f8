"""A check as one HTML page that needs nothing else: sentences first, then pictures, worst first."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from geofm.assess.check import CheckReport, Finding
from geofm.assess.chips import Rgb
from geofm.assess.html import page_foot, page_head, png_address, write_html
from geofm.assess.look import draw_pair
from geofm.page import counted
from geofm.scenes.catalog import Pair
from geofm.tasks import MapClass

_MOST_PICTURES = 24

_STYLE = """
:root { color-scheme: light; --ink: #1d252c; --faint: #66727c; --line: #dde3e8; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  margin: 2.5rem auto; max-width: 66rem; padding: 0 1.5rem; background: #fff }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
p { margin: .4rem 0 } .faint, figcaption, th { color: var(--faint); font-weight: 400 }
.problem, .advice { border-left: 4px solid #c6352b; padding: .2rem .8rem; margin: .6rem 0 }
.advice { border-color: #d98f00 } .fine { border-left: 4px solid #3a7d44; padding: .2rem .8rem }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top;
  padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line) }
td.n { text-align: right; font-variant-numeric: tabular-nums }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: .2em;
  margin-right: .45em; border: 1px solid #0003 }
.bar { display: inline-block; height: .8em; border: 1px solid #0002 }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem }
figure { margin: 0 } figure div { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem }
img { width: 100%; image-rendering: pixelated; border: 1px solid var(--line); display: block }
"""


def write_check_page(
    path: Path,
    report: CheckReport,
    pairs: Sequence[Pair],
    classes: Sequence[MapClass],
    *,
    title: str,
    command: str = "",
) -> Path:
    """Write the page.

    Args:
        path: an HTML file, replaced.
        pairs: those of the report.
        classes: in the order of their codes.
        title: what was looked at.
        command: what the user typed, for the foot.

    Raises:
        OutputError: it cannot be written.
    """
    return write_html(path, _page(report, pairs, classes, title, command))


def _page(
    report: CheckReport,
    pairs: Sequence[Pair],
    classes: Sequence[MapClass],
    title: str,
    command: str,
) -> Iterator[str]:
    yield page_head(f"{title}: check", _STYLE)
    yield f"<h1>{escape(title)}</h1>"
    yield f'<p class="faint">{counted(report.pairs, "pair")} of scene and labels</p>'
    for finding in report.findings:
        yield f'<div class="{finding.weight}">{escape(finding.text)}.{_about(finding)}</div>'
    if not report.findings:
        yield '<p class="fine">Nothing stands in the way.</p>'
    if report.leakage:
        yield f"<p>Given split: {escape(report.leakage)}.</p>"
    yield "<h2>The data</h2><table>"
    for what, text in report.facts.items():
        yield f"<tr><th>{escape(what)}</th><td>{escape(text)}</td></tr>"
    yield "</table>"
    yield from _class_table(report.classes, classes)
    yield from _pictures(report, pairs, classes)
    yield page_foot("", command)


def _about(finding: Finding) -> str:
    names = [name for name in finding.pairs if name not in finding.text]
    return f'<br><span class="faint">{escape(", ".join(names))}</span>' if names else ""


def _class_table(counts: Mapping[str, int], classes: Sequence[MapClass]) -> Iterator[str]:
    whole = max(sum(counts.values()), 1)
    yield "<h2>Labelled pixels</h2><table>"
    for kind in classes:
        number = counts[kind.name]
        width = f"{12 * number / whole:.2f}rem"
        yield (
            f'<tr><td><span class="swatch" style="background:{kind.color}"></span>'
            f'{escape(kind.name)}</td><td class="n">{number:,}</td>'
            f'<td class="n">{number / whole:.1%}</td><td><span class="bar" '
            f'style="width:{width};background:{kind.color}"></span></td></tr>'
        )
    yield "</table>"


def _pictures(
    report: CheckReport, pairs: Sequence[Pair], classes: Sequence[MapClass]
) -> Iterator[str]:
    by_name = {pair.name: pair for pair in pairs if pair.name in report.looks}
    # Those that findings name, in their order; then the others.
    told = [name for finding in report.findings for name in finding.pairs]
    order = [name for name in dict.fromkeys([*told, *by_name]) if name in by_name]
    if not order:
        return
    more = f" (the first {_MOST_PICTURES} of {len(order)})" if len(order) > _MOST_PICTURES else ""
    yield f'<h2>Pictures, the worst first{more}</h2><div class="pairs">'
    for name in order[:_MOST_PICTURES]:
        look = report.looks[name]
        image, labels = draw_pair(by_name[name], look.window, classes)
        yield "<figure><div>"
        yield _picture(image, f"image of {name}") + _picture(labels, f"labels of {name}")
        share = look.labelled / by_name[name].scene.shape[0] / by_name[name].scene.shape[1]
        yield (
            f"</div><figcaption>{escape(name)}: {share:.0%} labelled, {look.valid:.0%} valid"
            "</figcaption></figure>"
        )
    yield "</div>"


def _picture(picture: Rgb, title: str) -> str:
    source = png_address(picture)
    return f'<img alt="{escape(title, quote=True)}" src="{source}">'
