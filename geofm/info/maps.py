"""The page of a map: classes with their shares, the grid, and the receipt beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geofm.export.stac import own_receipt
from geofm.info.rasters import grid_rows, raster_facts, storage_rows
from geofm.page import Page, Row, share_text
from geofm.scenes.facts import RasterFacts, read_preview
from geofm.tasks import CODE_NAMES

PREVIEW_SIDE = 1024


def is_map(facts: RasterFacts) -> bool:
    """Whether geofm made it."""
    return "GEOFM_RECIPE" in facts.tags and bool(facts.categories)


def map_page(path: Path, facts: RasterFacts) -> Page:
    """The page of a finished map."""
    shares = _class_shares(path)
    receipt = _receipt(path, facts.tags)
    rows = (
        Row("model", facts.tags.get("GEOFM_MODEL", "unknown")),
        *_class_rows(facts, shares),
        *grid_rows(facts),
        *storage_rows(facts),
        *_receipt_rows(receipt),
        Row("written by", f"geofm {facts.tags.get('GEOFM_VERSION', 'of unknown version')}"),
    )
    plain = {
        "kind": "map",
        **raster_facts(facts),
        "classes": {str(code): name for code, name in facts.categories.items()},
        "shares": {str(code): share for code, share in shares.items()},
        "receipt": receipt,
    }
    return Page("map", facts.path, rows, plain)


def _class_shares(path: Path) -> dict[int, float]:
    """Share of the pixels by code, in a preview."""
    codes, counts = np.unique(read_preview(path, side=PREVIEW_SIDE)[0], return_counts=True)
    return {int(c): float(n / counts.sum()) for c, n in zip(codes, counts, strict=True)}


def _class_rows(facts: RasterFacts, shares: dict[int, float]) -> Iterator[Row]:
    label = "classes"
    for code, name in facts.categories.items():
        if code not in CODE_NAMES or code in shares:
            share = shares.get(code, 0.0)
            yield Row(label, f"{code:>3}  {name}  {share_text(share)}", facts.colors.get(code, ""))
            label = ""


def _receipt(path: Path, tags: Mapping[str, str]) -> dict[str, Any] | None:
    """The receipt of this very map; None where there is none that can be shown."""
    match own_receipt(path, tags):
        case {"recipe": dict(), "scene": {"paths": list()}} as receipt:
            return receipt
    return None


def _receipt_rows(receipt: dict[str, Any] | None) -> Iterator[Row]:
    if receipt is None:
        yield Row("receipt", "none of this map beside it (the .json of the map)")
        return
    recipe = receipt["recipe"]
    score = receipt.get("seam_score")
    yield Row("scene", ", ".join(map(str, receipt["scene"]["paths"])) or "unknown")
    yield Row(
        "recipe",
        f"{recipe.get('device')} ({recipe.get('hardware')}), {recipe.get('precision')}, windows of "
        f"{recipe.get('window')} px sharing {recipe.get('overlap')} px",
    )
    for accepted in recipe.get("substitutions") or []:
        yield Row("accepted", str(accepted))
    yield Row(
        "seam score", "one window, no seams" if score is None else f"{score} (1 means no seams)"
    )
    if receipt.get("command"):
        yield Row("command", str(receipt["command"]))
