"""How to train: plain frozen settings with checked ranges. Imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Literal

from geofm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """The size of a new encoder; bands and dates come from the scenes.

    Attributes:
        image_size: side of a training sample, pixels; a multiple of ``patch_size``.
        patch_size: side of a token, pixels.
        embed_dim: width of a token; a multiple of 16 and of ``num_heads``.
        depth: blocks.
        num_heads: attention heads of a block.
        tubelet: dates of a token; divides the dates of a sample.

    Raises:
        ConfigError: a value is out of range.
    """

    image_size: int = 128
    patch_size: int = 8
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 6
    tubelet: int = 1

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "tubelet"):
            _check(name, getattr(self, name), low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """What any training needs.

    Attributes:
        steps: optimizer steps.
        batch_size: samples of a step, over all devices.
        accumulate: parts that a device computes its samples of a step in, where they do
            not fit its memory at once; the weights come out the same.
        learning_rate: of AdamW, at its highest.
        weight_decay: of weights of two and more axes; biases, norms and single
            tokens have none.
        warmup: share of the steps over which the learning rate rises from 0;
            then it falls to 0 along a cosine.
        clip: largest norm of the gradient; 0 for no clipping.
        seed: of weights, samples and hidden patches.

    Raises:
        ConfigError: a value is out of range.
    """

    steps: int = 1000
    batch_size: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check("steps", self.steps, low=1)
        _check("batch_size", self.batch_size, low=1)
        _check("accumulate", self.accumulate, low=1)
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size is {self.batch_size}; needed a multiple of accumulate, "
                f"{self.accumulate}"
            )
        _check("learning_rate", self.learning_rate, low=0, high=1)
        _check("weight_decay", self.weight_decay, low=0, high=1)
        _check("warmup", self.warmup, low=0, high=1)
        _check("clip", self.clip, low=0)
        _check("seed", self.seed, low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Masked autoencoding of an encoder.

    Attributes:
        encoder: its size.
        mask_ratio: share of the patches that are hidden.
        decoder_dim, decoder_depth, decoder_heads: size of the decoder, which is
            thrown away afterwards.
        norm_pix_loss: rebuild each patch after taking out its own mean and
            standard deviation (He et al. 2022).
    """

    encoder: EncoderShape = field(default_factory=EncoderShape)
    mask_ratio: float = 0.75
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 6
    norm_pix_loss: bool = False

    def __post_init__(self) -> None:
        # Zero-argument super() does not see through slots=True.
        TrainingConfig.__post_init__(self)
        _check("mask_ratio", self.mask_ratio, low=0.01, high=0.99)
        for name in ("decoder_dim", "decoder_depth", "decoder_heads"):
            _check(name, getattr(self, name), low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Training of a head on labels, with its encoder.

    Attributes:
        head: ``"fcn"`` (sharp edges), ``"linear"``, or, for large encoders,
            ``"unet"`` or ``"upernet"``.
        channels: width of the head, where it has one.
        depths: blocks of the encoder that the head sees, from 0; empty for the
            last one, or the ends of four quarters for ``unet`` and ``upernet``.
        encoder_rate: learning rate of a pretrained encoder, as a share of
            ``learning_rate``; 0 freezes it.
        image_size: side of a training sample, pixels; 0 for the encoder's own.
        light: reflectance of a sample varies by ``exp`` of up to this, up or
            down, so that thin shadow and haze change the map less; 0 for none.
        scratch: size of the encoder, where none is given.
    """

    learning_rate: float = 1e-3
    head: Literal["fcn", "linear", "unet", "upernet"] = "fcn"
    channels: int = 64
    depths: tuple[int, ...] = ()
    encoder_rate: float = 1.0
    image_size: int = 0
    light: float = 0.0
    scratch: EncoderShape = field(default_factory=EncoderShape)

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        if self.head not in ("fcn", "linear", "unet", "upernet"):
            raise ConfigError(f"head is {self.head!r}; needed fcn, linear, unet or upernet")
        if self.head == "upernet" and self.batch_size < 2:
            raise ConfigError(
                "batch_size is 1; upernet learns from averages over whole windows and needed 2"
            )
        _check("channels", self.channels, low=1)
        _check("encoder_rate", self.encoder_rate, low=0, high=1)
        _check("image_size", self.image_size, low=0)
        _check("light", self.light, low=0, high=2)
        for depth in self.depths:
            _check("depths", depth, low=0)


def _check(name: str, value: float, *, low: float, high: float = float("inf")) -> None:
    # NaN fails every comparison, so it is refused too.
    if not low <= value <= high or value == float("inf"):
        needed = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {value}; needed {needed}")
