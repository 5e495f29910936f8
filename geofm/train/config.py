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
        coordinates: what it can be told of an image: ``"time"``, ``"location"``, or both.

    Raises:
        ConfigError: a value is out of range.
    """

    image_size: int = 128
    patch_size: int = 8
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 6
    tubelet: int = 1
    coordinates: tuple[Literal["time", "location"], ...] = ()

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "embed_dim", "depth", "num_heads", "tubelet"):
            _check(name, getattr(self, name), low=1)
        for name in self.coordinates:
            if name not in ("time", "location"):
                raise ConfigError(f"coordinates hold {name!r}; needed time, location, or both")


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
        ema: share that a moving average of the weights keeps of itself at each step,
            such as 0.999; the average is what is scored and returned. 0 for none.
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``: bf16 on GPUs and CPUs that
            multiply it natively. Weights and losses are float32 either way.
        compile: ``"yes"``, ``"no"``, or ``"auto"``: on a GPU, where the training is
            long enough for it.
        recompute: compute parts of the forward pass twice, for a fraction of the memory.
        devices: processes, each with its device, on this machine; ``"auto"`` for every GPU.
        num_nodes: machines, as torchrun or SLURM has started them.
        strategy: of several devices: ``"ddp"``, a copy of the weights on each; ``"fsdp"``,
            weights, gradients and AdamW's memory spread over them, for less memory and more
            traffic; ``"auto"`` is ``"ddp"``.

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
    ema: float = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    recompute: bool = False
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"

    def __post_init__(self) -> None:
        _check("steps", self.steps, low=1)
        _check("batch_size", self.batch_size, low=1)
        _check("accumulate", self.accumulate, low=1)
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size is {self.batch_size}; needed a multiple of accumulate, "
                f"{self.accumulate}"
            )
        _check("learning_rate", self.learning_rate, low=1e-9, high=1)
        _check("weight_decay", self.weight_decay, low=0, high=1)
        _check("warmup", self.warmup, low=0, high=1)
        _check("clip", self.clip, low=0)
        _check("seed", self.seed, low=0)
        _check("ema", self.ema, low=0, high=0.999999)
        _check_choice("precision", self.precision, ("auto", "fp32", "bf16"))
        _check_choice("compile", self.compile, ("auto", "yes", "no"))
        _check_choice("strategy", self.strategy, ("auto", "ddp", "fsdp"))
        if self.devices != "auto":
            _check("devices", self.devices, low=1)
        _check("num_nodes", self.num_nodes, low=1)


HOW_IT_RUNS = frozenset(("accumulate", "compile", "recompute", "devices", "num_nodes", "strategy"))
"""Settings that the curve does not follow from, but for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig(TrainingConfig):
    """Masked autoencoding of an encoder.

    Attributes:
        encoder: its size, where training does not go on from another.
        encoder_rate: learning rate of an encoder that training goes on from, as a
            share of ``learning_rate``.
        dates: of a sample, drawn from scenes that have more; scenes with fewer are left
            out. 0 for as many as the scenes have.
        any_resolution: scenes of different ground resolutions go together; the encoder's
            is their median.
        masked_qa: quality classes that set a pixel aside, in scenes that tell them.
        mask_ratio: share of the patches that are hidden.
        masking: ``"random"`` hides each patch by itself, ``"tube"`` the same places on
            all dates.
        coordinate_dropout: share of the samples that are not told their time, and of
            those that are not told their location.
        decoder_dim, decoder_depth, decoder_heads: size of the decoder, which is
            thrown away afterwards.
        target: what is rebuilt: ``"departures"`` from a smooth fill of what is seen, each
            image in units of its own variance; ``"patches"``, each less its own mean, over
            its own deviation (He et al. 2022); or plain ``"pixels"``, as Prithvi. ``"auto"``:
            pixels where a decoder goes on, else departures.
        light: reflectance of a sample, all its dates and bands together, varies by
            ``exp`` of up to this, up or down, so that the encoder meets other light than
            that of its scenes; 0 for none.
        tint: beside it, reflectance of each band of a sample varies by ``exp`` of up to this,
            up or down, all dates alike, so that the encoder meets other ground than that of
            its scenes; 0 for none.
        most_skipped: share of the scenes that may be left out because they cannot be used.

    Raises:
        ConfigError: a value is out of range.
        SceneError: no quality class is called so.
    """

    encoder: EncoderShape = field(default_factory=EncoderShape)
    encoder_rate: float = 0.1
    dates: int = 0
    any_resolution: bool = False
    masked_qa: tuple[str, ...] = ("cloud", "cirrus")
    mask_ratio: float = 0.75
    masking: Literal["random", "tube"] = "random"
    coordinate_dropout: float = 0.1
    decoder_dim: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 6
    target: Literal["auto", "departures", "patches", "pixels"] = "auto"
    light: float = 0.0
    tint: float = 0.0
    most_skipped: float = 0.1

    def __post_init__(self) -> None:
        # Zero-argument super() does not see through slots=True.
        TrainingConfig.__post_init__(self)
        _check("encoder_rate", self.encoder_rate, low=0, high=1)
        _check("dates", self.dates, low=0)
        _check("mask_ratio", self.mask_ratio, low=0.01, high=0.99)
        _check("coordinate_dropout", self.coordinate_dropout, low=0, high=1)
        _check("light", self.light, low=0, high=2)
        _check("tint", self.tint, low=0, high=2)
        _check("most_skipped", self.most_skipped, low=0, high=1)
        for name in ("decoder_dim", "decoder_depth", "decoder_heads"):
            _check(name, getattr(self, name), low=1)
        _check_choice("masking", self.masking, ("random", "tube"))
        _check_choice("target", self.target, ("auto", "departures", "patches", "pixels"))
        from geofm.scenes.quality import check_qa_classes  # numpy loads when settings are made

        check_qa_classes(self.masked_qa)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Training of a head on labels, with its encoder.

    Attributes:
        head: ``"fcn"`` (sharp edges), ``"linear"``, or, for large encoders,
            ``"unet"`` or ``"upernet"``.
        channels: width of the head, where it has one.
        depths: blocks of the encoder that the head sees, from 0; empty for the
            last one, or the ends of four quarters for ``unet`` and ``upernet``.
        start: ``"probe"``, of ``fcn`` alone: the head begins as the best linear reader of
            each pixel's bands and of the frozen tokens around it, and learns what that
            lacks (Kumar et al. 2022, arXiv:2202.10054); or ``"random"``. ``"auto"`` is
            ``"probe"`` for ``fcn``.
        encoder_rate: learning rate of a pretrained encoder, as a share of
            ``learning_rate``; 0 freezes it. None: 1 where an area is set apart to choose the
            best weights by; 0 where none is, because nothing would tell that it overfits,
            and where its features are kept.
        layer_decay: each block's rate, as a share of that of the block above it:
            what lies low was learnt from more than these labels. 1 for all alike.
        lora: rank of a change beside each weight matrix of the blocks, which alone
            learns, at ``encoder_rate``, and is merged in at the end; 0 for none.
        loss: ``"ce"`` (cross-entropy), ``"focal"``, ``"dice"`` or ``"ce+dice"``.
        class_weights: ``"balanced"`` weighs classes by the root of their rarity
            among all labelled pixels, ``"none"`` all alike. Windows are drawn
            by the root of rarity in any case.
        image_size: side of a training sample, pixels; 0 for the encoder's own.
        light: reflectance of a sample, all its dates and bands together, varies by
            ``exp`` of up to this, up or down, so that thin shadow and haze change
            the map less; 0 for none.
        val_every: steps between two scores of the validation areas; 0 for a
            twentieth of all.
        patience: scores without a better one after which training stops; 0 for
            never. The best weights are kept in any case.
        scratch: size of the encoder, where none is given.
    """

    learning_rate: float = 1e-3
    head: Literal["fcn", "linear", "unet", "upernet"] = "fcn"
    channels: int = 64
    depths: tuple[int, ...] = ()
    start: Literal["auto", "probe", "random"] = "auto"
    encoder_rate: float | None = None
    layer_decay: float = 1.0
    lora: int = 0
    loss: Literal["ce", "focal", "dice", "ce+dice"] = "ce"
    class_weights: Literal["none", "balanced"] = "none"
    image_size: int = 0
    light: float = 0.0
    val_every: int = 0
    patience: int = 10
    scratch: EncoderShape = field(default_factory=EncoderShape)

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        _check_choice("head", self.head, ("fcn", "linear", "unet", "upernet"))
        _check_choice("start", self.start, ("auto", "probe", "random"))
        if self.start == "probe" and self.head != "fcn":
            raise ConfigError(
                f"start is probe and head {self.head}; only fcn begins as a probe; choose it, or "
                "start random"
            )
        _check_choice("loss", self.loss, ("ce", "focal", "dice", "ce+dice"))
        _check_choice("class_weights", self.class_weights, ("none", "balanced"))
        if self.head == "upernet" and self.batch_size < 2:
            raise ConfigError(
                "batch_size is 1; upernet learns from averages over whole windows and needed 2"
            )
        _check("channels", self.channels, low=1)
        if self.encoder_rate is not None:
            _check("encoder_rate", self.encoder_rate, low=0, high=1)
        _check("layer_decay", self.layer_decay, low=0.01, high=1)
        _check("lora", self.lora, low=0)
        if self.lora and self.encoder_rate == 0:
            raise ConfigError(
                f"encoder_rate is 0 and lora {self.lora}; lora learns at encoder_rate and needed "
                "one above 0, or leave lora out"
            )
        _check("image_size", self.image_size, low=0)
        _check("light", self.light, low=0, high=2)
        _check("val_every", self.val_every, low=0)
        _check("patience", self.patience, low=0)
        for depth in self.depths:
            _check("depths", depth, low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """How controls (`geofm.train.control`) are trained, beyond what they share with a model.

    Attributes:
        unet_encoder: of segmentation-models-pytorch, such as ``"resnet18"``.
        unet_weights: that the U-Net's encoder begins with, such as ``"imagenet"``, which are
            downloaded; None for random ones.
        unet_rate: learning rate of the U-Net, at its highest: what suits it, whatever
            suits the model.
        trees: of the forest.
        pixels: that a forest learns from, at most.

    Raises:
        ConfigError: a value is out of range.
    """

    unet_encoder: str = "resnet34"
    unet_weights: str | None = None
    unet_rate: float = 1e-3
    trees: int = 100
    pixels: int = 50_000

    def __post_init__(self) -> None:
        if not 0 < self.unet_rate <= 1:
            raise ConfigError(f"unet_rate is {self.unet_rate:g}; needed above 0, up to 1")
        if self.trees < 1 or self.pixels < 2:
            raise ConfigError(
                f"{self.trees} trees and {self.pixels} pixels; needed 1 tree and 2 pixels or more"
            )


def _check(name: str, value: float, *, low: float, high: float = float("inf")) -> None:
    # NaN fails every comparison, so it is refused too.
    if not low <= value <= high or value == float("inf"):
        needed = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {value}; needed {needed}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; needed {', '.join(choices[:-1])} or {choices[-1]}")
