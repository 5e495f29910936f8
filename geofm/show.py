"""Scenes, models, maps, scores and areas as a notebook shows them: small cards, no scripts."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geofm.assess.area import AreaEstimate
from geofm.assess.check import CheckReport
from geofm.assess.evaluate import Evaluation
from geofm.assess.html import png_address
from geofm.assess.scores import Estimate
from geofm.assess.table import estimate_text
from geofm.errors import GeofmError
from geofm.info.maps import map_page
from geofm.info.models import model_rows, provenance_rows
from geofm.model.folder import PretrainedEncoder, TrainedModel
from geofm.page import Row
from geofm.predict.many import BatchReport
from geofm.predict.mapping import MapReport
from geofm.predict.pages import batch_rows
from geofm.scenes.arrays import ArraySource
from geofm.scenes.facts import read_facts, read_preview
from geofm.scenes.ground import crop
from geofm.scenes.handles import is_remote
from geofm.scenes.picture import scene_images, thin_places
from geofm.scenes.reader import Scene, Source, StoredPixels
from geofm.scenes.window import Window

Rgb = npt.NDArray[np.uint8]

SIDE = 240  # of a thumbnail, pixels
# A scene of more pixels shows its middle: a card is drawn each time a cell ends.
MAX_PIXELS = 4096 * 4096
MIDDLE = 1024


def scene_html(scene: Scene) -> str:
    """A scene's summary beside a thumbnail.

    There is none where reading could take long: over the network, or where Dask has to
    compute it first.
    """
    lines = repr(scene).splitlines()[1:]
    rows = [Row(line[2:10].strip(), line[10:]) for line in lines]
    return _card("scene", scene.id, rows, _thumbnail(scene))


def model_html(model: TrainedModel | PretrainedEncoder) -> str:
    """A model's contract: what it maps, what it needs, where it comes from."""
    rows = [*model_rows(model), *provenance_rows(model.provenance)]
    return _card("model" if isinstance(model, TrainedModel) else "encoder", model.name, rows, "")


def map_html(report: MapReport) -> str:
    """A map that was written: its classes with their shares, its grid and its receipt."""
    try:
        facts = read_facts(report.path)
        page = map_page(report.path, facts)
        codes = read_preview(report.path, side=SIDE)[0]
    except GeofmError as error:  # it was moved or removed since
        return _card("map", str(report.path), [Row("", str(error))], "")
    palette = np.full((256, 3), 255, np.uint8)
    for code, color in facts.colors.items():
        palette[code] = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    beside = ", ".join(path.name for path in report.files.values() if path != report.path)
    rows = [*page.rows, Row("beside it", beside)]
    return _card("map", report.path.name, rows, _figure(palette[codes], "classes"))


def batch_html(report: BatchReport) -> str:
    """A batch: what was mapped, what was not, and where the maps are."""
    color = {"failed": "#c6352b", "ended early": "#c6352b"}
    rows = [Row(row.label, row.text, color.get(row.label, "")) for row in batch_rows(report)]
    return _card("batch", str(report.folder), rows, "")


def score_html(score: Evaluation) -> str:
    """Scores with their intervals, by class, and what they rest on."""
    found = score.scores
    heads = ("", "IoU", "F1", "precision", "recall", "labelled pixels")
    lines = [
        (
            f"{_swatch(kind.color)}{escape(kind.name)}",
            *(_spread(one) for one in (kind.iou, kind.f1, kind.precision, kind.recall)),
            f"{kind.labelled:,}",
        )
        for kind in score.class_scores
    ]
    lines.append(("<b>mean</b>", _spread(found.mean_iou), _spread(found.mean_f1), "", "", ""))
    rows = [
        Row("accuracy", estimate_text(found.accuracy)),
        Row("confidence", f"expected calibration error {score.reliability.ece:.3f}"),
        Row("seen before", score.exposure.sentence),
        *(Row("" if at else "note", note) for at, note in enumerate(score.notes)),
    ]
    scenes = f"{score.pairs} scene{'' if score.pairs == 1 else 's'}"
    return _card("scores of", f"{score.model} on {scenes}", rows, "", _table(heads, lines))


def area_html(estimate: AreaEstimate) -> str:
    """Areas with their intervals, and how right the map is."""
    heads = (
        "",
        "mapped, ha",
        "area, ha",
        "95 % interval",
        "user's accuracy",
        "producer's accuracy",
    )
    lines = [
        (
            escape(kind.name),
            f"{kind.mapped:,.1f}",
            f"<b>{kind.area.value:,.1f}</b>",
            f"{kind.area.interval[0]:,.1f} to {kind.area.interval[1]:,.1f}",
            *(
                "–" if one is None else f"{one.value:.3f} ± {one.margin:.3f}"
                for one in (kind.users, kind.producers)
            ),
        )
        for kind in estimate.classes
    ]
    overall = estimate.overall
    rows = [
        Row("overall", f"accuracy {overall.value:.3f} ± {overall.margin:.3f}"),
        Row("rests on", f"{estimate.points} points on {estimate.hectares:,.1f} ha"),
        Row(
            "not shown",
            f"{estimate.masked:,.1f} ha masked, {estimate.unmeasured:,.1f} ha without data",
        ),
        *(Row("" if at else "note", note) for at, note in enumerate(estimate.notes)),
    ]
    return _card("areas", "from a reference sample", rows, "", _table(heads, lines))


def check_html(report: CheckReport) -> str:
    """What a look at labelled scenes found, problems first."""
    color = {"problem": "#c6352b", "advice": "#d98f00"}
    rows = [
        *(Row(one.weight, one.text, color[one.weight]) for one in report.findings),
        *(Row(name, text) for name, text in report.facts.items()),
        *(
            Row("" if at else "labelled", f"{name}  {count:,} pixels")
            for at, (name, count) in enumerate(report.classes.items())
        ),
    ]
    scenes = f"{report.pairs} scene{'' if report.pairs == 1 else 's'}"
    return _card("check of", scenes, rows, "")


def _spread(estimate: Estimate) -> str:
    """A score above its interval."""
    if estimate.value is None:
        return "–"
    low_high = estimate.interval
    faint = "" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}"
    return f'{estimate.value:.3f}<br><span style="opacity:.6;font-size:12px">{faint}</span>'


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells of HTML; numbers stand to the right."""
    cell = "padding:2px 14px 2px 0;border:0;vertical-align:top;text-align:"
    sides = ["left", *("right" for _ in heads[1:])]
    head = "".join(
        f'<th style="{cell}{side};font-weight:400;opacity:.6">{escape(text)}</th>'
        for side, text in zip(sides, heads, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{cell}{side}">{text}</td>' for side, text in zip(sides, line, strict=True)
        )
        + "</tr>"
        for line in lines
    )
    return (
        '<table style="border-collapse:collapse;margin:0 0 8px;background:none;font:inherit">'
        f"<tr>{head}</tr>{body}</table>"
    )


def _swatch(color: str) -> str:
    return (
        f'<span style="display:inline-block;width:.8em;height:.8em;margin-right:.5em;'
        f"vertical-align:-.05em;border:1px solid rgba(128,128,128,.6);border-radius:2px;"
        f'background:{escape(color)}"></span>'
    )


def _card(kind: str, name: str, rows: Iterable[Row], picture: str, table: str = "") -> str:
    """Label and text in two columns; colours are the page's own, so dark themes work.

    Args:
        picture, table: HTML beside and above them.
    """
    cells = []
    for row in rows:
        swatch = _swatch(row.color) if row.color else ""
        # A terminal's columns are runs of spaces; here they become columns again.
        first, *more = re.split(r"\s{2,}", row.text.strip(), maxsplit=1)
        text = escape(first)
        if more:
            width = "1.4em" if row.color else "5em"
            style = f"display:inline-block;min-width:{width};margin-right:.6em"
            text = f'<span style="{style}">{text}</span>{escape(more[0])}'
        cells.append(f'<div style="opacity:.6">{escape(row.label)}</div><div>{swatch}{text}</div>')
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start;'
        'font:13px/1.45 system-ui,sans-serif;max-width:860px">'
        f"{picture}"
        '<div style="flex:1 1 360px;min-width:0">'
        f'<div style="margin-bottom:6px"><span style="opacity:.6">{kind}</span> '
        f"<b>{escape(name)}</b></div>{table}"
        '<div style="display:grid;grid-template-columns:max-content 1fr;column-gap:14px;'
        f'font-variant-numeric:tabular-nums;overflow-wrap:anywhere">{"".join(cells)}</div>'
        "</div></div>"
    )


def _thumbnail(scene: Scene) -> str:
    if not _quick(scene):
        return ""
    height, width = scene.shape
    words = []
    if height * width > MAX_PIXELS:
        scene, words = _middle(scene), ["the middle"]
    last = scene.select(dates=[len(scene.dates) - 1])
    try:
        images, colours = scene_images(last, *thin_places(scene.shape, SIDE))
    except GeofmError:  # reading says why; a card does not fail
        return ""
    return _figure(np.rint(255 * images[0]).astype(np.uint8), ", ".join([colours, *words]))


def _figure(image: Rgb, caption: str) -> str:
    # A scene of few pixels is enlarged, so that there is something to see.
    shown = "width" if image.shape[1] >= image.shape[0] else "height"
    return (
        f'<figure style="margin:0;flex:none;width:{SIDE}px">'
        f'<img alt="{escape(caption)}" src="{png_address(image)}" '
        f'style="{shown}:{SIDE}px;display:block;image-rendering:pixelated">'
        f'<figcaption style="opacity:.6;font-size:12px">{escape(caption)}</figcaption></figure>'
    )


def _quick(scene: Scene) -> bool:
    if scene.paths:
        return not any(is_remote(path) for path in scene.paths)
    source = scene.source
    return isinstance(source, ArraySource) and source.data["0"].chunks is None


def _middle(scene: Scene) -> Scene:
    height, width = scene.shape
    rows, cols = min(MIDDLE, height), min(MIDDLE, width)
    window = Window((height - rows) // 2, (width - cols) // 2, rows, cols)
    source = _Cut(scene.source, window)
    return replace(scene, geobox=crop(scene.geobox, window), source=source, quality=None)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A window of another source."""

    whole: Source
    window: Window

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    @property
    def block_shape(self) -> tuple[int, int]:
        return self.whole.block_shape

    @property
    def identity(self) -> str:
        return repr((self.whole.identity, self.window))

    def read(self, window: Window, dates: Sequence[int], bands: Sequence[int]) -> StoredPixels:
        there = window._replace(row=window.row + self.window.row, col=window.col + self.window.col)
        return self.whole.read(there, dates, bands)
