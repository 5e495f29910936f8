"""Files become bands and dates, or one sentence says why not."""

from datetime import date

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from geofm.errors import BandError, GeofmError, GridError, SceneError, UnitsError
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_big_scene
from geofm.scenes.window import Window

GRID = Affine(10, 0, 500_000, 0, -10, 5_900_000)


TWO_DATES = ("2020-01-01", "2020-02-01")


def write(path, numbers, *, descriptions=None, scale=None, tags=None, transform=GRID, **options):
    numbers = np.asarray(numbers)
    profile = {
        "driver": "GTiff", "count": len(numbers), "dtype": numbers.dtype, "crs": "EPSG:32633",
        "height": numbers.shape[1], "width": numbers.shape[2], "transform": transform,
    }  # fmt: skip
    with rasterio.open(path, "w", **(profile | options)) as file:
        file.write(numbers)
        if descriptions:
            file.descriptions = descriptions
        if scale:
            file.scales = (scale,) * len(numbers)
        file.update_tags(**(tags or {}))
    return path


@pytest.fixture
def numbers():
    return np.random.default_rng(1).integers(500, 4000, (3, 14, 11)).astype(np.uint16)


class TestBands:
    def test_from_descriptions_whatever_their_style(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers, descriptions=("Blue", "SWIR1", "nir-narrow"))
        assert open_scene(path, scale=1e-4).bands == ("blue", "swir16", "nir08")

    def test_from_the_caller_who_may_leave_one_out(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers)
        scene = open_scene(path, bands=["red", "-", "nir"], scale=1e-4)
        assert scene.bands == ("red", "nir")
        np.testing.assert_array_equal(scene.read_stored().dn[0], numbers[[0, 2]])

    def test_codes_need_a_sensor(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers, descriptions=("B02", "B05", "B11"))
        with pytest.raises(BandError, match=r"B02, B05, B11, which differ between sensors; "):
            open_scene(path, scale=1e-4)
        sentinel = open_scene(path, sensor="sentinel-2", scale=1e-4)
        assert sentinel.bands == ("blue", "rededge071", "swir16")
        landsat = open_scene(path, sensor="landsat-8-9", bands=["B2", "B5", "-"], scale=1e-4)
        assert landsat.bands == ("blue", "nir08")

    def test_b8a_gives_sentinel_2_away(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers, descriptions=("B02", "B8A", "B12"))
        assert open_scene(path, scale=1e-4).bands == ("blue", "nir08", "swir22")

    def test_colours_name_bands_except_in_files_of_bytes(self, tmp_path, numbers):
        colors = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
        path = write(tmp_path / "a.tif", numbers)
        with rasterio.open(path, "r+") as file:
            file.colorinterp = colors
        assert open_scene(path, scale=1e-4).bands == ("blue", "green", "red")
        # GDAL calls any three bands of bytes red, green and blue.
        path = write(tmp_path / "b.tif", (numbers // 20).astype(np.uint8))
        with rasterio.open(path) as file:
            assert file.colorinterp[0] is ColorInterp.red
        with pytest.raises(BandError, match="does not name its bands; needed common names"):
            open_scene(path, scale=0.004)

    def test_unknown_descriptions_are_left_out_unless_nothing_is_left(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers, descriptions=("red", "ndvi", "nir"))
        assert open_scene(path, scale=1e-4).bands == ("red", "nir")
        path = write(tmp_path / "b.tif", numbers, descriptions=("b one", "b two", "b three"))
        with pytest.raises(BandError, match=r"names its bands b one, .* give bands= with 3 names"):
            open_scene(path, scale=1e-4)

    @pytest.mark.parametrize(
        ("bands", "message"),
        [
            (["red", "nir"], "has 3 bands, and 2 names were given"),
            (["red", "nir", "swr16"], "unknown band 'swr16'; did you mean swir16?"),
            (["red", "nir", "red"], "band red is named twice"),
            (["-", "-", "-"], "no bands; name at least one"),
        ],
    )
    def test_names_that_do_not_fit(self, tmp_path, numbers, bands, message):
        path = write(tmp_path / "a.tif", numbers)
        with pytest.raises(BandError, match=message.replace("?", r"\?")):
            open_scene(path, bands=bands, scale=1e-4)

    def test_an_unknown_sensor(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers)
        with pytest.raises(BandError, match="unknown sensor 'modis'; known: sentinel-2, landsat"):
            open_scene(path, sensor="modis")


class TestStacks:
    def test_files_as_bands_by_their_names(self, tmp_path, numbers):
        paths = [
            write(tmp_path / f"T33UUU_20170216_{code}.tif", numbers[at : at + 1])
            for at, code in enumerate(["B04", "B8A", "B12"])
        ]
        scene = open_scene(paths, scale=1e-4)
        assert scene.bands == ("red", "nir08", "swir22")
        assert scene.dates == (date(2017, 2, 16),)
        np.testing.assert_array_equal(scene.read_stored().dn[0], numbers)
        assert scene.paths == tuple(str(path) for path in paths)

    def test_files_as_bands_by_the_caller(self, tmp_path, numbers):
        paths = [write(tmp_path / f"{at}.tif", numbers[at : at + 1]) for at in range(3)]
        scene = open_scene(paths, bands=["red", "nir", "blue"], scale=1e-4)
        np.testing.assert_array_equal(scene.read_stored(bands=["blue"]).dn[0], numbers[2:])
        with pytest.raises(BandError, match="3 files of one band and 2 band names"):
            open_scene(paths, bands=["red", "nir"], scale=1e-4)

    def test_files_as_dates_in_time_order(self, make_scene):
        paths = [
            make_scene(f"{day}.tif", seed=at) for at, day in enumerate(["20200301", "20200105"])
        ]
        for path in paths:
            with rasterio.open(path, "r+") as file:
                file.update_tags(GEOFM_DATES=f"{path.stem[:4]}-{path.stem[4:6]}-{path.stem[6:]}")
        scene = open_scene(paths)
        assert scene.dates == (date(2020, 1, 5), date(2020, 3, 1))
        first, second = (open_scene(path).read_stored().dn[0] for path in paths[::-1])
        np.testing.assert_array_equal(scene.read_stored().dn, np.stack([first, second]))

    def test_files_as_dates_by_the_caller(self, tmp_path, numbers):
        names = ("blue", "green", "red")
        a = write(tmp_path / "a.tif", numbers, descriptions=names)
        b = write(tmp_path / "b.tif", numbers[::-1], descriptions=names[::-1])
        unknown = open_scene([a, b], scale=1e-4)
        assert unknown.dates == (None, None)
        # The second file holds the same bands in another order.
        np.testing.assert_array_equal(*unknown.read_stored().dn)
        scene = open_scene([a, b], dates=["2021-05-01", date(2020, 1, 1)], scale=1e-4)
        assert scene.dates == (date(2020, 1, 1), date(2021, 5, 1))

    def test_files_as_bands_and_dates(self, tmp_path, numbers):
        paths = [
            write(tmp_path / f"x_{day}_{band}.tif", numbers[at : at + 1] + number)
            for number, day in enumerate(["20200201", "20200101"])
            for at, band in enumerate(["red", "nir"])
        ]
        scene = open_scene(paths, scale=1e-4)
        assert scene.bands == ("red", "nir")
        assert scene.dates == (date(2020, 1, 1), date(2020, 2, 1))
        np.testing.assert_array_equal(
            scene.read_stored().dn, np.stack([numbers[:2] + 1, numbers[:2]])
        )

    def test_one_file_of_many_dates(self, tmp_path, numbers):
        many = np.concatenate([numbers, numbers + 1])
        path = write(tmp_path / "a.tif", many)
        options = {"bands": ["blue", "green", "red"], "scale": 1e-4}
        scene = open_scene(path, dates=["2020-02-01", "2020-01-01"], **options)
        np.testing.assert_array_equal(scene.read_stored().dn, np.stack([numbers + 1, numbers]))
        with pytest.raises(SceneError, match="has 6 bands for 4 dates"):
            open_scene(path, dates=[None] * 4, **options)
        with pytest.raises(BandError, match="has 6 bands, and 3 names"):
            open_scene(path, **options)

    def test_dates_in_descriptions(self, tmp_path, numbers):
        path = write(
            tmp_path / "a.tif",
            np.concatenate([numbers, numbers]),
            descriptions=tuple(f"{d}_{b}" for d in ("2020-01-01", "2020-02-01")
                               for b in ("RED", "NIR", "BLUE")),
        )  # fmt: skip
        scene = open_scene(path, scale=1e-4)
        assert scene.bands == ("red", "nir", "blue")
        assert scene.dates == (date(2020, 1, 1), date(2020, 2, 1))
        with pytest.raises(SceneError, match="hold 2 dates, and 3 were given"):
            open_scene(path, dates=[None] * 3, scale=1e-4)

    def test_dates_that_do_not_hold_the_same_bands(self, tmp_path, numbers):
        paths = [
            write(tmp_path / name, numbers[:1])
            for name in ("20200101_red.tif", "20200101_nir.tif", "20200201_red.tif")
        ]
        with pytest.raises(BandError, match=r"2020-02-01: red; 2020-01-01: red, nir"):
            open_scene(paths, scale=1e-4)

    def test_different_bands_on_different_dates(self, tmp_path, numbers):
        paths = [
            write(tmp_path / name, numbers[:1]) for name in ("20200101_red.tif", "20200201_nir.tif")
        ]
        with pytest.raises(SceneError, match="different bands on different dates"):
            open_scene(paths, scale=1e-4)

    def test_a_wrong_number_of_dates_or_a_word_for_one(self, make_scene):
        paths = [make_scene("a.tif"), make_scene("b.tif")]
        with pytest.raises(SceneError, match="hold 2 dates, and 3 were given"):
            open_scene(paths, dates=["2020-01-01"] * 3)
        with pytest.raises(SceneError, match="'soon' is not a date; needed one such as"):
            open_scene(paths[0], dates="soon")

    def test_mixed_integers_meet_in_a_wider_one(self, tmp_path, numbers):
        a = write(tmp_path / "a_red.tif", numbers[:1])
        b = write(tmp_path / "a_nir.tif", -numbers[1:2].astype(np.int16) + 5000)
        scene = open_scene([a, b], scale=1e-4)
        assert scene.dtype == np.int32
        np.testing.assert_array_equal(scene.read_stored().dn[0, 0], numbers[0])
        np.testing.assert_array_equal(scene.read_stored().dn[0, 1], 5000 - numbers[1].astype(int))

    def test_no_file_at_all(self):
        with pytest.raises(SceneError, match="an empty list of files"):
            open_scene([])


class TestUnits:
    def test_without_scale_integers_are_refused(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers, descriptions=("red", "nir", "blue"))
        with pytest.raises(UnitsError, match=r"stores red as uint16 and states no scale; .*0.0001"):
            open_scene(path)
        assert open_scene(path, scale=1e-4).scale.tolist() == [[np.float32(1e-4)] * 3]

    def test_without_scale_floats_are_refused(self, tmp_path, numbers):
        values = numbers.astype(np.float32) * np.float32(1e-4)
        path = write(tmp_path / "a.tif", values, descriptions=("red", "nir", "blue"))
        with pytest.raises(UnitsError, match=r"as float32 and states no scale; .* give scale=1 if"):
            open_scene(path)
        scene = open_scene(path, scale=1)
        np.testing.assert_array_equal(scene.read().values[0], values)

    @pytest.mark.parametrize("tags", [{"scale": "0.0001"}, {"SCALE_FACTOR": "0.0001"}])
    def test_dataset_tags_state_a_scale_too(self, tmp_path, numbers, tags):
        path = write(tmp_path / "a.tif", numbers, descriptions=("red", "nir", "blue"), tags=tags)
        assert open_scene(path).scale[0, 0] == np.float32(1e-4)

    def test_the_caller_replaces_both_or_neither(self, shared_data):
        path = shared_data / "burn_landsat7/poo_Poomacha_2007_after.tif"
        with pytest.raises(UnitsError, match=r"states an offset \(-0.2\), and scale= was given"):
            open_scene(path, scale=1e-4)
        scene = open_scene(path, scale=2.75e-5, offset=[-0.2] * 6)
        assert scene.offset.shape == (1, 6)
        # An offset alone corrects the tagged one and keeps the tagged scale.
        assert open_scene(path, offset=-0.19).scale[0, 0] == np.float32(2.75e-5)

    @pytest.mark.parametrize("scale", [[1e-4] * 2, [[1e-4] * 3] * 2, float("nan")])
    def test_a_wrong_number_of_scales(self, make_scene, scale):
        with pytest.raises(UnitsError, match=r"scale= has . numbers; needed one for all"):
            open_scene(make_scene(), scale=scale)

    def test_scale_zero(self, make_scene):
        with pytest.raises(UnitsError, match="scale= is 0"):
            open_scene(make_scene(), scale=0)

    def test_dates_keep_scales_of_their_own(self, make_scene):
        a, b = make_scene("a.tif", scale=1e-4), make_scene("b.tif", scale=1e-3, seed=2)
        scene = open_scene([a, b], dates=TWO_DATES)
        np.testing.assert_array_equal(scene.scale[:, 0], np.float32([1e-4, 1e-3]))
        np.testing.assert_array_equal(scene.read().values[1], open_scene(b).read().values[0])

    def test_level_from_the_tag_or_the_caller(self, make_scene):
        path = make_scene("a.tif", level="toa")
        assert open_scene(path).level == "toa"
        assert open_scene(path, level="surface").level == "surface"
        with pytest.raises(UnitsError, match="unknown level 'l2a'; known: toa, surface"):
            open_scene(path, level="l2a")
        other = make_scene("b.tif", level="surface")
        with pytest.raises(UnitsError, match=r"the files mix levels \(surface, toa\)"):
            open_scene([path, other], dates=TWO_DATES)
        assert open_scene([path, other], dates=TWO_DATES, level="toa").level == "toa"


class TestRefusals:
    def test_a_missing_path(self, tmp_path):
        with pytest.raises(SceneError, match=r"nowhere.tif does not exist; .* check the path"):
            open_scene(tmp_path / "nowhere.tif")

    def test_a_folder(self, make_scene, tmp_path):
        with pytest.raises(SceneError, match=r"is a folder; .* it holds no GeoTIFF"):
            open_scene(tmp_path)
        make_scene("inside.tif")
        with pytest.raises(SceneError, match=r"is a folder; .* such as inside.tif"):
            open_scene(tmp_path)

    def test_an_empty_file(self, tmp_path):
        path = tmp_path / "a.tif"
        path.touch()
        with pytest.raises(SceneError, match=r"is empty \(0 bytes\); .* fetch the file again"):
            open_scene(path)

    def test_text_under_a_false_name(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_text("<html><body>Please log in</body></html>\n")
        with pytest.raises(SceneError, match=r"is text \(it begins with '<html><body>Please"):
            open_scene(path)

    def test_bytes_of_no_kind(self, tmp_path):
        path = tmp_path / "a.tif"
        path.write_bytes(bytes(range(256)))
        with pytest.raises(SceneError, match=r"cannot be opened .* needed a whole GeoTIFF"):
            open_scene(path)

    @pytest.mark.parametrize("share", [0.0005, 0.02, 0.5, 0.99])
    def test_a_file_that_is_cut_off(self, make_scene, share):
        path = make_scene(height=500, width=500, block=64)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(SceneError, match=r"is cut off|cannot be opened") as caught:
            open_scene(path)
        assert "fetch the file again" in str(caught.value)

    def test_a_damaged_block_is_named_when_it_is_read(self, make_scene):
        path = make_scene(height=500, width=500, block=64)
        scene = open_scene(path)
        with rasterio.open(path) as file:
            start = int(file.get_tag_item("BLOCK_OFFSET_7_7", "TIFF", bidx=1))
        damaged = bytearray(path.read_bytes())
        damaged[start : start + 500] = b"\xff" * 500
        path.write_bytes(damaged)
        scene.read(Window(0, 0, 64, 64))
        with pytest.raises(SceneError, match=r"rows 450 to 480, columns 470 to 500 of band 1"):
            scene.read(Window(450, 470, 30, 30))

    def test_complex_numbers(self, tmp_path, numbers):
        path = write(tmp_path / "a.tif", numbers.astype(np.complex64), descriptions=("vv",) * 3)
        with pytest.raises(SceneError, match="stores complex64 numbers; needed integers or floats"):
            open_scene(path)

    def test_every_refusal_is_one_line(self, tmp_path, make_scene):
        cases = [
            (tmp_path / "no\nwhere.tif", {}),
            (make_scene(), {"bands": ["red"]}),
            (make_scene("a.tif", height=4, width=4), {"scale": 1}),
        ]
        for path, options in cases:
            with pytest.raises(GeofmError) as caught:
                open_scene(path, **options)
            assert "; " in str(caught.value)
            assert "\n" not in str(caught.value).replace(str(path), "")


class TestGrids:
    def test_without_a_crs_a_scene_opens(self, make_scene):
        scene = open_scene(make_scene(crs=None))
        assert scene.geobox.crs is None
        assert scene.footprint is None
        assert scene.resolution is None
        assert scene.read().valid.any()
        assert "not georeferenced" in repr(scene)
        assert scene.to_xarray().dims == ("time", "band", "y", "x")

    @pytest.mark.parametrize("size", [(1, 1), (1, 5000), (225, 449), (3, 1)])
    def test_odd_sizes(self, make_scene, size):
        height, width = size
        scene = open_scene(make_scene(height=height, width=width))
        assert scene.read().values.shape == (1, 6, height, width)

    @pytest.mark.parametrize(
        "transform",
        [
            Affine(8, 6, 500_000, 6, -8, 5_900_000),  # turned
            Affine(10, 0, 500_000, 0, 10, 5_900_000),  # south-up
        ],
    )
    def test_turned_and_south_up(self, make_scene, transform):
        scene = open_scene(make_scene(transform=transform))
        assert scene.geobox.affine == transform
        assert scene.resolution == pytest.approx(10, rel=1e-2)
        assert scene.footprint.is_valid

    def test_across_the_antimeridian(self, make_scene):
        transform = Affine(0.01, 0, 179.6, 0, -0.01, 10)
        scene = open_scene(make_scene(crs="EPSG:4326", transform=transform))
        assert len(scene.footprint.geoms) == 2

    def test_all_nodata(self, tmp_path):
        path = write(
            tmp_path / "a.tif", np.zeros((1, 9, 9), np.uint16), descriptions=("red",), nodata=0
        )
        assert not open_scene(path, scale=1e-4).read().valid.any()

    def test_files_that_do_not_meet(self, make_scene):
        a = make_scene("a.tif")
        b = make_scene("b.tif", transform=Affine(10, 0, 700_000, 0, -10, 5_900_000))
        with pytest.raises(GridError, match=r"b.tif does not overlap the scene's grid"):
            open_scene([a, b], dates=TWO_DATES)
        with pytest.raises(GridError, match=r"a.tif does not overlap the scene's grid"):
            open_scene(a, geobox=open_scene(b).geobox)

    def test_files_of_other_shapes_without_a_crs(self, make_scene):
        a, b = make_scene("a.tif", crs=None), make_scene("b.tif", crs=None, height=60)
        with pytest.raises(GridError, match=r"b.tif is 60 x 83 px on a grid of its own, and a CRS"):
            open_scene([a, b], dates=TWO_DATES)
        same = [a, make_scene("c.tif", crs=None, seed=3)]
        assert len(open_scene(same, dates=TWO_DATES).dates) == 2

    def test_the_caller_chooses_the_grid(self, make_scene):
        path = make_scene()
        box = GeoBox((20, 30), Affine(20, 0, 500_100, 0, -20, 5_899_900), "EPSG:32633")
        scene = open_scene(path, geobox=box)
        assert scene.geobox == box
        assert scene.dtype == np.float32
        assert scene.read().values.shape == (1, 6, 20, 30)


def test_a_vrt_is_a_scene(make_scene, tmp_path):
    path = make_scene()
    vrt = tmp_path / "a.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="30"><VRTRasterBand dataType="UInt16" band="1">'
        "<Description>red</Description><Scale>0.0001</Scale><SimpleSource>"
        f'<SourceFilename relativeToVRT="1">{path.name}</SourceFilename><SourceBand>3</SourceBand>'
        '<SrcRect xOff="7" yOff="5" xSize="40" ySize="30"/>'
        '<DstRect xOff="0" yOff="0" xSize="40" ySize="30"/></SimpleSource></VRTRasterBand>'
        "</VRTDataset>"
    )
    np.testing.assert_array_equal(
        open_scene(vrt).read_stored().dn[0],
        open_scene(path).read_stored(Window(5, 7, 30, 40), ["red"]).dn[0],
    )


def test_opening_a_huge_scene_reads_next_to_nothing(tmp_path):
    path = make_big_scene(tmp_path / "big.tif", height=40_000, width=40_000, bands=("red", "nir"))
    scene = open_scene(path)
    assert scene.shape == (40_000, 40_000)
    assert scene.read_stored(Window(39_990, 39_990, 10, 10)).valid.all()


def test_mixed_resolutions_of_a_band_folder(shared_data):
    folder = shared_data / "bigearthnet_v1_sample/S2A_MSIL2A_20170613T101031_87_48"
    paths = sorted(folder.glob("*.tif"))
    blue = next(path for path in paths if path.stem.endswith("B02"))
    fine = open_scene(blue, scale=1e-4, sensor="sentinel-2")
    scene = open_scene(paths, scale=1e-4, geobox=fine.geobox)
    assert scene.shape == (120, 120)
    assert len(scene.bands) == 12
    assert scene.dates == (date(2017, 6, 13),)
    pixels = scene.read()
    assert pixels.valid.all()
    # What is stored at 10 m comes through as it is.
    np.testing.assert_array_equal(
        scene.read_stored(bands=["blue"]).dn[0], fine.read_stored().dn[0].astype(np.float32)
    )
    assert pixels.values.mean(axis=(0, 2, 3)).min() > 0.02


def test_twenty_one_real_dates(shared_data):
    scene = open_scene(sorted((shared_data / "s2_timeseries_rufiji").glob("*.tif")))
    assert len(scene.dates) == 21
    assert list(scene.dates) == sorted(scene.dates)
    assert scene.read().values.shape == (21, 10, 140, 169)
