"""Agency products open by one call, and hold what plain rasterio finds in their files."""

import shutil
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geofm.errors import BandError, GridError, SceneError, UnitsError
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window

SIDE = 60
"""Pixels of 20 m a side of the generated imagery."""
SHARED = ("blue", "green", "red", "nir08", "swir16", "swir22")
L2A_0212 = "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857"
L2A_0400 = "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126"
L2A_0509 = "S2A_MSIL2A_20230821T221941_N0509_R029_T01KAB_20230822T021825"
L1C_0209 = "S2A_MSIL1C_20200717T221941_R029_T01LAC_20200717T234135"
L1C_0301 = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248"


def write(path: Path, numbers: np.ndarray, pixel: float, crs: str, nodata=None) -> np.ndarray:
    """One band whose upper left corner is at 500,000, 4,000,000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = "JP2OpenJPEG" if path.suffix == ".jp2" else "GTiff"
    options = {"QUALITY": 100, "REVERSIBLE": "YES"} if path.suffix == ".jp2" else {}
    with rasterio.open(
        path, "w", driver=driver, count=1, height=numbers.shape[0], width=numbers.shape[1],
        dtype=numbers.dtype, crs=crs, nodata=nodata,
        transform=from_origin(500_000, 4_000_000, pixel, pixel), **options,
    ) as file:  # fmt: skip
        file.write(numbers, 1)
    return numbers


def make_safe(
    folder: Path, shared_data: Path, name: str, *, crs="EPSG:32633", seed=0, leave_out=()
) -> tuple[Path, dict[str, np.ndarray]]:
    """Generated imagery under the real metadata and names of a product; stored numbers by name."""
    safe = folder / f"{name}.SAFE"
    # Copied without the modes: the real files may be read-only.
    shutil.copytree(
        shared_data / f"products/sentinel2_safe/{name}.SAFE",
        safe,
        copy_function=shutil.copyfile,
        dirs_exist_ok=True,
    )
    rng = np.random.default_rng(seed)
    metadata = next(safe.glob("MTD_MSI*.xml")).read_text()
    stored = {}
    for line in metadata.split("<IMAGE_FILE>")[1:]:
        image = line.partition("<")[0]
        stem = image.rpartition("/")[2]
        code, _, size = stem.split("_", 2)[2].partition("_")
        if code in {"TCI", "AOT", "WVP", *leave_out}:
            continue
        pixel = int(size[:2]) if size else L1C_PIXELS.get(code, 10)
        shape = (SIDE * 20 // pixel,) * 2
        if code == "SCL":
            numbers = rng.integers(0, 12, shape).astype(np.uint8)
        else:
            numbers = rng.integers(1_200, 6_000, shape).astype(np.uint16)
            numbers[: shape[0] // 10] = 0
        for folder_mode in safe.rglob("*"):
            if folder_mode.is_dir():
                folder_mode.chmod(0o755)
        stored[stem] = write(safe / f"{image}.jp2", numbers, pixel, crs)
    return safe, stored


L1C_PIXELS = dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20) | dict.fromkeys(
    ("B01", "B09", "B10"), 60
)


def make_hls(
    folder: Path, granule: str, codes: dict[str, str], *, seed=0, fmask=True, crs="EPSG:32613"
) -> tuple[Path, dict[str, np.ndarray]]:
    """A granule of generated bands; stored numbers by common name, and ``fmask``."""
    rng = np.random.default_rng(seed)
    stored = {}
    for code, name in codes.items():
        numbers = rng.integers(-50, 5_000, (SIDE, SIDE)).astype(np.int16)
        numbers[:7, :9] = -9999
        stored[name] = write(
            folder / granule / f"{granule}.{code}.tif", numbers, 30, crs, nodata=-9999
        )
    if fmask:
        bits = rng.integers(0, 64, (SIDE, SIDE)).astype(np.uint8)
        bits[:3] = 255
        path = folder / granule / f"{granule}.Fmask.tif"
        stored["fmask"] = write(path, bits, 30, crs, nodata=255)
    return folder / granule, stored


S30 = {
    "B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B8A": "nir08", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
L30 = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "nir08", "B06": "swir16", "B07": "swir22",
}  # fmt: skip


class TestLandsat:
    PRODUCTS = (
        ("LC08_L2SP_005009_20150710_20200908_02_T2", date(2015, 7, 10), "EPSG:32624"),
        ("LC08_L2SP_008059_20191201_20200825_02_T1", date(2019, 12, 1), "EPSG:32618"),
    )

    @pytest.mark.parametrize(("name", "day", "crs"), PRODUCTS)
    @pytest.mark.parametrize("metadata", ["txt", "json", "xml"])
    def test_a_real_product_from_its_mtl(self, shared_data, name, day, crs, metadata):
        folder = shared_data / "products/landsat_c2_l2"
        scene = open_scene(folder / f"{name}_MTL.{metadata}")
        assert (scene.id, scene.bands, scene.dates) == (name, SHARED, (day,))
        assert (str(scene.geobox.crs), scene.level) == (crs, "surface")
        assert np.unique(scene.scale) == np.float32(2.75e-5)
        assert np.unique(scene.offset) == np.float32(-0.2)
        stored = scene.read_stored()
        for at, number in enumerate((2, 3, 4, 5, 6, 7)):
            with rasterio.open(folder / f"{name}_SR_B{number}.TIF") as file:
                np.testing.assert_array_equal(stored.dn[0, at], file.read(1))

    @pytest.mark.parametrize(("name", "day", "crs"), PRODUCTS)
    def test_quality_bits_by_plain_rasterio(self, shared_data, name, day, crs):
        folder = shared_data / "products/landsat_c2_l2"
        bits, saturated, dn = (
            rasterio.open(folder / f"{name}_{layer}.TIF").read(1)
            for layer in ("QA_PIXEL", "QA_RADSAT", "SR_B4")
        )
        scene = open_scene(folder / f"{name}_MTL.txt", bands=["red"])
        assert scene.bands == ("red",)
        measured = (dn != 0) & (bits & 1 == 0)
        np.testing.assert_array_equal(scene.read_stored().valid[0], measured)
        classes = {"cloud": 3, "shadow": 4, "cirrus": 2, "snow": 5, "water": 7, "adjacent": 1}
        for qa_class, bit in classes.items():
            stored = scene.setting_aside([qa_class]).read_stored()
            aside = measured & (bits >> bit & 1 == 1)
            np.testing.assert_array_equal(stored.masked[0], aside)
            np.testing.assert_array_equal(stored.valid[0], measured & ~aside)
        stored = scene.setting_aside(["saturated"]).read_stored()
        np.testing.assert_array_equal(stored.masked[0], measured & (saturated >> 3 & 1 == 1))

    def test_a_list_of_files_without_its_mtl(self, shared_data, tmp_path):
        real = shared_data / "products/landsat_c2_l2"
        name = "LC08_L2SP_008059_20191201_20200825_02_T1"
        for layer in ("SR_B4", "SR_B5"):
            shutil.copyfile(real / f"{name}_{layer}.TIF", tmp_path / f"{name}_{layer}.TIF")
        scene = open_scene(sorted(tmp_path.iterdir()))
        assert scene.bands == ("red", "nir08")
        assert (scene.scale[0, 0], scene.offset[0, 0]) == (np.float32(2.75e-5), np.float32(-0.2))
        assert scene.quality is None

    def test_two_zones_that_do_not_meet_are_refused(self, shared_data):
        with pytest.raises(GridError, match="does not overlap the scene's grid; needed files of"):
            open_scene(shared_data / "products/landsat_c2_l2")

    def test_older_landsats_have_their_own_bands(self, tmp_path):
        name = "LE07_L2SP_160031_20110810_20200909_02_T1"
        rng = np.random.default_rng(0)
        for code in (1, 2, 3, 4, 5, 7):
            numbers = rng.integers(8_000, 20_000, (SIDE, SIDE)).astype(np.uint16)
            write(tmp_path / f"{name}_SR_B{code}.TIF", numbers, 30, "EPSG:32641", nodata=0)
        radsat = np.zeros((SIDE, SIDE), np.uint16)
        radsat[5, 5], radsat[6, 6], radsat[7, 7] = 1 << 2, 1 << 9, 1 << 5
        write(tmp_path / f"{name}_QA_RADSAT.TIF", radsat, 30, "EPSG:32641")
        scene = open_scene(tmp_path, masked_qa=["saturated"])
        assert scene.bands == SHARED
        stored = scene.read_stored()
        assert (stored.masked[0, 5, 5], stored.valid[0, 5, 5]) == (True, False)
        assert (stored.masked[0, 6, 6], stored.valid[0, 6, 6]) == (False, False)  # dropped
        assert stored.valid[0, 7, 7]  # the thermal band is not read
        assert scene.read_stored(bands=["blue"]).valid[0, 5, 5]

    def test_level_1_is_refused(self, tmp_path):
        path = tmp_path / "LC08_L1TP_008059_20191201_20200825_02_T1_B4.TIF"
        write(path, np.ones((9, 9), np.uint16), 30, "EPSG:32633")
        with pytest.raises(SceneError, match="is of level L1TP; needed Level 2 surface refl"):
            open_scene(path)

    def test_a_damaged_mtl(self, shared_data, tmp_path):
        real = shared_data / "products/landsat_c2_l2"
        name = "LC08_L2SP_008059_20191201_20200825_02_T1"
        shutil.copyfile(real / f"{name}_SR_B4.TIF", tmp_path / f"{name}_SR_B4.TIF")
        (tmp_path / f"{name}_MTL.json").write_text('{"LANDSAT_METADATA_FILE": {')
        with pytest.raises(SceneError, match=r"_MTL.json is no JSON"):
            open_scene(tmp_path)


class TestHls:
    NAME = "HLS.S30.T13RCN.2024128T173909.v2.0"
    OLDER = "HLS.L30.T13RCN.2024120T173909.v2.0"

    def test_a_granule(self, tmp_path):
        folder, stored = make_hls(tmp_path, self.NAME, S30)
        scene = open_scene(folder)
        assert (scene.id, scene.bands) == (self.NAME, tuple(S30.values()))
        assert scene.dates == (date(2024, 5, 7),)
        assert (scene.level, str(scene.geobox.crs)) == ("surface", "EPSG:32613")
        assert (np.unique(scene.scale), np.unique(scene.offset)) == (np.float32(1e-4), 0)
        read = scene.read_stored()
        for at, name in enumerate(scene.bands):
            np.testing.assert_array_equal(read.dn[0, at], stored[name])
        measured = (stored["red"] != -9999) & (stored["fmask"] != 255)
        np.testing.assert_array_equal(read.valid[0], measured)
        masked = scene.setting_aside(["cloud", "shadow"]).read_stored()
        aside = measured & (stored["fmask"] & 0b1010 != 0)
        np.testing.assert_array_equal(masked.masked[0], aside)
        np.testing.assert_array_equal(masked.valid[0], measured & ~aside)

    def test_a_list_of_files_is_the_granule(self, tmp_path):
        folder, _ = make_hls(tmp_path, self.NAME, S30)
        files = sorted(folder.iterdir())
        assert open_scene(files).bands == tuple(S30.values())
        few = open_scene([path for path in files if ".B04." in path.name or "Fmask" in path.name])
        assert (few.bands, few.quality.name) == (("red",), "HLS Fmask")

    def test_real_fmask_over_a_generated_band(self, shared_data, tmp_path):
        real = shared_data / f"products/hls_v2/{self.NAME}/{self.NAME}.Fmask.tif"
        with rasterio.open(real) as file:
            bits = file.read(1)
            profile = file.profile | {"dtype": "int16", "nodata": -9999}
            for overview in ("blockxsize", "blockysize", "tiled", "compress"):
                profile.pop(overview, None)
        with rasterio.open(tmp_path / f"{self.NAME}.B04.tif", "w", **profile) as file:
            file.write(np.full(bits.shape, 1_000, np.int16), 1)
        scene = open_scene(
            [real, tmp_path / f"{self.NAME}.B04.tif"], masked_qa=["cloud", "cirrus", "adjacent"]
        )
        stored = scene.read_stored()
        aside = (bits != 255) & (bits & 0b111 != 0)
        assert 0.05 < aside.mean() < 0.9
        np.testing.assert_array_equal(stored.masked[0], aside)
        np.testing.assert_array_equal(stored.valid[0], (bits != 255) & ~aside)

    def test_both_kinds_stack_by_the_bands_they_share(self, tmp_path):
        _, newer = make_hls(tmp_path, self.NAME, S30)
        _, older = make_hls(tmp_path, self.OLDER, L30, seed=1)
        scene = open_scene(tmp_path)
        assert scene.dates == (date(2024, 4, 29), date(2024, 5, 7))
        assert scene.bands == SHARED
        read = scene.read_stored(bands=["nir08"])
        np.testing.assert_array_equal(read.dn[0, 0], older["nir08"])
        np.testing.assert_array_equal(read.dn[1, 0], newer["nir08"])
        np.testing.assert_array_equal(
            scene.setting_aside(["water"]).read_stored().masked[0],
            (older["blue"] != -9999) & (older["fmask"] != 255) & (older["fmask"] & 32 != 0),
        )

    def test_quality_on_one_date_only_tells_nothing_of_the_other(self, tmp_path):
        make_hls(tmp_path, self.NAME, S30)
        make_hls(tmp_path, self.OLDER, L30, fmask=False)
        with pytest.raises(SceneError, match="tells nothing on each date; asked to set aside clou"):
            open_scene(tmp_path, masked_qa=["cloud"])

    def test_a_missing_band_is_named(self, tmp_path):
        make_hls(tmp_path, self.NAME, S30)
        later = self.NAME.replace("2024128", "2024138")
        folder, _ = make_hls(tmp_path, later, S30)
        (folder / f"{later}.B11.tif").unlink()
        with pytest.raises(BandError, match=rf"{later} lacks swir16, which {self.NAME} has"):
            open_scene(tmp_path)
        assert open_scene(tmp_path, bands=["red", "nir08"]).bands == ("red", "nir08")
        with pytest.raises(BandError, match=rf"^{later} has blue, .*; needed swir16 too; fetch"):
            open_scene(tmp_path, bands=["swir16"])

    def test_dates_twice_are_refused(self, tmp_path):
        first, _ = make_hls(tmp_path, self.NAME, S30)
        other = self.NAME.replace("13RCN", "13RDN")
        second, _ = make_hls(tmp_path, other, S30)
        with pytest.raises(SceneError, match=r"^2 products are of 2024-05-07 \(HLS"):
            open_scene([first, second])
        assert len(open_scene([first, second], dates=["2024-05-07", "2024-05-08"]).dates) == 2

    def test_a_granule_among_plain_rasters(self, tmp_path, make_scene):
        folder, _ = make_hls(tmp_path, self.NAME, S30)
        with pytest.raises(SceneError, match=r"scene.tif is no file of a product, and HLS"):
            open_scene([folder, make_scene()])


class TestSentinel2:
    @pytest.mark.parametrize(
        ("name", "level", "offset", "day"),
        [
            (L1C_0209, "toa", 0, date(2020, 7, 17)),
            (L1C_0301, "toa", 0, date(2021, 9, 8)),
            (L2A_0212, "surface", 0, date(2019, 2, 12)),
            (L2A_0400, "surface", -0.1, date(2022, 4, 13)),
            (L2A_0509, "surface", -0.1, date(2023, 8, 21)),
        ],
    )
    def test_real_metadata(self, shared_data, tmp_path, name, level, offset, day):
        safe, stored = make_safe(tmp_path, shared_data, name)
        scene = open_scene(safe, bands=["blue", "red", "nir08", "swir22"])
        assert scene.dates == (day,)
        assert scene.level == level
        assert np.unique(scene.scale) == np.float32(1e-4)
        assert np.unique(scene.offset) == np.float32(offset)
        assert (scene.shape, scene.resolution) == ((120, 120), pytest.approx(10, rel=0.01))
        end = "_10m" if level == "surface" else ""
        red = next(numbers for stem, numbers in stored.items() if stem.endswith(f"_B04{end}"))
        np.testing.assert_array_equal(scene.read_stored(bands=["red"]).dn[0, 0], red)
        pixels = scene.read(bands=["red"])
        expected = red.astype(np.float32) * np.float32(1e-4) + np.float32(offset)
        valid = pixels.valid[0]
        assert not valid[red == 0].any()
        assert valid.mean() > 0.8
        np.testing.assert_array_equal(pixels.values[0, 0][valid], expected[valid])
        if level == "toa":
            assert scene.quality is None
            assert scene.bands == ("blue", "red", "nir08", "swir22")
            assert len(open_scene(safe).bands) == 13

    def test_one_resolution_is_read_as_stored(self, shared_data, tmp_path):
        safe, stored = make_safe(tmp_path, shared_data, L2A_0400)
        scene = open_scene(safe, bands=SHARED, resolution=20)
        assert scene.shape == (SIDE, SIDE)
        assert scene.dtype == np.uint16  # nothing was warped
        read = scene.read_stored()
        for at, code in enumerate(("B02", "B03", "B04", "B8A", "B11", "B12")):
            numbers = next(n for stem, n in stored.items() if stem.endswith(f"{code}_20m"))
            np.testing.assert_array_equal(read.dn[0, at], numbers)
        classes = next(n for stem, n in stored.items() if stem.endswith("SCL_20m"))
        measured = (np.arange(SIDE)[:, None] >= SIDE // 10) & (classes != 0)
        np.testing.assert_array_equal(read.valid[0], measured)
        for qa_class, codes in {
            "cloud": (8, 9), "shadow": (3,), "cirrus": (10,), "snow": (11,), "water": (6,),
            "saturated": (1,),
        }.items():  # fmt: skip
            masked = scene.setting_aside([qa_class]).read_stored().masked[0]
            np.testing.assert_array_equal(masked, measured & np.isin(classes, codes))

    def test_quality_comes_to_finer_pixels_by_the_nearest(self, shared_data, tmp_path):
        safe, stored = make_safe(tmp_path, shared_data, L2A_0400)
        scene = open_scene(safe, bands=["red"], masked_qa=["cloud"])
        classes = next(n for stem, n in stored.items() if stem.endswith("SCL_20m"))
        fine = np.kron(classes, np.ones((2, 2), np.uint8))
        read = scene.read_stored()
        measured = (np.arange(120)[:, None] >= 12) & (fine != 0)
        np.testing.assert_array_equal(read.masked[0], measured & np.isin(fine, (8, 9)))
        part = scene.read_stored(Window(31, 17, 40, 50))
        np.testing.assert_array_equal(part.masked[0], read.masked[0, 31:71, 17:67])

    def test_saturated_numbers_are_no_measurement(self, shared_data, tmp_path):
        safe, stored = make_safe(tmp_path, shared_data, L1C_0301)
        image = next(safe.glob("GRANULE/*/IMG_DATA/*_B04.jp2"))
        numbers = next(numbers for stem, numbers in stored.items() if stem.endswith("_B04"))
        numbers[50, 60] = 65_535
        write(image, numbers, 10, "EPSG:32633")
        pixels = open_scene(safe, bands=["red", "blue"]).read()
        assert not pixels.valid[0, 50, 60]
        assert pixels.valid[0, 50, 59]
        assert pixels.values.max() < 1

    def test_zipped_reads_as_unzipped(self, shared_data, tmp_path):
        safe, _ = make_safe(tmp_path, shared_data, L2A_0509)
        archive = tmp_path / f"{L2A_0509}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in safe.rglob("*"):
                file.write(path, path.relative_to(tmp_path))
        zipped, plain = open_scene(archive, bands=SHARED), open_scene(safe, bands=SHARED)
        assert (zipped.id, zipped.dates, zipped.bands) == (plain.id, plain.dates, plain.bands)
        window = Window(15, 25, 30, 40)
        np.testing.assert_array_equal(zipped.read(window).values, plain.read(window).values)
        np.testing.assert_array_equal(zipped.read(window).valid, plain.read(window).valid)

    def test_mixed_baselines_keep_an_offset_each(self, shared_data, tmp_path):
        older, before = make_safe(tmp_path, shared_data, L2A_0212)
        newer, after = make_safe(tmp_path, shared_data, L2A_0400, seed=1)
        scene = open_scene([newer, older], bands=["red"])
        assert scene.dates == (date(2019, 2, 12), date(2022, 4, 13))
        np.testing.assert_array_equal(scene.offset[:, 0], np.float32([0, -0.1]))
        pixels = scene.read()
        for t, (stored, offset) in enumerate([(before, 0), (after, -0.1)]):
            red = next(n for stem, n in stored.items() if stem.endswith("B04_10m"))
            expected = red.astype(np.float32) * np.float32(1e-4) + np.float32(offset)
            valid = pixels.valid[t]
            assert valid.mean() > 0.5
            np.testing.assert_array_equal(pixels.values[t, 0][valid], expected[valid])

    def test_levels_do_not_mix(self, shared_data, tmp_path):
        one, _ = make_safe(tmp_path, shared_data, L1C_0301)
        other, _ = make_safe(tmp_path, shared_data, L2A_0400)
        with pytest.raises(UnitsError, match=r"the files mix levels \(surface, toa\)"):
            open_scene([one, other], bands=["red"])

    def test_two_zones_come_onto_one_grid(self, shared_data, tmp_path):
        one, _ = make_safe(tmp_path, shared_data, L2A_0212, crs="EPSG:32633")
        other, _ = make_safe(tmp_path, shared_data, L2A_0400, crs="EPSG:25833")
        scene = open_scene([one, other], bands=["red"])
        assert str(scene.geobox.crs) == "EPSG:32633"
        assert scene.read().valid.any(axis=(1, 2)).all()

    def test_metadata_without_imagery(self, shared_data):
        folder = shared_data / "products/sentinel2_safe" / f"{L2A_0400}.SAFE"
        with pytest.raises(SceneError, match=r"N0400.* holds no band that geofm knows"):
            open_scene(folder)

    def test_a_zip_that_is_none(self, tmp_path):
        path = tmp_path / "S2A_MSIL2A_X.zip"
        path.write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(SceneError, match="is no whole zip file"):
            open_scene(path)

    @pytest.mark.parametrize(
        ("name", "level", "offset", "day"),
        [
            (L1C_0209, "toa", 0, date(2020, 7, 17)),
            (L1C_0301, "toa", 0, date(2021, 9, 8)),
            (L2A_0212, "surface", 0, date(2019, 2, 12)),
            (L2A_0400, "surface", -0.1, date(2022, 4, 13)),
            (L2A_0509, "surface", -0.1, date(2023, 8, 21)),
        ],
    )
    def test_a_tile_as_clouds_keep_it(self, shared_data, tmp_path, name, level, offset, day):
        """The same pixels and units as the SAFE product of the tile."""
        safe, _ = make_safe(tmp_path, shared_data, name)
        tile = tmp_path / "33/U/UU"
        tile.mkdir(parents=True)
        shutil.copyfile(next(safe.glob("GRANULE/*/MTD_TL.xml")), tile / "metadata.xml")
        for path in safe.glob("GRANULE/*/IMG_DATA/**/*.jp2"):
            folder = tile / path.parent.name if level == "surface" else tile
            folder.mkdir(exist_ok=True)
            code = path.stem.split("_")[2]
            shutil.copyfile(path, folder / f"{code}.jp2")
        cloud, whole = (open_scene(path, bands=SHARED) for path in (tile, safe))
        assert (cloud.level, cloud.dates, cloud.geobox) == (level, (day,), whole.geobox)
        assert np.unique(cloud.offset) == np.float32(offset)
        assert (cloud.quality is None) == (whole.quality is None) == (level == "toa")
        np.testing.assert_array_equal(cloud.read().values, whole.read().values)
        np.testing.assert_array_equal(cloud.read().valid, whole.read().valid)

    def test_another_metadata_xml(self, tmp_path):
        (tmp_path / "metadata.xml").write_text("<metadata><title>a map</title></metadata>")
        with pytest.raises(SceneError, match=r"metadata.xml states no Sentinel-2 tile"):
            open_scene(tmp_path / "metadata.xml")
