"""Scenes that are left out of many, by name.

One damaged file in a hundred must not cost a day, and a folder of the wrong files
must not pass: what is left out is counted, named, and a small share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from geofm.errors import SceneError


@dataclass(frozen=True, slots=True)
class Skipped:
    """A scene that was left out, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def check_skipped(skipped: Sequence[Skipped], count: int, *, most: float) -> None:
    """What is left out of ``count`` scenes is a share that may be.

    Raises:
        SceneError: it is more, or all.
    """
    if skipped and (len(skipped) == count or len(skipped) > most * count):
        first = "; ".join(map(str, skipped[:3]))
        if count == 1:
            raise SceneError(first)
        raise SceneError(
            f"{len(skipped)} of {count} scenes cannot be used, and at most {most:.0%} may be "
            f"left out: {first}{'; ...' if len(skipped) > 3 else ''}; mend them, name only the "
            "others, or allow more"
        )
