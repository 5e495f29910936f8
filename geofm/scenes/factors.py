"""Scale and offset of a scene: the caller's, or those that its files state."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geofm.errors import UnitsError

Factors = float | Sequence[float] | npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Stated(NamedTuple):
    """What a file says of one band's units."""

    where: str
    dtype: np.dtype[Any]
    scale: float | None
    offset: float | None


def find_factors(
    stated: Sequence[Sequence[Stated]],
    bands: Sequence[str],
    scale: Factors | None,
    offset: Factors | None,
) -> tuple[Floats, Floats]:
    """Scale and offset (T, C) float32: the caller's, or the stated ones.

    Raises:
        UnitsError: a band has no scale, or a scale was given against a stated offset.
    """
    shape = (len(stated), len(bands))
    if scale is None:
        for row in stated:
            for name, one in zip(bands, row, strict=True):
                if one.scale is None:
                    raise UnitsError(_no_scale(one, name))
        scales = np.array([[one.scale for one in row] for row in stated], dtype=np.float32)
    else:
        scales = _given(scale, shape, "scale")
    if offset is None:
        offsets = np.array([[one.offset or 0.0 for one in row] for row in stated], np.float32)
        if scale is not None and offsets.any():
            raise UnitsError(
                f"{stated[0][0].where} states an offset ({offsets[offsets != 0][0]:g}), and scale= "
                "was given without offset=; needed both to replace the file's; give offset= too"
            )
    else:
        offsets = _given(offset, shape, "offset")
    return scales, offsets


def _given(factors: Factors, shape: tuple[int, int], what: str) -> Floats:
    array = np.asarray(factors, dtype=np.float32)
    if array.shape not in {(), shape[1:], shape} or not np.isfinite(array).all():
        raise UnitsError(
            f"{what}= has {array.size} numbers; needed one for all, or one finite number for each "
            f"of {shape[1]} bands"
        )
    if what == "scale" and (array == 0).any():
        raise UnitsError("scale= is 0, which makes every value the same; give the real scale")
    return np.ascontiguousarray(np.broadcast_to(array, shape))


def _no_scale(stated: Stated, band: str) -> str:
    if stated.dtype.kind == "f":
        return (
            f"{stated.where} stores {band} as {stated.dtype} and states no scale; needed to know "
            "whether that is reflectance; give scale=1 if values run from 0 to 1, or their scale"
        )
    return (
        f"{stated.where} stores {band} as {stated.dtype} and states no scale; needed to turn "
        "stored numbers into reflectance; give scale= (and offset=), such as scale=0.0001 for "
        "reflectance x 10000"
    )
