"""Which scene goes with which labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geofm.scenes.labels import Labels
from geofm.scenes.reader import Scene


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A scene and its labels on the same grid.

    Attributes:
        name: what messages call them.
        group: pairs of one group are not split, such as tiles of one event; ``""`` leaves it to
            the ground: what lies near belongs together.
        split: the role that whoever published them gave: ``"train"``, ``"val"``, ``"test"``;
            ``""`` for none.
        facts: what scores are told apart by, such as region, sensor, event and date.
    """

    scene: Scene
    labels: Labels
    name: str
    group: str = ""
    split: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
