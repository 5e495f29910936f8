"""What ``gdalinfo`` says of a map.

rasterio's wheels bring no gdalinfo program, but GDAL, whose function ``GDALInfo`` is what the
program prints (gdal_utils.h). It is called as it stands, in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

import geofm
from geofm.tasks import CODE_NAMES

GDALINFO = """
import ctypes, sys
import rasterio  # loads what libgdal itself needs

gdal = ctypes.CDLL(sys.argv[1])
gdal.GDALOpenEx.restype = gdal.GDALInfoOptionsNew.restype = ctypes.c_void_p
gdal.GDALInfo.restype = ctypes.c_char_p
words = [word.encode() for word in sys.argv[3:]]
gdal.GDALAllRegister()
options = gdal.GDALInfoOptionsNew((ctypes.c_char_p * (len(words) + 1))(*words, None), None)
dataset = gdal.GDALOpenEx(sys.argv[2].encode(), 0, None, None, None)
print(gdal.GDALInfo(ctypes.c_void_p(dataset), ctypes.c_void_p(options)).decode())
gdal.GDALInfoOptionsFree(ctypes.c_void_p(options))
gdal.GDALClose(ctypes.c_void_p(dataset))
"""


def gdalinfo(path: Path, *options: str) -> str:
    wheel = Path(rasterio.__file__).parent
    found = sorted(wheel.parent.glob("rasterio.libs/libgdal*.so*"))
    if not found:
        pytest.skip("this rasterio brings no libgdal of its own; try the gdalinfo program")
    done = subprocess.run(
        [sys.executable, "-c", GDALINFO, found[0], path, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PROJ_DATA": str(wheel / "proj_data")},
        check=False,  # what it said is shown below
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def written(tmp_path_factory, flood_folder) -> Path:
    """A map large enough for overviews."""
    from geofm.scenes.synthetic import make_scene
    from geofm.tasks import SHARED_BANDS

    folder = tmp_path_factory.mktemp("gdalinfo")
    scene = make_scene(folder / "scene.tif", height=300, width=530, bands=SHARED_BANDS)
    model = geofm.load_model(flood_folder)
    return geofm.map_scene(model, geofm.open_scene(scene), folder / "flood.tif").path


def test_the_text_shows_names_colours_overviews_and_layout(written: Path) -> None:
    text = gdalinfo(written)
    assert "Size is 530, 300" in text
    assert 'ID["EPSG",32633]' in text
    assert "LAYOUT=COG" in text
    assert "COMPRESSION=" in text
    assert "Type=Byte, ColorInterp=Palette" in text
    assert "NoData Value=255" in text
    assert "Overviews: 265x150" in text
    for code, name in {0: "not water", 1: "water", **CODE_NAMES}.items():
        assert f"\n{code:>7}: {name}\n" in text
    assert "Color Table (RGB with 256 entries)" in text
    assert "1: 33,102,172,255" in text


def test_the_json_says_the_same(written: Path) -> None:
    told = json.loads(gdalinfo(written, "-json"))
    (band,) = told["bands"]
    assert told["size"] == [530, 300]
    assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert [each["size"] for each in band["overviews"]] == [[265, 150]]
    assert band["colorTable"]["entries"][1] == [33, 102, 172, 255]
    assert band["noDataValue"] == 255
    assert band["colorInterpretation"] == "Palette"
    # The item beside the map reads the STAC fields from the same file.
    assert told["stac"]["proj:epsg"] == 32633


def test_the_confidence_is_a_number_in_percent(written: Path) -> None:
    text = gdalinfo(written.with_name("flood_confidence.tif"))
    assert "LAYOUT=COG" in text
    assert "Unit Type: percent" in text
    assert "NoData Value=255" in text
