"""Agency products: what their names and metadata say of each file, before one is opened.

A product becomes a list of `RasterFile` whose headers are complete: band, date,
level, scale, offset and fill as the agency states them. From there on it is
opened as any list of rasters.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from geofm.bands import NOT_REFLECTANCE, Level, Sensor, parse_band
from geofm.errors import BandError, SceneError
from geofm.scenes.header import LEVEL_TAG, RasterFile, read_header
from geofm.scenes.quality import Coding, QualityFile
from geofm.scenes.stack import DATES_TAG


@dataclass(frozen=True, slots=True)
class Layer:
    """One band in one file.

    Attributes:
        path: as `read_header` takes it.
        band: common name.
        scale, offset: reflectance = stored number * scale + offset; None takes the
            file's own scale.
        nodata: the fill; None takes the file's own.
        pixel: its side, in units of the CRS, where names tell; a band may come in several.
        index: the file's band, from 1.
        saturated: the number that stands where the sensor was blinded, or None.
    """

    path: str
    band: str
    scale: float | None
    offset: float
    nodata: float | None
    pixel: float | None = None
    index: int = 1
    saturated: float | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """One acquisition of one place.

    Attributes:
        id: the agency's name for it.
        sensor: whose bands; products of one sensor hold the same ones.
        layers: of reflectance.
        quality: paths of quality layers, and their codings.
        conflict: why its offsets cannot be known, or ""; the caller's offset settles it.
        doubtful: its offsets may have been applied already: pixels are to be looked at.
    """

    id: str
    sensor: Sensor
    date: date | None
    level: Level
    layers: tuple[Layer, ...]
    quality: tuple[tuple[str, Coding], ...] = ()
    conflict: str = ""
    doubtful: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """Common names, in the order of the layers."""
        return tuple(dict.fromkeys(layer.band for layer in self.layers))


def check_products(products: Sequence[Product]) -> None:
    """Each has bands, and each of several has a date of its own.

    Raises:
        SceneError: they do not go together.
    """
    for product in products:
        if not product.layers:
            raise SceneError(
                f"{product.id} holds no band that geofm knows; needed its reflectance bands; "
                "fetch the whole product"
            )
    undated = next((product.id for product in products if product.date is None), None)
    if len(products) > 1 and undated is not None:
        raise SceneError(
            f"{undated} states no date, and {len(products)} products are to be stacked; needed one "
            "of each; give dates="
        )
    counted = Counter(product.date for product in products if product.date)
    twice = next((day for day, count in counted.items() if count > 1), None)
    if twice is not None:
        names = ", ".join(product.id for product in products if product.date == twice)
        raise SceneError(
            f"{counted[twice]} products are of {twice} ({names}); needed one a date; leave one "
            "out, or open each as a scene of its own"
        )


def product_files(
    products: Sequence[Product],
    *,
    bands: Sequence[str | None] | None = None,
    pixel: float | None = None,
) -> list[RasterFile]:
    """The files of the bands wanted, headers completed by what the products state.

    Args:
        bands: common names, or the sensor's codes; those that all products have when None.
        pixel: side of the pixels wanted, units of the CRS; a band that comes in
            several sizes is taken from the nearest below, the finest when None.

    Raises:
        BandError: a product lacks a band.
        SceneError: a file cannot be opened.
    """
    wanted = _shared_bands(products) if bands is None else _named_bands(products, bands)
    return [
        _complete(read_header(layer.path), product, layer)
        for product in products
        for layer in (_choose(product, name, pixel) for name in wanted)
    ]


def quality_files(product: Product) -> tuple[QualityFile, ...]:
    """Its quality layers, opened."""
    return tuple(QualityFile(read_header(path), coding) for path, coding in product.quality)


def _named_bands(products: Sequence[Product], bands: Sequence[str | None]) -> list[str]:
    """The caller's names as common names.

    Raises:
        BandError: a product lacks one.
    """
    wanted = [parse_band(name, products[0].sensor) or name for name in bands if name]
    for product in products:
        missing = [name for name in wanted if name not in product.bands]
        if missing:
            raise BandError(
                f"{product.id} has {', '.join(product.bands)}; needed {', '.join(missing)} too; "
                "fetch the missing files, or choose other bands"
            )
    return wanted


def _shared_bands(products: Sequence[Product]) -> list[str]:
    """The bands of all, where sensors differ; products of one sensor must not.

    Raises:
        BandError: products of one sensor hold different bands, or those of two none in common.
    """
    for first in products:
        for other in products:
            missing = [name for name in first.bands if name not in other.bands]
            if missing and first.sensor == other.sensor:
                raise BandError(
                    f"{other.id} lacks {', '.join(missing)}, which {first.id} has; needed the "
                    "same bands on each date; fetch the missing files, or give bands= without "
                    "them"
                )
    shared = [name for name in products[0].bands if all(name in one.bands for one in products)]
    if not shared:
        raise BandError(
            f"{products[0].id} and {products[-1].id} have no band in common; "
            "open each as a scene of its own"
        )
    return shared


def _choose(product: Product, band: str, pixel: float | None) -> Layer:
    """The coarsest layer of a band that is no coarser than ``pixel``; else the finest."""
    layers = sorted(
        (layer for layer in product.layers if layer.band == band),
        key=lambda layer: layer.pixel or 0.0,
    )
    fine = [layer for layer in layers if pixel and layer.pixel and layer.pixel <= pixel]
    return fine[-1] if fine else layers[0]


def _complete(file: RasterFile, product: Product, layer: Layer) -> RasterFile:
    """The file with this layer's band only, its header saying all that the product says."""
    if not 1 <= layer.index <= len(file.bands):
        raise BandError(
            f"{file.name} has {len(file.bands)} bands; {product.id} looks for {layer.band} in "
            f"band {layer.index}; fetch the file again"
        )
    own = file.bands[layer.index - 1]
    band = replace(
        own,
        description=layer.band,
        saturated=layer.saturated,
        nodata=own.nodata if layer.nodata is None else layer.nodata,
        scale=own.scale if layer.scale is None else layer.scale,
        offset=(own.offset or 0.0) if layer.scale is None else layer.offset,
    )
    tags = {**file.tags, LEVEL_TAG: product.level}
    tags[DATES_TAG] = product.date.isoformat() if product.date else ""
    return replace(file, bands=(band,), tags=tags)


def is_reflectance(name: str | None) -> bool:
    """Whether a product's band goes into a scene: known, and no heat or radar."""
    return name is not None and name not in NOT_REFLECTANCE


def base_name(path: str) -> str:
    """The last part of a path or address, without a query.

    >>> base_name("https://host/a/b.tif?sig=abc")
    'b.tif'
    """
    plain = path.partition("?")[0] if "://" in path else path
    return Path(plain.replace("\\", "/").rstrip("/")).name
