"""TerraTorch's YAML configs -> what a model is, as far as they say it.

Read are encoder-decoders on Prithvi with UNetDecoder or UperNetDecoder; all
else is refused. A config says neither level nor pixel size, unless it trained
on one of the data sets that are known here; then the caller must say them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geofm.bands import Level, parse_band
from geofm.contract import PixelContract
from geofm.errors import ModelError
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig
from geofm.model.published import ENCODERS, MODELS, PublishedModel
from geofm.tasks import CROPS, MapClass, Task

# TerraTorch's names of the published encoders.
_BACKBONES = {
    "prithvi_eo_v1_100": "prithvi-eo-1.0-100m",
    "prithvi_eo_v2_tiny_tl": "prithvi-eo-2.0-tiny-tl",
    "prithvi_eo_v2_100_tl": "prithvi-eo-2.0-100m-tl",
    "prithvi_eo_v2_300": "prithvi-eo-2.0-300m",
    "prithvi_eo_v2_300_tl": "prithvi-eo-2.0-300m-tl",
    "prithvi_eo_v2_600": "prithvi-eo-2.0-600m",
    "prithvi_eo_v2_600_tl": "prithvi-eo-2.0-600m-tl",
}
# Its data modules whose data we know, by a published model that was taught with them.
_DATA = {
    "Sen1Floods11NonGeoDataModule": "prithvi-eo-2.0-300m-tl-sen1floods11",
    "FireScarsNonGeoDataModule": "prithvi-eo-2.0-300m-burnscars",
    "BurnScarsNonGeoDataModule": "prithvi-eo-2.0-300m-burnscars",
    "MultiTemporalCropClassificationDataModule": (
        "prithvi-eo-1.0-100m-multi-temporal-crop-classification"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaid:
    """What a config leaves open and the caller may say.

    Attributes:
        level: ``"toa"`` or ``"surface"``.
        resolution: metres.
    """

    level: Level | None = None
    resolution: float | None = None


def read_terratorch(path: Path, unsaid: Unsaid) -> PublishedModel:
    """The model that a TerraTorch config describes.

    Raises:
        ModelError: it is no such config, describes a model of another family,
            or leaves open what only the caller can say.
    """
    content = _read_yaml(path)
    try:
        task = content["model"]["init_args"]
        args, data = task["model_args"], content.get("data", {})
        encoder = _encoder(args, where=path)
        contract, known = _data(data, args, unsaid, dates=encoder.dates, where=path)
        head = _head(args, encoder, where=path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{path} is no TerraTorch config of a segmentation model ({type(error).__name__}: "
            f"{error}); give the YAML file that trained the checkpoint"
        ) from error
    if known and known.task.dates == encoder.dates and len(known.task.classes) == head.classes:
        taught, labels = known.task, known.labels
    else:
        taught, labels = _task(task.get("class_names"), head.classes, encoder.dates), ""
    return PublishedModel(
        name=path.stem,
        repo="",
        file="",
        layout="terratorch",
        encoder=encoder,
        head=head,
        contract=contract,
        task=taught,
        labels=labels,
    )


def _encoder(args: Mapping[str, Any], *, where: Path) -> EncoderConfig:
    name = _BACKBONES.get(args["backbone"])
    if name is None:
        raise ModelError(
            f"{where} has the backbone {args['backbone']!r}; known: {', '.join(_BACKBONES)}"
        )
    made = next(known for known in ENCODERS if known.name == name).shape
    return replace(
        made,
        bands=len(_bands(args)),
        # TerraTorch builds for one date unless it is told otherwise.
        dates=int(args.get("backbone_num_frames", 1)),
        image_size=int(args.get("backbone_img_size", made.image_size)),
        coordinates=tuple(args.get("backbone_coords_encoding", made.coordinates)),
    )


def _bands(args: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(parse_band(str(band)) or str(band) for band in args["backbone_bands"])


def _head(args: Mapping[str, Any], encoder: EncoderConfig, *, where: Path) -> HeadConfig:
    necks = {neck["name"]: neck for neck in args.get("necks", ())}
    pyramid = "LearnedInterpolateToPyramidal" in necks or args.get("decoder_scale_modules")
    strange = sorted(
        necks.keys() - {"SelectIndices", "ReshapeTokensToImage", "LearnedInterpolateToPyramidal"}
    )
    if strange or not pyramid or "SelectIndices" not in necks or args.get("head_channel_list"):
        raise ModelError(
            f"{where} has necks {list(necks)} and head_channel_list "
            f"{args.get('head_channel_list')}; read are SelectIndices, ReshapeTokensToImage and "
            "LearnedInterpolateToPyramidal (or decoder_scale_modules), without head channels"
        )
    channels: Any = args["decoder_channels"]
    depths = tuple(i % encoder.depth for i in necks["SelectIndices"]["indices"])
    classes = int(args["num_classes"])
    match args["decoder"]:
        case "UperNetDecoder":
            return HeadConfig(
                kind="upernet", classes=classes, depths=depths, channels=int(channels)
            )
        case "UNetDecoder" if list(channels) == [channels[-1] * times for times in (8, 4, 2, 1)]:
            # TerraTorch of today needs segmentation_models.pytorch 0.5 or later.
            return HeadConfig(
                kind="unet",
                classes=classes,
                depths=depths,
                channels=int(channels[-1]),
                upsample_last=False,
            )
        case decoder:
            raise ModelError(
                f"{where} has the decoder {decoder} with channels {channels}; read are "
                "UperNetDecoder, and UNetDecoder with channels that halve four times, such as "
                "512, 256, 128, 64"
            )


def _data(
    data: Mapping[str, Any], args: Mapping[str, Any], unsaid: Unsaid, *, dates: int, where: Path
) -> tuple[PixelContract, PublishedModel | None]:
    """The pixel contract, and the published model taught with the same data, if there is one."""
    values = data.get("init_args") or {}
    if values.get("use_metadata"):
        raise ModelError(
            f"{where} fed time and location to the model; mapping does not yet; without them its "
            "maps would be others; train one with use_metadata: false"
        )
    module = str(data.get("class_path", "")).rpartition(".")[2]
    known = next((m for m in MODELS if m.name == _DATA.get(module)), None)
    scale = float(values.get("constant_scale", 1.0))
    mean, std = values.get("means"), values.get("stds")
    bands = _bands(args)
    if known and (mean is None or std is None):
        if bands != known.contract.bands:
            raise ModelError(f"{where} has no means and stds for {', '.join(bands)}; add them")
        mean, std, units = known.contract.mean, known.contract.std, 1.0
    elif mean is None or std is None:
        raise ModelError(f"{where} has no means and stds in data.init_args; add them")
    else:
        units = _units(mean, scale)
    level = unsaid.level or (known.contract.level if known else None)
    resolution = unsaid.resolution or (known.contract.resolution if known else None)
    if level is None or resolution is None:
        raise ModelError(
            f"{where} says neither the processing level nor the pixel size of its data; give "
            "--level toa or surface, and --resolution METRES"
        )
    contract = PixelContract(
        bands,
        level,
        tuple(float(value) * units for value in mean),
        tuple(float(value) * units for value in std),
        float(resolution),
        dates=dates,
        min_valid_dates=dates,
        masked_qa=known.contract.masked_qa if known else (),
    )
    return contract, known


def _units(mean: Sequence[float], scale: float) -> float:
    """What turns the numbers that a model saw into reflectance.

    They were stored numbers times ``constant_scale``. Reflectance hardly has a
    mean above 2; stored as HLS and Sentinel-2 do, hardly one below 10.
    """
    largest = max(abs(float(value)) for value in mean)
    if largest <= 2:
        return 1.0
    if largest >= 10 and scale == 1.0:
        return 1e-4
    raise ModelError(
        f"means up to {largest:g} with constant_scale {scale:g} are neither reflectance nor "
        "reflectance times 10,000; correct them in the config"
    )


def _task(names: Sequence[str] | None, classes: int, dates: int) -> Task:
    names = names or [f"class {code}" for code in range(classes)]
    colours = [kind.color for kind in CROPS.classes]
    return Task(
        "segmentation",
        tuple(MapClass(str(name), colours[code % len(colours)]) for code, name in enumerate(names)),
        bands=(),
        dates=dates,
    )


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())[:120]
        raise ModelError(
            f"{path} is no YAML file ({said}); give the config that trained the checkpoint"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no YAML mapping; give the config of TerraTorch")
    return content
