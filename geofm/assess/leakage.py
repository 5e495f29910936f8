"""Has the model seen what it is scored on? Footprints in metres; names where there is no CRS."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from geofm.assess.parts import Part
from geofm.errors import SplitError
from geofm.scenes.catalog import Pair
from geofm.scenes.ground import crop
from geofm.scenes.ground import footprint as ground_footprint
from geofm.scenes.window import Window
from geofm.tiles.area import STEP, Area, cells, footprint
from geofm.tiles.groups import is_placed
from geofm.tiles.nearness import metres_between

# Cells of a scene that are told apart: no more along a side, and none smaller.
_CELLS, _SMALLEST_CELL = 128, 16


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much of what is scored the model has met before.

    Attributes:
        overlap: some of it lies in the model's training, or in what chose its checkpoint.
        distance: metres to the nearest ground of either, 0 where they overlap or touch;
            None where a place is not known.
        trained: share of what is scored (0 to 1) inside its training, by area, or by scene
            where there is no CRS; None where the training is not recorded.
        pretrained: the same of its encoder's pretraining, without labels.
        calibrated: the same of what its temperature and bound were fitted on.
    """

    overlap: bool
    distance: float | None
    trained: float | None
    pretrained: float | None
    calibrated: float | None

    @property
    def sentence(self) -> str:
        """What there is to say, for people."""
        if self.distance is None:
            told = (
                "the model does not record where it was trained"
                if self.trained is None
                else "no distance to training is known, as a place on Earth is missing; by name "
                f"{self.trained:.0%} of the scenes were trained on"
            )
        elif self.overlap:
            told = f"{self.trained or 0:.0%} of this was seen in training"
        else:
            told = f"{_metres(self.distance)} or more from training"
        seen = (
            "not recorded whether seen in pretraining"
            if self.pretrained is None
            else f"{self.pretrained:.0%} seen in pretraining (without labels)"
        )
        return f"{told}; {seen}"


def check_exposure(
    provenance: Mapping[str, Any],
    pairs: Sequence[Pair],
    parts: Sequence[Part],
    *,
    model: str,
    allow: bool,
    chosen_on: bool = True,
) -> Exposure:
    """Compare what is scored with what a model's provenance says it has seen.

    Args:
        model: its name, for messages.
        allow: take what was trained on, and only say so.
        chosen_on: refuse also what chose among checkpoints (the validation footprint).

    Raises:
        SplitError: some of it was trained on, and ``allow`` is not given.
    """
    ground = _ground(pairs, parts)
    trained = _share(ground, provenance, pairs, parts)
    keys = ("training_footprint", "validation_footprint")[: 2 if chosen_on else 1]
    used = [seen for key in keys if (seen := _footprint(provenance, key)) is not None]
    overlap = ground is not None and any(not _overlap(ground, seen).is_empty for seen in used)
    distances = [] if ground is None else [metres_between(ground, seen) for seen in used]
    exposure = Exposure(
        overlap=overlap,
        distance=max(min(distances), 0.0) if distances else None,
        trained=trained,
        pretrained=_share(ground, provenance.get("encoder") or {}, pairs, parts),
        calibrated=_share(ground, provenance.get("calibration") or {}, pairs, parts),
    )
    if not allow:
        _refuse(exposure, provenance, pairs, parts, model)
    return exposure


def validation_windows(
    provenance: Mapping[str, Any], pairs: Sequence[Pair]
) -> tuple[list[Pair], list[tuple[Window, ...]]]:
    """What chose the weights of a model among the pairs it was taught with: what trained nothing.

    Args:
        pairs: as they were given to training.

    Returns:
        The pairs that have some, and the windows of each: cells inside the validation
        footprint; without a CRS, whole scenes that are not among the sources.
    """
    area = _footprint(provenance, "validation_footprint")
    sources = set(provenance.get("sources") or ())
    found = []
    for pair in pairs:
        whole = Window(0, 0, *pair.scene.shape)
        if is_placed(pair):
            windows = () if area is None else _cells_inside(pair, whole, area)
        else:
            windows = () if pair.scene.id in sources or not sources else (whole,)
        if windows:
            found.append((pair, windows))
    return [pair for pair, _ in found], [windows for _, windows in found]


def _cells_inside(pair: Pair, whole: Window, area: BaseGeometry) -> tuple[Window, ...]:
    if pair.scene.footprint is None or not area.intersects(pair.scene.footprint):
        return ()
    roomy = shapely.buffer(area, 4 * STEP)  # its corners are rounded
    shapely.prepare(roomy)
    size = max(max(whole.height, whole.width) // _CELLS, _SMALLEST_CELL)
    return tuple(
        cell
        for cell in cells(whole, size=size)
        if (outline := ground_footprint(crop(pair.scene.geobox, cell))) is not None
        and roomy.covers(outline)
    )


def _refuse(
    exposure: Exposure,
    provenance: Mapping[str, Any],
    pairs: Sequence[Pair],
    parts: Sequence[Part],
    model: str,
) -> None:
    further = "score it on other places, or allow it (--allow-leakage) and call it no test"
    if exposure.overlap:
        share = exposure.trained or 0.0
        raise SplitError(
            f"{model} was trained on {'some' if share < 0.01 else f'{share:.0%}'} of these pixels "
            f"(0 m apart); needed places it has not seen; {further}"
        )
    seen = _seen_names(provenance, pairs, parts)
    if seen:
        raise SplitError(
            f"{model} was trained on {seen[0]}{f' and {len(seen) - 1} more' if seen[1:] else ''} "
            f"(told by name, as there is no CRS); needed scenes it has not seen; {further}"
        )


def _ground(pairs: Sequence[Pair], parts: Sequence[Part]) -> BaseGeometry | None:
    """What is scored, longitude and latitude; None where no pair has a CRS."""
    outline = footprint([Area(pairs[part.pair].scene, part.windows) for part in parts])
    return None if outline is None else shapely.from_geojson(json.dumps(outline))


def _footprint(record: Mapping[str, Any], key: str) -> BaseGeometry | None:
    return shapely.from_geojson(json.dumps(record[key])) if record.get(key) else None


def _share(
    ground: BaseGeometry | None,
    record: Mapping[str, Any],
    pairs: Sequence[Pair],
    parts: Sequence[Part],
) -> float | None:
    """Share of what is scored that a record of training covers; None where it cannot tell."""
    if ground is not None and ground.area:
        seen = _footprint(record, "training_footprint")
        return None if seen is None else float(_overlap(ground, seen).area / ground.area)
    if not record.get("sources"):
        return None
    used = {part.pair for part in parts}
    return len(_seen_names(record, pairs, parts)) / max(len(used), 1)


def _seen_names(
    record: Mapping[str, Any], pairs: Sequence[Pair], parts: Sequence[Part]
) -> list[str]:
    """Scenes without a CRS that a record names among its sources."""
    known = set(record.get("sources") or ())
    scenes = [pairs[at].scene for at in dict.fromkeys(part.pair for part in parts)]
    return [scene.id for scene in scenes if scene.footprint is None and scene.id in known]


def _overlap(a: BaseGeometry, b: BaseGeometry) -> BaseGeometry:
    """What two areas share; slivers that rounding leaves between neighbours are not."""
    shared = shapely.intersection(a, b)
    return shapely.intersection(shared, shared.buffer(-2 * STEP).buffer(4 * STEP))


def _metres(distance: float) -> str:
    return f"{distance / 1000:.1f} km" if distance >= 1000 else f"{distance:.0f} m"
