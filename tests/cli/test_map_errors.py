"""Wrong input to `geofm map`: one clear sentence with the next step, exit code 1, no output."""

import resource
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geofm.cli.app import main
from geofm.tasks import SHARED_BANDS


@pytest.fixture
def refused(flood_folder: Path, tmp_path: Path, capsys) -> Callable[..., str]:
    """Map a scene that cannot be mapped; returns the sentence, after checking the promises."""

    def run(*scenes: Path | str, model: Path = flood_folder, flags: tuple[str, ...] = ()) -> str:
        before = sorted(tmp_path.rglob("*"))
        words = ["map", str(model), *map(str, scenes), "-o", str(tmp_path / "out.tif"), *flags]
        code = main(words)
        told = capsys.readouterr()
        lines = [line for line in told.err.splitlines() if not line.startswith("mapping ")]
        assert code == 1, told.err
        assert told.out == ""
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return run


@pytest.fixture
def unscaled(tmp_path: Path) -> Callable[..., Path]:
    """Write stored numbers as they are: no scale, no level; returns the path."""

    def write(value: float, dtype: str = "uint16") -> Path:
        path = tmp_path / "plain.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=40,
            width=50,
            count=6,
            dtype=dtype,
            crs="EPSG:32633",
            transform=rasterio.Affine(10, 0, 400_000, 0, -10, 5_800_000),
        ) as file:
            file.write(np.full((6, 40, 50), value, dtype))
            file.descriptions = SHARED_BANDS
        return path

    return write


def test_missing_bands(refused, make_scene) -> None:
    said = refused(make_scene(bands=("blue", "green", "red", "nir08")))
    assert "swir16" in said
    assert "swir22" in said


def test_a_similar_band_is_no_substitute_unless_accepted(
    refused, make_scene, flood_folder, tmp_path, capsys
) -> None:
    scene = make_scene(bands=("blue", "green", "red", "nir", "swir16", "swir22"))
    assert "--accept nir08=nir" in refused(scene)
    words = ["map", str(flood_folder), str(scene), "-o", str(tmp_path / "out.tif")]
    assert main([*words, "--accept", "nir08=nir", "--json"]) == 0
    assert "nir08=nir" in capsys.readouterr().out
    assert "nir08=nir" in (tmp_path / "out.json").read_text()


def test_units_that_are_not_stated(refused, unscaled) -> None:
    assert "--scale 0.0001" in refused(unscaled(3000))


def test_reflectance_of_3000(refused, unscaled) -> None:
    said = refused(unscaled(3000, "float32"), flags=("--scale", "1", "--level", "surface"))
    assert "3000" in said
    assert "0.0001" in said


def test_the_wrong_level(refused, make_scene) -> None:
    assert "top-of-atmosphere" in refused(make_scene(level="toa"))


def test_a_level_that_is_not_stated(refused, unscaled) -> None:
    assert "--level" in refused(unscaled(3000), flags=("--scale", "1e-4"))


def test_another_ground_resolution(refused, make_scene) -> None:
    far = rasterio.Affine(60, 0, 400_000, 0, -60, 5_800_000)
    assert "60" in refused(make_scene(transform=far))


def test_a_scene_without_crs(refused, make_scene) -> None:
    assert "CRS" in refused(make_scene(crs=None))


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_a_truncated_file(refused, make_scene, kept) -> None:
    scene = make_scene(height=600, width=700)
    whole = scene.read_bytes()
    scene.write_bytes(whole[: int(len(whole) * kept)])
    assert "scene.tif" in refused(scene)


def test_files_that_are_no_raster(refused, tmp_path) -> None:
    empty, text = tmp_path / "empty.tif", tmp_path / "text.tif"
    empty.touch()
    text.write_text("not a raster\n")
    assert "empty.tif" in refused(empty)
    assert "text.tif" in refused(text)
    assert "folder" in refused(tmp_path)
    assert "absent.tif" in refused(tmp_path / "absent.tif")


@pytest.fixture
def server_without_files(monkeypatch) -> Iterator[str]:
    """A web server on this machine that has nothing; its address."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815  the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_that_is_gone(refused, server_without_files) -> None:
    said = refused(f"{server_without_files}/scene.tif?signature=secret")
    assert "404" in said
    assert "secret" not in said


def test_an_output_that_exists(refused, make_scene, tmp_path) -> None:
    (tmp_path / "out.tif").write_text("precious")
    assert "--overwrite" in refused(make_scene())
    assert (tmp_path / "out.tif").read_text() == "precious"


def test_an_output_that_cannot_be(flood_folder, make_scene, tmp_path, capsys) -> None:
    scene = str(make_scene())
    (tmp_path / "taken").write_text("")
    for output in ("map.png", str(tmp_path), str(tmp_path / "taken" / "map.tif")):
        assert main(["map", str(flood_folder), scene, "-o", output]) == 1, output
        told = capsys.readouterr()
        assert told.err.splitlines()[-1].startswith("error: ")
    assert not Path("map.png").exists()


def test_a_full_disk(flood_folder, make_scene, tmp_path, capsys) -> None:
    """No file may grow past 64 KiB: the mapper meets the limit as it would a full disk."""
    scene = make_scene(height=310, width=330)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        code = main(["map", str(flood_folder), str(scene), "-o", str(tmp_path / "out.tif")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert code == 1, said
    assert said.startswith("error: ")
    assert not list(tmp_path.glob("out*"))
    # With room again, the run that was cut short ends whole.
    words = ["map", str(flood_folder), str(scene), "-o", str(tmp_path / "out.tif"), "--resume"]
    assert main(words) == 0
    assert (tmp_path / "out.tif").exists()


def test_no_model(refused, make_scene, tmp_path) -> None:
    scene = make_scene()
    assert "absent.geofm" in refused(scene, model=tmp_path / "absent.geofm")
    assert "scene.tif" in refused(scene, model=scene)
    (tmp_path / "weights.pt").write_bytes(b"\x80\x04")
    assert "weights.pt" in refused(scene, model=tmp_path / "weights.pt")


def test_scenes_that_do_not_go_together(refused, make_scene) -> None:
    here = make_scene("20200101.tif")
    far = make_scene("20200201.tif", crs="EPSG:32605")
    assert "20200201.tif" in refused(here, far)
