"""Which weights of a model learn, and how fast."""

from collections.abc import Iterator

from torch import nn

from geofm.errors import ConfigError
from geofm.model.encoder import Encoder
from geofm.model.lora import add_lora, lora_parameters
from geofm.model.segmenter import Segmenter
from geofm.train.config import FinetuneConfig
from geofm.train.optim import Rate


def finetuning_rates(
    segmenter: Segmenter, config: FinetuneConfig, *, pretrained: bool
) -> list[Rate]:
    """The parts of a model with their learning rates; with ``config.lora`` it is added first.

    Args:
        pretrained: the encoder is; one from nothing learns as fast as the head.

    Raises:
        ConfigError: LoRA for an encoder from nothing.
        ModelError: the rank is too high.
    """
    head = Rate(segmenter.head, config.learning_rate)
    if not pretrained:
        if config.lora:
            raise ConfigError(
                f"lora is {config.lora} and there is no encoder to keep; give a pretrained one "
                "(encoder=), or leave lora out"
            )
        return [Rate(segmenter.encoder, config.learning_rate), head]
    assert config.encoder_rate is not None  # settled before
    rate = config.learning_rate * config.encoder_rate
    if config.lora:
        add_lora(segmenter.encoder, rank=config.lora)
        learning = lora_parameters(segmenter.encoder)
        ours = {id(parameter) for parameter in learning}
        others = [p for p in segmenter.encoder.parameters() if id(p) not in ours]
        return [Rate(others, 0.0), Rate(learning, rate), head]
    return [*_layer_rates(segmenter.encoder, rate, config.layer_decay), head]


def _layer_rates(encoder: Encoder, rate: float, decay: float) -> Iterator[Rate]:
    """Rates that fall from the last norm down to the patches, as in BEiT and timm."""
    depth = len(encoder.blocks)
    yield Rate(encoder.norm, rate)
    for index, block in enumerate(encoder.blocks):
        yield Rate(block, rate * decay ** (depth - index))
    named = {id(p) for part in (encoder.norm, encoder.blocks) for p in part.parameters()}
    below: list[nn.Parameter] = [p for p in encoder.parameters() if id(p) not in named]
    yield Rate(below, rate * decay ** (depth + 1))
