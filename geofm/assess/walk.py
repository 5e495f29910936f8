"""Pairs through the engine, one after the other, into sinks that count or draw."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from geofm.assess.parts import Part
from geofm.model.folder import TrainedModel
from geofm.predict.engine import MapJob, MapOptions, Progress, Sink, prepare, run
from geofm.scenes.catalog import Pair
from geofm.scenes.window import Window

S = TypeVar("S", bound=Sink)


def map_parts(
    model: TrainedModel,
    pairs: Sequence[Pair],
    parts: Sequence[Part],
    make: Callable[[MapJob, Pair, list[tuple[Window, ...]]], S],
    *,
    options: MapOptions | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[S, list[int]]]:
    """Map the pairs that have parts: the blended logits and classes that a map would hold.

    Args:
        make: a sink for one pair and the windows of its parts.
        options: as for a map; a CRS is not needed.

    Yields:
        Of each pair, its full sink and the positions of its parts.
    """
    options = replace(options or MapOptions(), need_crs=False, logits=True)
    positions: dict[int, list[int]] = {}
    for at, part in enumerate(parts):
        positions.setdefault(part.pair, []).append(at)
    for done, (number, these) in enumerate(positions.items()):
        pair = pairs[number]
        job = prepare(model, pair.scene, options)
        sink = make(job, pair, [parts[at].windows for at in these])
        run(job, sink, progress=_part(progress, done, len(positions), pair.name))
        yield sink, these


def _part(progress: Progress | None, done: int, total: int, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda share, _: progress((done + share) / total, f"{done + 1} of {total}: {name}")
