"""A scene's pixels in a few hundred numbers, by which crops of one picture are known.

Chips often come without a place on Earth, cut from one scene so that they overlap.
Every neighbourhood of 3 x 3 pixels is hashed, and the smallest hashes are kept
(bottom-k sketch: Broder, 1997, "On the resemblance and containment of documents"):
two crops that share ground keep the same ones there, wherever it lies in each.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from geofm.scenes.reader import Scene
from geofm.tiles.windows import plan_windows

_KEPT = 512
# Chance makes no two neighbourhoods of six bands equal; still, one is no proof.
_ENOUGH = 2
_BLOCK = 512

Hashes = npt.NDArray[np.uint64]


# Groups and leaks ask for the same; a sketch is 4 KiB.
@lru_cache(maxsize=4096)
def sketch_scene(scene: Scene) -> Hashes:
    """The smallest hashes of its first date, ascending; fewer where little was measured."""
    found = np.empty(0, np.uint64)
    for window in plan_windows(*scene.shape, size=_BLOCK, overlap=2):
        stored = scene.read_stored(window.clip(*scene.shape), dates=[0])
        hashes = _hashes(stored.dn[0], stored.valid[0])
        found = np.unique(np.concatenate([found, hashes]))[:_KEPT]
    return found


def shared_ground(sketches: Sequence[Hashes]) -> list[tuple[int, int]]:
    """Pairs of scenes that share pixels: positions, the smaller first."""
    values = np.concatenate([np.empty(0, np.uint64), *sketches])
    owners = np.repeat(np.arange(len(sketches)), [len(one) for one in sketches])
    order = np.argsort(values, kind="stable")
    values, owners = values[order], owners[order]
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    counts: Counter[tuple[int, int]] = Counter()
    for run in np.split(owners, changes):
        # Along the run: enough to join them, and no square of it.
        counts.update((a, b) for a, b in pairwise(run.tolist()))
    return [pair for pair, count in counts.items() if count >= _ENOUGH]


def _hashes(dn: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_]) -> Hashes:
    """Hashes of the neighbourhoods (3 x 3, all bands) that are measured and not flat."""
    bands, height, width = dn.shape
    if min(height, width) < 3:
        return np.empty(0, np.uint64)
    bits = dn.astype(np.float32).view(np.uint32).astype(np.uint64)
    pixel = np.zeros((height, width), np.uint64)
    for band in range(bands):
        pixel = _mixed(pixel ^ bits[band])
    middle = pixel[1:-1, 1:-1]
    total = np.zeros_like(middle)
    useful = np.ones(middle.shape, bool)
    for row in range(3):
        for col in range(3):
            there = slice(row, height - 2 + row), slice(col, width - 2 + col)
            useful &= valid[there]
            if (row, col) != (1, 1):
                useful &= pixel[there] != middle
            total = _mixed(total ^ pixel[there])
    return np.asarray(total[useful])


def _mixed(x: Hashes) -> Hashes:
    """Spread the bits of 64-bit numbers (splitmix64: Steele, Lea and Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
