"""A pretrained encoder for inputs of another number of dates or another size."""

from copy import deepcopy
from dataclasses import replace

import torch

from geofm.errors import ModelError
from geofm.model.encoder import Encoder


def adapted(encoder: Encoder, *, dates: int, image_size: int) -> Encoder:
    """A copy of an encoder that is built for other inputs; its weights are the same.

    A position code that is a formula is computed for the new grid; a learned one
    is resized to it, and serves every date.

    Args:
        dates: of an input; a multiple of the encoder's tubelet.
        image_size: side of an input, pixels; a multiple of its patch.

    Raises:
        ModelError: they are no multiples.
    """
    made = encoder.config
    if dates % made.tubelet:
        raise ModelError(
            f"scenes have {dates} date{'s' if dates > 1 else ''} and a token of the encoder spans "
            f"{made.tubelet}; give scenes of a multiple of {made.tubelet} dates, or another encoder"
        )
    learned_at = made.position_size or made.image_size
    shape = replace(
        made,
        dates=dates,
        image_size=image_size,
        # Weights of a grid stay weights of that grid.
        position_size=learned_at if made.learned_positions else made.position_size,
    )
    with torch.device("meta"):
        copy = Encoder(shape)
    copy.load_state_dict(deepcopy(encoder.state_dict()), strict=True, assign=True)
    return copy.train(encoder.training)
