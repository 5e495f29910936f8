"""The published Prithvi-EO models, as plain data: names, files, shapes, pixel contracts.

Facts are those of the model cards, configs and code that IBM and NASA published
at https://huggingface.co/ibm-nasa-geospatial. Statistics are in reflectance.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from geofm.contract import PixelContract
from geofm.model.encoder import EncoderConfig
from geofm.model.heads import HeadConfig
from geofm.model.mae import MaeConfig
from geofm.tasks import BURN_SCAR, CROPS, FLOOD, SHARED_BANDS, Task

HUB = "ibm-nasa-geospatial"
LICENCE = "apache-2.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedEncoder:
    """A pretrained encoder with its decoder.

    Attributes:
        repo, file: on the hub.
        shape: as the file was saved; its position tables tell the dates.
        decoder: that rebuilds pixels.
    """

    name: str
    repo: str
    file: str
    shape: EncoderConfig
    contract: PixelContract
    decoder: MaeConfig = field(default_factory=MaeConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A fine-tuned model.

    Attributes:
        layout: how its tensors are named: ``"mmseg"`` or ``"terratorch"``.
        labels: what it was taught with.
    """

    name: str
    repo: str
    file: str
    layout: Literal["mmseg", "terratorch"]
    encoder: EncoderConfig
    head: HeadConfig
    contract: PixelContract
    task: Task
    labels: str


def _of_ten_thousand(*values: float) -> tuple[float, ...]:
    """Statistics of reflectance times 10,000 as statistics of reflectance."""
    return tuple(value / 10_000 for value in values)


_V1_MEAN = _of_ten_thousand(
    775.2290211032589,
    1080.992780391705,
    1228.5855250417867,
    2497.2022620507532,
    2204.2139147975554,
    1610.8324823273745,
)
_V1_STD = _of_ten_thousand(
    1281.526139861424,
    1270.0297974547493,
    1399.4802505642526,
    1368.3446143747644,
    1291.6764008585435,
    1154.505683480695,
)
_V2_MEAN = _of_ten_thousand(1087, 1342, 1433, 2734, 1958, 1363)
_V2_STD = _of_ten_thousand(2248, 2179, 2178, 1850, 1242, 1049)


def _vit(
    embed_dim: int, depth: int, num_heads: int, *, dates: int, patch_size: int = 16, tl: bool
) -> EncoderConfig:
    return EncoderConfig(
        bands=6,
        dates=dates,
        image_size=224,
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        coordinates=("time", "location") if tl else (),
    )


def _v2(size: str, shape: EncoderConfig) -> PublishedEncoder:
    return PublishedEncoder(
        name=f"prithvi-eo-2.0-{size.lower()}",
        repo=f"{HUB}/Prithvi-EO-2.0-{size}",
        file=f"Prithvi_EO_V2_{size.replace('-', '_')}.pt",
        shape=shape,
        contract=PixelContract(SHARED_BANDS, "surface", _V2_MEAN, _V2_STD, 30.0, dates=shape.dates),
    )


ENCODERS = (
    PublishedEncoder(
        name="prithvi-eo-1.0-100m",
        repo=f"{HUB}/Prithvi-EO-1.0-100M",
        file="Prithvi_EO_V1_100M.pt",
        shape=_vit(768, 12, 12, dates=3, tl=False),
        contract=PixelContract(SHARED_BANDS, "surface", _V1_MEAN, _V1_STD, 30.0, dates=3),
    ),
    _v2("tiny-TL", _vit(192, 12, 3, dates=1, tl=True)),
    _v2("100M-TL", _vit(768, 12, 12, dates=4, tl=True)),
    _v2("300M", _vit(1024, 24, 16, dates=4, tl=False)),
    _v2("300M-TL", _vit(1024, 24, 16, dates=4, tl=True)),
    _v2("600M", _vit(1280, 32, 16, dates=4, patch_size=14, tl=False)),
    _v2("600M-TL", _vit(1280, 32, 16, dates=4, patch_size=14, tl=True)),
)


def _contract(
    task: Task,
    level: Literal["toa", "surface"],
    resolution: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> PixelContract:
    """All dates of a pixel must be valid: none of these models has seen gaps."""
    return PixelContract(
        SHARED_BANDS,
        level,
        mean,
        std,
        resolution,
        dates=task.dates,
        min_valid_dates=task.dates,
        masked_qa=task.masked_qa,
    )


_FLOOD_V1 = _contract(
    FLOOD,
    "toa",
    10.0,
    (0.14245495, 0.13921481, 0.12434631, 0.31420089, 0.20743526, 0.12046503),
    (0.04036231, 0.04186983, 0.05267646, 0.0822221, 0.06834774, 0.05294205),
)
_FLOOD_V2 = _contract(
    FLOOD,
    "toa",
    # Chips of 512 px at 10 m were resized to 448 px.
    10.0 * 512 / 448,
    (0.1412956, 0.13795798, 0.12353792, 0.30902815, 0.2044958, 0.11912015),
    (0.07406382, 0.07370365, 0.08692279, 0.11798815, 0.09772074, 0.07659938),
)
_BURN = _contract(
    BURN_SCAR,
    "surface",
    30.0,
    (
        0.033349706741586264,
        0.05701185520536176,
        0.05889748132001316,
        0.2323245113436119,
        0.1972854853760658,
        0.11944914225186566,
    ),
    (
        0.02269135568823774,
        0.026807560223070237,
        0.04004109844362779,
        0.07791732423672691,
        0.08708738838140137,
        0.07241979477437814,
    ),
)
_CROPS = _contract(
    CROPS,
    "surface",
    30.0,
    _of_ten_thousand(494.905781, 815.239594, 924.335066, 2968.881459, 2634.621962, 1739.579917),
    _of_ten_thousand(284.925432, 357.84876, 575.566823, 896.601013, 951.900334, 921.407808),
)

_SEN1FLOODS11 = "Sen1Floods11, hand-labelled"
_BURN_SCARS = "HLS Burn Scars (cc-by-4.0)"
_QUARTERS_OF_24 = (5, 11, 17, 23)

MODELS = (
    PublishedModel(
        name="prithvi-eo-1.0-100m-sen1floods11",
        repo=f"{HUB}/Prithvi-EO-1.0-100M-sen1floods11",
        file="sen1floods11_Prithvi_100M.pth",
        layout="mmseg",
        encoder=_vit(768, 12, 12, dates=1, tl=False),
        head=HeadConfig(kind="deconv", classes=2, depths=(11,), channels=256),
        contract=_FLOOD_V1,
        task=FLOOD,
        labels=_SEN1FLOODS11,
    ),
    PublishedModel(
        name="prithvi-eo-1.0-100m-burn-scar",
        repo=f"{HUB}/Prithvi-EO-1.0-100M-burn-scar",
        file="burn_scars_Prithvi_100M.pth",
        layout="mmseg",
        encoder=_vit(768, 12, 12, dates=1, tl=False),
        head=HeadConfig(kind="deconv", classes=2, depths=(11,), channels=256),
        contract=_BURN,
        task=BURN_SCAR,
        labels=_BURN_SCARS,
    ),
    PublishedModel(
        name="prithvi-eo-1.0-100m-multi-temporal-crop-classification",
        repo=f"{HUB}/Prithvi-EO-1.0-100M-multi-temporal-crop-classification",
        file="multi_temporal_crop_classification_Prithvi_100M.pth",
        layout="mmseg",
        # Half as deep as the encoder it began with, with 8 wider heads, and taught on
        # shuffled dates and bands.
        encoder=replace(_vit(768, 6, 8, dates=3, tl=False), legacy_order=True),
        head=HeadConfig(kind="deconv", classes=13, depths=(5,), channels=256),
        contract=_CROPS,
        task=CROPS,
        labels="Multi-temporal Crop Classification, from USDA CDL (cc-by-4.0)",
    ),
    PublishedModel(
        name="prithvi-eo-2.0-300m-tl-sen1floods11",
        repo=f"{HUB}/Prithvi-EO-2.0-300M-TL-Sen1Floods11",
        file="Prithvi-EO-V2-300M-TL-Sen1Floods11.pt",
        layout="terratorch",
        # It reads time and place, but was taught without them.
        encoder=_vit(1024, 24, 16, dates=1, tl=True),
        head=HeadConfig(kind="upernet", classes=2, depths=_QUARTERS_OF_24, channels=256),
        contract=_FLOOD_V2,
        task=FLOOD,
        labels=_SEN1FLOODS11,
    ),
    PublishedModel(
        name="prithvi-eo-2.0-300m-burnscars",
        repo=f"{HUB}/Prithvi-EO-2.0-300M-BurnScars",
        file="Prithvi_EO_V2_300M_BurnScars.pt",
        layout="terratorch",
        # Taught on whole chips of 512 px, with the position code of 224 px stretched.
        encoder=replace(_vit(1024, 24, 16, dates=1, tl=False), image_size=512, position_size=224),
        # segmentation_models.pytorch 0.4, whose last block doubles the side.
        head=HeadConfig(
            kind="unet", classes=2, depths=_QUARTERS_OF_24, channels=64, upsample_last=True
        ),
        contract=_BURN,
        task=BURN_SCAR,
        labels=_BURN_SCARS,
    ),
)
