"""Pairs that belong together, so that no split may tear them apart."""

from collections.abc import Iterator, Sequence

from geofm.scenes.catalog import Pair
from geofm.tiles.nearness import near_pairs
from geofm.tiles.sketch import shared_ground, sketch_scene


def group_pairs(pairs: Sequence[Pair], *, gap: float = 0.0) -> list[int]:
    """The group of each pair, numbered from 0 in the order of the pairs.

    Pairs with a given group stand together by it. The others belong together where
    their footprints touch or lie nearer than ``gap`` metres, or where they have no
    place on Earth and share pixels.
    """
    parent = list(range(len(pairs)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for a, b in _links(pairs, gap):
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(at), len(numbers)) for at in range(len(pairs))]


def _links(pairs: Sequence[Pair], gap: float) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for at, pair in enumerate(pairs):
        if pair.group:
            yield first.setdefault(pair.group, at), at
    free = [at for at, pair in enumerate(pairs) if not pair.group]
    placed = [at for at in free if is_placed(pairs[at])]
    outlines = [pairs[at].scene.footprint for at in placed]
    known = [outline for outline in outlines if outline is not None]
    for i, j, _ in near_pairs(known, known, within=gap):
        if i < j:
            yield placed[i], placed[j]
    nowhere = [at for at in free if not is_placed(pairs[at])]
    sketches = [sketch_scene(pairs[at].scene) for at in nowhere] if len(nowhere) > 1 else []
    for i, j in shared_ground(sketches):
        yield nowhere[i], nowhere[j]


def is_placed(pair: Pair) -> bool:
    """Whether the scene has a place on Earth."""
    outline = pair.scene.footprint
    return outline is not None and not outline.is_empty
