"""Which scene goes with which labels."""

from dataclasses import dataclass

from geofm.scenes.labels import Labels
from geofm.scenes.reader import Scene


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A scene, its labels on the same grid, and what messages call them."""

    scene: Scene
    labels: Labels
    name: str
