"""How long a batch will take: some of its scenes are probed, the others are taken to be alike."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from geofm.errors import GeofmError, SceneError
from geofm.model.folder import TrainedModel
from geofm.predict.engine import MapOptions, Progress
from geofm.predict.estimate import Estimate, estimate_map
from geofm.predict.many import BatchOptions
from geofm.predict.threads import threads
from geofm.scenes.entries import Entry, open_entry

PROBED = 3
"""Scenes that are probed, for up to 20 s each."""


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """What a batch will take.

    Attributes:
        scenes: of the manifest; those that are mapped already are counted too.
        probed: by which the others were judged, drawn at random.
        least, most: seconds of one scene, among those probed.
        workers: as many scenes are in work at the same time.
        seconds: of the batch; a cluster's are those of workers as fast as this machine.
        memory: of all workers, bytes at their peak.
        disk: of all maps, and of what lies beside them while they are made, bytes.
        unusable: how many of those looked at cannot be mapped, with the first reason.
    """

    scenes: int
    probed: int
    least: float
    most: float
    workers: int
    seconds: float
    memory: int
    disk: int
    unusable: str = ""


def estimate_batch(
    model: TrainedModel,
    entries: Sequence[Entry],
    *,
    maps: MapOptions,
    options: BatchOptions,
    reading: Mapping[str, Any],
    progress: Progress | None = None,
) -> BatchEstimate:
    """Forecast a batch from a few of its scenes, the same ones each time.

    Args:
        entries, maps, options, reading: as `geofm.predict.many.map_many`.

    Raises:
        SceneError: there is none, or none of those looked at can be mapped.
    """
    if not entries:
        raise SceneError("the manifest names no scene; needed one or more")
    found: list[Estimate] = []
    reasons: list[str] = []
    order = random.Random(0).sample(range(len(entries)), min(len(entries), 3 * PROBED))  # noqa: S311
    for at in order:
        if progress:
            progress(len(found) / PROBED, entries[at].id)
        try:
            with threads(options.threads):
                found.append(estimate_map(model, open_entry(entries[at], reading), maps))
        except GeofmError as error:
            reasons.append(str(error))
        if len(found) == PROBED:
            break
    if not found:
        raise SceneError(
            f"none of {len(reasons)} scenes that were probed can be mapped: {reasons[0]}"
        )
    workers = max(options.workers, 1)
    count = len(entries)
    # A scene that ends last keeps its worker while the others have none.
    rounds = max(count / workers, 1.0)
    return BatchEstimate(
        scenes=count,
        probed=len(found),
        least=min(one.seconds for one in found),
        most=max(one.seconds for one in found),
        workers=workers,
        seconds=rounds * mean(one.seconds for one in found),
        memory=min(workers, count) * max(one.memory for one in found),
        disk=round(count * mean(one.output for one in found))
        + min(workers, count) * max(one.disk for one in found),
        unusable=f"{len(reasons)} of {len(found) + len(reasons)}: {reasons[0]}" if reasons else "",
    )
