import json
import os
import subprocess
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from rio_cogeo.cogeo import cog_validate

from geofm.errors import OutputError
from geofm.export import geotiff
from geofm.export.geotiff import RawLayer, write_cog
from geofm.tasks import FLOOD, MASKED, NODATA, UNSURE

GEOBOX = GeoBox((1100, 1300), Affine(10, 0, 4e5, 0, -10, 5.8e6), "EPSG:32633")


@pytest.fixture
def classes(tmp_path):
    """Raw classes with every code, and their array."""
    array = np.zeros(GEOBOX.shape, np.uint8)
    array[200:700, 300:900] = 1
    array[:50], array[50:80], array[80:90] = NODATA, MASKED, UNSURE
    array.tofile(tmp_path / "classes.raw")
    return array


def write(tmp_path, layer, geobox=GEOBOX):
    out = tmp_path / "out.tif"
    write_cog(tmp_path / f"{layer.name}.raw", layer, geobox, out)
    return out


CLASSES = RawLayer("classes", ("flood",), "MODE", classes=FLOOD.classes, tags={"GEOFM_MODEL": "m"})


def test_a_class_map_is_a_valid_cog_with_names_and_colours(classes, tmp_path):
    out = write(tmp_path, CLASSES)
    valid, errors, warnings = cog_validate(out, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert file.nodata == NODATA
        assert file.colorinterp == (ColorInterp.palette,)
        assert file.colormap(1)[1] == (0x21, 0x66, 0xAC, 255)
        assert file.colormap(1)[NODATA][3] == 0
        assert file.crs == "EPSG:32633"
        assert file.transform == GEOBOX.transform
        assert file.tags()["GEOFM_MODEL"] == "m"
        assert file.descriptions == ("flood",)
    names = [e.text or "" for e in ET.parse(f"{out}.aux.xml").iter("Category")]
    assert names[:2] == ["not water", "water"]
    assert (names[UNSURE], names[MASKED], names[NODATA]) == ("unsure", "masked by QA", "no data")


def test_overviews_keep_codes_whole(classes, tmp_path):
    with rasterio.open(write(tmp_path, CLASSES), overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {0, 1, UNSURE, MASKED, NODATA}


def test_amounts_carry_scale_unit_and_one_band_each(tmp_path):
    layer = RawLayer("probabilities", ("dry", "wet"), "AVERAGE", scale=0.004, unit="1")
    array = np.random.default_rng(0).integers(0, 251, (2, *GEOBOX.shape), np.uint8)
    array.tofile(tmp_path / "probabilities.raw")
    with rasterio.open(write(tmp_path, layer)) as file:
        np.testing.assert_array_equal(file.read(), array)
        assert file.scales == (0.004, 0.004)
        assert file.descriptions == ("dry", "wet")
        assert file.units == ("1", "1")


def test_the_same_bytes_every_time(classes, tmp_path):
    first = write(tmp_path, CLASSES).read_bytes()
    assert write(tmp_path, CLASSES).read_bytes() == first


@pytest.mark.parametrize(
    "geobox",
    [
        GeoBox(GEOBOX.shape, Affine(8.66, 5, 4e5, 5, -8.66, 5.8e6), "EPSG:32633"),
        GeoBox(GEOBOX.shape, Affine(10, 0, 4e5, 0, 10, 5.8e6), "EPSG:32633"),
        GeoBox(GEOBOX.shape, Affine(1 / 3e4, 0, 179.99, 0, -1 / 3e4, 0.1), "EPSG:4326"),
        GeoBox(
            GEOBOX.shape,
            Affine(10, 0, 0, 0, -10, 0),
            "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m",
        ),
    ],
    ids=["rotated", "south-up", "degrees", "own projection"],
)
@pytest.mark.usefixtures("classes")
def test_every_grid_survives(tmp_path, geobox):
    with rasterio.open(write(tmp_path, CLASSES, geobox)) as file:
        assert file.transform == geobox.transform
        assert file.shape == geobox.shape
        assert geobox.crs == file.crs.to_wkt()


def test_a_folder_that_is_not_there_is_one_sentence(classes, tmp_path):
    with pytest.raises(OutputError, match=r"cannot write out\.tif whole \(.*free some space"):
        write_cog(tmp_path / "classes.raw", CLASSES, GEOBOX, tmp_path / "none" / "out.tif")


def test_a_disk_that_could_run_full_is_refused_first(classes, tmp_path, monkeypatch):
    monkeypatch.setattr(geotiff.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(OutputError, match=r"1 MiB are free, up to \d+ MiB are needed.*--resume"):
        write(tmp_path, CLASSES)


@pytest.mark.parametrize("level", ["image", "overview"])
def test_a_hole_that_gdal_does_not_report_is_found(classes, tmp_path, monkeypatch, level):
    """As a disk that runs full leaves it: GDAL's copy ends well, a block is zeros."""

    def copy_with_a_hole(source, out, **options):
        copy(source, out, **options)
        with rasterio.open(out) as file:
            where = None if level == "image" else 0
            at = file.get_tag_item(
                "BLOCK_OFFSET_1_1" if where is None else "BLOCK_OFFSET_0_0",
                "TIFF",
                bidx=1,
                ovr=where,
            )
        with out.open("r+b") as file:
            file.seek(int(at) + 8)
            file.write(bytes(64))

    monkeypatch.setattr(geotiff, "copy", copy_with_a_hole)
    with pytest.raises(OutputError, match=r"cannot write out\.tif whole"):
        write(tmp_path, CLASSES)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("kib", [64, 1800])
def test_a_disk_that_is_really_full(tmp_path, monkeypatch, kib):
    """A file system of its own, too small: one sentence, whatever GDAL says of it."""
    noise = np.random.default_rng(0).integers(0, 200, GEOBOX.shape, np.uint8)
    noise.tofile(tmp_path / "classes.raw")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tests mount a file system")
    monkeypatch.setattr(geotiff, "_check_space", lambda *_: None)
    try:
        with pytest.raises(OutputError, match=r"cannot write out\.tif whole"):
            write_cog(tmp_path / "classes.raw", CLASSES, GEOBOX, disk / "out.tif")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_class_names_are_escaped(classes, tmp_path):
    from geofm.tasks import MapClass

    layer = RawLayer(
        "classes", ("<a&b>",), "MODE", classes=(MapClass("<&\"'>", "#000000"), FLOOD.classes[1])
    )
    names = [e.text for e in ET.parse(f"{write(tmp_path, layer)}.aux.xml").iter("Category")]
    assert names[0] == "<&\"'>"
    assert json.dumps(names)
