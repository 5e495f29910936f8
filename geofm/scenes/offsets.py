"""The Sentinel-2 offset of a catalogue item: by provider and processing baseline.

ESA stores reflectance + 0.1 since processing baseline 04.00. Earth Search took it
off again in some of its COGs and publishes the offset all the same, and its flag
for that is wrong on some items (github.com/Element84/earth-search/issues/66 and
71). So what an item publishes is weighed against what its baseline means.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

AGENCY_OFFSET = -0.1
"""Of reflectance, from baseline 04.00 on."""

FIRST_BASELINE = 4.0
"""Of ESA's processing that stores reflectance + 0.1."""


class OffsetProblem(NamedTuple):
    """Why an offset is not certain; ``refuse`` where no rule decides."""

    text: str
    refuse: bool


def sentinel2_offset(
    item: Mapping[str, Any], published: float | None
) -> tuple[float, OffsetProblem | None]:
    """The offset to add to stored number * scale, and what speaks against it.

    Args:
        item: a STAC item of Sentinel-2.
        published: the offset that the item states for a band, or None.

    >>> sentinel2_offset({"properties": {"s2:processing_baseline": "02.14"}}, None)
    (0.0, None)
    """
    properties = item.get("properties", {})
    baseline = _baseline(properties)
    applied = _applied(properties)
    if baseline is None:
        if published is not None and applied is None:
            return published, None
        return 0.0, OffsetProblem("it states neither its processing baseline nor an offset", True)
    if baseline < FIRST_BASELINE:
        expected = 0.0
    elif applied:
        # The provider says so itself; the offset it publishes beside that is ESA's.
        return 0.0, None
    else:
        expected = AGENCY_OFFSET
    if published is not None and abs(published - expected) > 1e-6:
        text = (
            f"it publishes an offset of {published:g}, and processing baseline {baseline:05.2f} "
            f"means {expected:g}"
        )
        return expected, OffsetProblem(text, True)
    if applied is False and expected:
        return expected, OffsetProblem("its provider's flag is wrong on some items", False)
    return expected, None


def _baseline(properties: Mapping[str, Any]) -> float | None:
    for name in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        try:
            return float(properties[name])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _applied(properties: Mapping[str, Any]) -> bool | None:
    """Whether the provider says that it has taken the offset off; None where it says nothing."""
    for name in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        if name in properties:
            return bool(properties[name])
    return None
