"""The vocabulary of bands: what agencies state, and a sensor of one's own."""

from xml.etree import ElementTree as xml

import numpy as np
import pytest

from geofm.bands import (
    COMMON_NAMES,
    HLS_L30,
    HLS_S30,
    LANDSAT_8_9,
    MEMBERS,
    SENSORS,
    SENTINEL_2,
    SENTINEL_2A,
    SENTINEL_2B,
    Band,
    Sensor,
)
from geofm.errors import BandError
from geofm.scenes.naming import find_sensor
from geofm.scenes.open import open_scene


@pytest.mark.parametrize(("letter", "sensor"), [("A", SENTINEL_2A), ("B", SENTINEL_2B)])
def test_centres_are_those_of_real_products(shared_data, letter, sensor):
    folder = shared_data / "products/sentinel2_safe"
    paths = list(folder.glob(f"S2{letter}_*.SAFE/MTD_MSI*.xml"))
    assert paths
    for path in paths:
        for element in xml.parse(path).getroot().iter("Spectral_Information"):
            name = sensor.common_name(element.get("physicalBand"))
            band = next(band for band in sensor.bands if band.name == name)
            stated = float(element.findtext("Wavelength/CENTRAL")) / 1000
            assert band.center == pytest.approx(stated, abs=5e-4)  # ESA has refined B2


@pytest.mark.parametrize("sensor", [*SENSORS, *MEMBERS], ids=lambda sensor: sensor.name)
def test_each_band_once_and_in_its_place(sensor):
    names = [band.name for band in sensor.bands]
    assert len(set(names)) == len(names)
    assert set(names) <= set(COMMON_NAMES)
    assert all(0.4 < band.center < 13 and 0 < band.width < 1.1 for band in sensor.bands)
    assert find_sensor(sensor.name.upper()) is sensor


def test_members_keep_their_familys_codes():
    assert [band.code for band in SENTINEL_2B.bands] == [band.code for band in SENTINEL_2.bands]
    assert (HLS_S30.common_name("B8A"), HLS_L30.common_name("B05")) == ("nir08", "nir08")
    assert HLS_L30.common_name("B08") is None
    assert LANDSAT_8_9.common_name("B8") == "pan"


def test_a_sensor_of_ones_own(make_scene):
    import rasterio

    path = make_scene(bands=("red", "nir"))
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("K1", "K2")
    mine = Sensor("mine", (Band("K1", "red", 0.66, 0.03), Band("K2", "nir", 0.85, 0.1)))
    assert open_scene(path, sensor=mine).bands == ("red", "nir")
    with pytest.raises(BandError, match="names its bands K1, K2; needed common names"):
        open_scene(path)
    assert np.isfinite(open_scene(path, sensor=mine).read().values).all()
