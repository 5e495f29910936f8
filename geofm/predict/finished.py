"""What stands where a scene's map is to be: nothing, this very map, or another one.

The finished map with its receipt is the record of a batch: nothing else is asked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geofm.export.stac import read_receipt
from geofm.predict.engine import MapJob
from geofm.predict.publish import file_hash, map_layers, output_files, what_is_mapped
from geofm.predict.scratch import scratch_folder


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands at an output.

    Attributes:
        kind: ``"finished"`` is what would be made, byte by byte; ``"part"`` is some of it, or
            a run that was killed; ``"other"`` is another map, or a file of someone else.
        difference: how the other differs, in words.
    """

    kind: Literal["nothing", "part", "finished", "other"]
    difference: str = ""


def look_at(job: MapJob, out: Path) -> Standing:
    """Hold what stands at ``out`` against what is about to be made."""
    places = output_files(out)
    standing = [path for path in places.values() if path.exists()]
    if scratch_folder(out).is_dir():
        return Standing("part")
    if not standing:
        return Standing("nothing")
    receipt = read_receipt(out)
    if receipt is None:
        return Standing("other", f"{standing[-1].name} has no receipt")
    difference = _difference(receipt, _plain(what_is_mapped(job)))
    if difference or _changed_since(job.scene.paths, standing[-1], receipt):
        return Standing("other", difference or "its scene has changed since")
    wanted = [places["item"], *(places[layer.name] for layer in map_layers(job))]
    return Standing("finished" if all(path.exists() for path in wanted) else "part")


def _plain(values: Mapping[str, object]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing in which two receipts differ; "" for none."""
    model, recipe = found.get("model") or {}, found.get("recipe") or {}
    if model.get("sha256") != wanted["model"]["sha256"]:
        return f"it was made by another model, {model.get('name', 'unknown')}"
    for name, value in wanted["recipe"].items():
        if recipe.get(name) != value:
            return (
                f"its recipe has {name} {_short(recipe.get(name))}, and now it is {_short(value)}"
            )
    if found.get("scene") != wanted["scene"]:
        paths = (found.get("scene") or {}).get("paths", [])
        return f"it was made from {', '.join(map(str, paths)) or 'another scene'}, read in its way"
    return ""


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changed_since(paths: tuple[str, ...], out: Path, receipt: Mapping[str, Any]) -> bool:
    """Whether a local file of a scene is newer than its map, and not the one that was mapped."""
    made = out.stat().st_mtime_ns
    # What is not there is an address, or gone: reading it will tell.
    newer = [path for path in paths if Path(path).exists() and Path(path).stat().st_mtime_ns > made]
    known = receipt.get("scene_files") or {}
    return any(known.get(path) != file_hash(path) for path in newer)
