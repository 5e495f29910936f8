"""Handles are bounded, never shared, safe after a fork; servers are given up on in time."""

import http.server
import multiprocessing
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geofm.errors import SceneError
from geofm.scenes import handles
from geofm.scenes.handles import MAX_IDLE, borrow, close_idle, is_remote, plain_name
from geofm.scenes.open import open_scene
from geofm.scenes.reader import Scene


def idle() -> int:
    return sum(map(len, handles._POOL._idle.values()))


def open_files() -> int:
    """Of this process, where Linux shows them; else 0."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.fixture(autouse=True)
def _closed():
    close_idle()
    yield
    close_idle()


def test_a_handle_is_lent_to_one_at_a_time_and_kept(make_scene):
    path = str(make_scene())
    with borrow(path) as one, borrow(path) as other:
        assert one is not other
    with borrow(path) as again:
        assert again in (one, other)
    assert idle() == 2
    close_idle()
    assert one.closed
    assert other.closed


def test_no_more_handles_stay_open_than_stated(make_scene, tmp_path):
    whole = make_scene().read_bytes()
    before = open_files()
    for number in range(MAX_IDLE + 20):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(whole)
        with borrow(str(path)):
            pass
    assert idle() == MAX_IDLE
    assert open_files() <= before + MAX_IDLE + 8


def test_a_rewritten_file_is_read_anew(make_scene):
    first = open_scene(make_scene(seed=1)).read().values
    second = open_scene(make_scene(seed=2)).read().values
    assert not np.array_equal(first, second)


def test_a_handle_that_failed_is_not_lent_again(make_scene):
    path = str(make_scene())
    with pytest.raises(RuntimeError), borrow(path) as file:
        raise RuntimeError
    assert file.closed
    assert idle() == 0


def _mean(scene: Scene) -> float:
    return float(scene.read().values.mean())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_worker_processes_read_the_same(make_scene, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    scene = open_scene(make_scene())
    expected = _mean(scene)
    assert idle() == 1
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_mean, [scene] * 4) == [expected] * 4


def test_the_callers_gdal_settings_stand(make_scene, monkeypatch):
    path = str(make_scene())
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "7")
    with rasterio.Env(GDAL_HTTP_MAX_RETRY="9"):
        options = handles._environment("https://host/a.tif").options
    assert "GDAL_HTTP_TIMEOUT" not in options
    assert "GDAL_HTTP_MAX_RETRY" not in options
    assert options["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert handles._environment(path).options["GDAL_DISABLE_READDIR_ON_OPEN"] == "TRUE"


def test_secrets_stay_out_of_names():
    assert plain_name("https://me:pw@host:8/a/b.tif?sig=secret#x") == "https://host:8/a/b.tif"
    assert plain_name("s3://bucket/a.tif") == "s3://bucket/a.tif"
    assert plain_name("/vsicurl/https://host/a.tif?sig=1").endswith("https://host/a.tif")
    assert plain_name("/data/what?.tif") == "/data/what?.tif"
    assert is_remote("HTTPS://host/a.tif")
    assert not is_remote("/data/a.tif")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; says 403 and 404 as servers do."""

    def log_message(self, format, *args):  # noqa: A002
        pass

    def send_head(self):
        if "forbidden" in self.path:
            self.send_error(403)
            return None
        return super().send_head()


@pytest.fixture
def server(tmp_path):
    handler = partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()


def test_a_scene_on_a_server(server, make_scene):
    path = make_scene("remote.tif")
    scene = open_scene(f"{server}/remote.tif?token=secret")
    np.testing.assert_array_equal(scene.read().values, open_scene(path).read().values)
    assert scene.paths == (f"{server}/remote.tif",)
    assert scene.id == "remote"
    assert "secret" not in repr(scene)


def test_http_404(server):
    with pytest.raises(SceneError, match=r"nowhere.tif is not there \(http 404\); .* check the ad"):
        open_scene(f"{server}/nowhere.tif?token=secret")


def test_http_403_and_no_secret_in_the_message(server):
    with pytest.raises(SceneError, match=r"is refused by its server .* renew the") as caught:
        open_scene(f"{server}/forbidden.tif?token=secret")
    assert "secret" not in str(caught.value)


def test_no_server_is_given_up_on_in_time():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(SceneError, match=r"cannot be fetched .* check the address and the network"):
        open_scene(f"http://127.0.0.1:{port}/a.tif")
    assert time.monotonic() - started < 30


def test_many_threads_open_at_once(make_scene):
    paths = [make_scene(f"{seed}.tif", seed=seed) for seed in range(6)]
    expected = [_mean(open_scene(path)) for path in paths]
    close_idle()
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda path: _mean(open_scene(path)), paths)) == expected
