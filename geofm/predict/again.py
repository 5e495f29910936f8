"""A map made again as its receipt says, and what has changed where the bytes differ."""

import filecmp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from geofm.errors import SceneError
from geofm.export.stac import own_receipt
from geofm.model.folder import TrainedModel
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.mapping import MapReport, map_to_file
from geofm.predict.publish import map_roles, output_files
from geofm.predict.threads import threads
from geofm.scenes.facts import read_facts, read_window
from geofm.scenes.reader import Scene
from geofm.scenes.window import Window

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """A map that was made a second time.

    Attributes:
        first: the map whose receipt was followed.
        report: of the second run.
        equal: whether the files have the same bytes, by role.
        changed: sentences on what was otherwise; empty where nothing is known to be.
        differing: share of the pixels whose class or code differs, 0 to 1.
    """

    first: Path
    report: MapReport
    equal: Mapping[str, bool]
    changed: tuple[str, ...]
    differing: float

    @property
    def same(self) -> bool:
        """Whether every raster has the same bytes."""
        return all(self.equal.values())

    def __str__(self) -> str:
        lines = [f"{self.report.path}, as the receipt of {self.first} says"]
        if self.same:
            lines.append(f"the same bytes: {', '.join(self.equal)}")
        else:
            other = ", ".join(role for role, equal in self.equal.items() if not equal)
            lines.append(f"other bytes: {other}; {self.differing:.4%} of the classes differ")
        lines += [f"changed: {sentence}" for sentence in self.changed]
        if not self.same and not self.changed:
            lines.append("nothing in the receipts says why")
        return "\n".join(lines)

    __repr__ = __str__


def receipt_of(path: Path) -> dict[str, Any]:
    """The receipt beside a map, if it is of this very map.

    Raises:
        SceneError: there is none, or the map cannot be read.
    """
    receipt = own_receipt(path, read_facts(path).tags)
    if receipt is None:
        raise SceneError(
            f"{path} has no receipt beside it ({output_files(path)['item'].name}); needed one to "
            "make the map again; keep both files together"
        )
    return receipt


def map_again(
    first: str | Path,
    output: str | Path,
    model: TrainedModel,
    scene: Scene,
    *,
    memory: int = MapOptions().memory,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Again:
    """Map a scene as a receipt says, and hold the files against the first ones.

    What the receipt fixes is taken from it: accepted bands, quality classes, precision,
    device, overlap, threads and the rasters to write.

    Args:
        first: a map with its receipt beside it.
        output: ends in ``.tif``.
        model, scene: those of the receipt, as far as they are still the same.
        memory, overwrite, command, progress: as `map_to_file`.

    Raises:
        SceneError: there is no receipt.
        GeofmError: as `map_to_file`.
    """
    path = Path(first)
    before = receipt_of(path)
    recipe = before["recipe"]
    options = MapOptions(
        probabilities=output_files(path)["probabilities"].is_file(),
        accept=dict(text.split("=", 1) for text in recipe.get("substitutions") or ()),
        memory=memory,
        precision=recipe.get("precision", "auto"),
        device=recipe.get("device"),
        overlap=recipe.get("overlap"),
        overwrite=overwrite,
    )
    if scene.quality is not None:
        told = [name for name in recipe.get("masked_qa") or () if name in scene.quality.classes]
        scene = replace(scene.setting_aside(told) if told else scene, masked_qa=tuple(told))
    with threads(recipe.get("threads") or torch.get_num_threads()):
        report = map_to_file(
            model, scene, output, options=options, command=command, progress=progress
        )
    after = receipt_of(report.path)
    ours, theirs = output_files(report.path), output_files(path)
    equal = {
        role: theirs[role].is_file() and filecmp.cmp(theirs[role], ours[role], shallow=False)
        for role in map_roles(options)
    }
    return Again(
        first=path,
        report=report,
        equal=equal,
        changed=tuple(_changes(before, after)),
        differing=0.0 if equal["classes"] else _differing(path, report.path),
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What two receipts do not share, in sentences."""
    old, new = (_flat(part["recipe"]) for part in (before, after))
    if old.get("weights") != new.get("weights"):
        names = [str((part.get("model") or {}).get("name")) for part in (before, after)]
        yield (
            f"the model: {names[0]} with weights {_short(old.get('weights'))} then, {names[1]} "
            f"with {_short(new.get('weights'))} now"
        )
    files = [part.get("scene_files") for part in (before, after)]
    if files[0] is None:
        yield "perhaps the scene: the receipt is of a version that did not note its files' hashes"
    elif list(files[0].values()) != list((files[1] or {}).values()):
        other = [name for name, found in (files[1] or {}).items() if files[0].get(name) != found]
        yield f"the scene: {', '.join(other) or 'its files'} held other bytes then"
    for name in ("level", "scale", "offset"):
        then, now = ((part.get("scene") or {}).get(name) for part in (before, after))
        if then != now:
            yield f"the scene's {name}: {_short(then)} then, {_short(now)} now"
    for name in dict.fromkeys([*old, *new]):
        if name != "weights" and old.get(name) != new.get(name):
            yield f"{name}: {_short(old.get(name))} then, {_short(new.get(name))} now"


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Inner names behind those above them: ``versions.torch``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= (
            _flat(value, f"{above}{name}.")
            if isinstance(value, Mapping)
            else {f"{above}{name}": value}
        )
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


def _differing(first: Path, second: Path) -> float:
    """Share of the pixels that two maps do not share."""
    height, width = (int(side) for side in read_facts(second).geobox.shape)
    if tuple(read_facts(first).geobox.shape) != (height, width):
        return 1.0
    count = 0
    for row in range(0, height, _ROWS):
        window = Window(row, 0, min(_ROWS, height - row), width)
        count += int((read_window(first, window) != read_window(second, window)).sum())
    return count / (height * width)
