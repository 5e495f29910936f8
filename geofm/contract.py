"""The pixel contract: what numbers a model was trained with, so that it never gets others."""

from dataclasses import dataclass

from geofm.bands import Level, check_bands
from geofm.errors import ModelError


@dataclass(frozen=True, slots=True)
class PixelContract:
    """What every input pixel of a model means.

    A model sees ``(dn * scale + offset - mean) / std``, float32, in this order
    of operations; ``scale`` and ``offset`` are the scene's, the rest is here.

    Attributes:
        bands: STAC common names, in the order of the model's input channels.
        level: ``"toa"`` or ``"surface"`` reflectance.
        mean, std: of each band over valid training pixels, reflectance (0 to 1).
        resolution: ground size of a training pixel, metres.
        dates: dates a model input holds, T.
        min_valid_dates: dates on which a pixel must be valid to be mapped.
        masked_qa: QA classes (such as ``"cloud"``) that make a pixel invalid.
    """

    bands: tuple[str, ...]
    level: Level
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: float
    dates: int = 1
    min_valid_dates: int = 1
    masked_qa: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bands(self.bands, where="pixel contract")
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise ModelError(
                f"pixel contract has {len(self.bands)} bands, {len(self.mean)} means and "
                f"{len(self.std)} standard deviations; it needs one of each a band"
            )
        if not all(abs(v) < 1e30 for v in (*self.mean, *self.std)):  # also not NaN
            raise ModelError(
                f"pixel contract has means {self.mean} and standard deviations {self.std}; "
                "they must be numbers that float32 can hold; fetch the model again"
            )
        if not all(s > 0 for s in self.std):
            raise ModelError(f"pixel contract has a standard deviation of 0 or less: {self.std}")
        if not 1 <= self.min_valid_dates <= self.dates:
            raise ModelError(
                f"pixel contract wants {self.min_valid_dates} valid dates of {self.dates}; "
                "it needs at least 1 and no more than it has"
            )
