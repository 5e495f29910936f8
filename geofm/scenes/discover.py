"""What a path is: a product, some files of one, or a plain raster. Names tell."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from geofm.errors import SceneError
from geofm.scenes.handles import is_remote, plain_name
from geofm.scenes.hls import hls_granule, read_hls
from geofm.scenes.landsat import landsat_product, read_landsat
from geofm.scenes.products import Product
from geofm.scenes.sentinel2 import find_safe, read_safe
from geofm.scenes.sentinel2_cloud import find_tile, read_tile


def find_products(paths: Sequence[str]) -> list[Product]:
    """The products that paths name, in order; none where they are plain rasters.

    A path is a SAFE folder or zip, its ``MTD_MSI*.xml``, a Sentinel-2 tile as
    clouds keep it, an MTL, a folder of HLS granules, Landsat products or their
    files, or such a file.

    Raises:
        SceneError: a product is damaged, or stands among plain rasters.
    """
    files: dict[str, list[str]] = {}
    others: list[str] = []
    for path in (part for whole in paths for part in _parts(whole)):
        product = product_of(path)
        if product:
            files.setdefault(product, []).append(path)
        else:
            others.append(path)
    if files and others:
        raise SceneError(
            f"{plain_name(others[0])} is no file of a product, and {plain_name(next(iter(files)))} "
            "is one; needed products or plain rasters; open them apart"
        )
    return [_read(product, parts) for product, parts in files.items()]


def is_product(path: str) -> bool:
    """Whether a path is a product, a folder of products, or a file of one."""
    return any(product_of(part) for part in _parts(path))


def product_of(path: str) -> str | None:
    """What names the product that a path is, or is a part of; None where it is no product's."""
    return find_safe(path) or find_tile(path) or hls_granule(path) or landsat_product(path)


def _read(product: str, paths: Sequence[str]) -> Product:
    if hls_granule(paths[0]):
        return read_hls(product, paths)
    if landsat_product(paths[0]):
        return read_landsat(product, paths)
    if find_tile(paths[0]):
        return read_tile(product)
    return read_safe(product)


def _parts(path: str) -> Iterator[str]:
    """The path, or the products and their files in it where it is a folder or an MTL."""
    folder = Path(path)
    if is_remote(path) or find_safe(path) or find_tile(path):
        yield path
    elif folder.is_dir():
        inside = [part for part in sorted(folder.iterdir()) if not part.name.startswith(".")]
        known = [part for part in inside if product_of(str(part))]
        nested = [part for part in inside if part.is_dir() and any(map(_known, part.iterdir()))]
        deeper = [path for part in nested for path in _parts(str(part))]
        yield from map(str, known or deeper or [path])
    elif "_MTL." in folder.name and landsat_product(path) and folder.is_file():
        yield from map(str, sorted(folder.parent.glob(f"{landsat_product(path)}_*")))
    else:
        yield path


def _known(path: Path) -> bool:
    return product_of(str(path)) is not None
