"""Calibration: how far probabilities hold, and below which a model names no class."""

from dataclasses import dataclass

from geofm.errors import ModelError


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns blended logits into probabilities that hold, and into "unsure".

    Probabilities are ``softmax(logits / temperature)``. Dividing changes no order, so it
    changes no class (Guo et al. 2017, On Calibration of Modern Neural Networks).

    Attributes:
        temperature: above 1 makes an overconfident model modest.
        unsure_below: a pixel whose best class has a smaller probability gets the code
            `geofm.tasks.UNSURE` instead; None names a class everywhere.
    """

    temperature: float = 1.0
    unsure_below: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ModelError(
                f"the calibration has a temperature of {self.temperature:g}; needed a number "
                "above 0; calibrate the model again (geofm calibrate)"
            )
        if self.unsure_below is not None and not 0 <= self.unsure_below <= 1:
            raise ModelError(
                f"the calibration calls pixels below {self.unsure_below:g} unsure; needed a "
                "probability, 0 to 1; calibrate the model again (geofm calibrate)"
            )
