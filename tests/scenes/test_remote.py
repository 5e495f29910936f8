"""Scenes on servers that behave, and on servers that do not: right, or refused in time."""

import http.server
import json
import logging
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from geofm.errors import SceneError
from geofm.scenes.handles import close_idle
from geofm.scenes.open import open_scene
from geofm.scenes.window import Window

WINDOW = Window(300, 310, 100, 120)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder by ranges, or fails in one of the ways of `serving`."""

    protocol_version = "HTTP/1.1"
    folder: Path
    manner: str
    log: list[tuple[str, str | None]]
    ended: threading.Event

    def log_message(self, format, *args):  # noqa: A002
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        asked = self.headers.get("Range")
        self.log.append((self.path, asked))
        if self.manner == "drops every third" and len(self.log) % 3 == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.manner == "stalls" and body:
            self.ended.wait(8)
            return
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        status, content, span = self._content(path.read_bytes(), asked)
        self.send_response(status)
        if span:
            self.send_header("Content-Range", span)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            with suppress(OSError):  # GDAL hangs up when it has what it wants
                self.wfile.write(content)

    def _content(self, whole: bytes, asked: str | None) -> tuple[int, bytes, str]:
        found = re.match(r"bytes=(\d+)-(\d*)", asked or "")
        if found is None or self.manner == "ignores ranges":
            return 200, whole, ""
        start, stop = int(found[1]), min(int(found[2] or len(whole)), len(whole) - 1) + 1
        part = whole[start:stop]
        if self.manner == "begins at the beginning":
            part = whole[: stop - start]
        if self.manner == "cuts ranges short":
            part = part[: len(part) // 2]
        return 206, part, f"bytes {start}-{stop - 1}/{len(whole)}"


@contextmanager
def serving(folder: Path, manner: str = "well"):
    """The address of a server of this manner, and the log of what it was asked."""
    close_idle()
    log: list[tuple[str, str | None]] = []
    ended = threading.Event()
    facts = {"folder": folder, "manner": manner, "log": log, "ended": ended}
    handler = type("Handler", (_Handler,), facts)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{web.server_address[1]}", log
        finally:
            ended.set()
            close_idle()
            web.shutdown()


@pytest.fixture(params=["deflate", "none"])
def stored(make_scene, request):
    """A scene of 700 px, with and without compression; lies show in the first, not in the other."""
    options = {"height": 700, "width": 720, "bands": ("red", "nir08"), "compress": request.param}
    return make_scene("a.tif", **options)


@pytest.mark.parametrize("manner", ["well", "drops every third"])
def test_right_pixels(stored, manner):
    with serving(stored.parent, manner) as (address, log):
        scene = open_scene(f"{address}/a.tif")
        expected = open_scene(stored).read_stored(WINDOW)
        np.testing.assert_array_equal(scene.read_stored(WINDOW).dn, expected.dn)
        assert len(log) < 40


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("ignores ranges", r"a.tif cannot be fetched \(Range downloading not supported"),
        ("begins at the beginning", r"^http://127.* answers a request for part of a file with its"),
        ("cuts ranges short", r"a.tif(: rows \d+ to .*)? cannot be (read|fetched)"),
    ],
)
def test_lies_are_refused(stored, manner, message):
    with serving(stored.parent, manner) as (address, log):
        with pytest.raises(SceneError, match=message):
            open_scene(f"{address}/a.tif").read_stored(WINDOW)
        assert len(log) < 20


def test_a_stall_ends_in_time(stored, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")  # ten seconds by default
    started = time.monotonic()
    with serving(stored.parent, "stalls") as (address, log):
        with pytest.raises(SceneError, match=r"a.tif cannot be fetched .* then try again$"):
            open_scene(f"{address}/a.tif")
        assert time.monotonic() - started < 20
        assert len(log) < 10


def test_few_requests(make_scene):
    """Opening: is it there, its header, one honest range; reading: each stretch of blocks once."""
    path = make_scene(
        "a.tif", height=700, width=720, bands=("red", "nir08"), nodata_corner=False,
        compress="none",
    )  # fmt: skip
    with serving(path.parent) as (address, log):
        scene = open_scene(f"{address}/a.tif")
        # Three blocks are looked at for the units.
        assert len(log) <= 6
        before = len(log)
        scene.read_stored(Window(0, 0, 256, 256))  # a block that nobody has looked at
        assert len(log) - before <= 1
        before = len(log)
        again = open_scene(f"{address}/a.tif")
        again.read_stored(Window(0, 0, 256, 256))
        assert len(log) == before  # header and blocks are remembered


def test_tokens_stay_out_of_logs_receipts_and_errors(stored, caplog):
    caplog.set_level(logging.DEBUG)
    with serving(stored.parent) as (address, log):
        signed = address.replace("http://", "http://me:PASSWORD@")
        scene = open_scene(f"{signed}/a.tif?sig=TOKEN")
        scene.read_stored(WINDOW)
        with pytest.raises(SceneError, match="is not there") as caught:
            open_scene(f"{signed}/none.tif?sig=TOKEN")
        assert any("sig=TOKEN" in path for path, _ in log)
    texts = [caplog.text, str(caught.value), repr(scene), *scene.paths]
    assert not [text for text in texts if "TOKEN" in text]
    assert not [text for text in texts[1:] if "PASSWORD" in text]
    assert scene.paths == (f"{address}/a.tif",)


def test_a_signed_item(stored):
    item = {
        "type": "Feature", "id": "remote", "collection": "sentinel-2-l2a",
        "properties": {"datetime": "2020-01-01T00:00:00Z", "s2:processing_baseline": "02.14"},
        "assets": {"B04": {"href": "./a.tif", "eo:bands": [{"name": "B04"}]}},
    }  # fmt: skip
    (stored.parent / "item.json").write_text(json.dumps(item))
    with serving(stored.parent) as (address, log):
        scene = open_scene(f"{address}/item.json?key=K", sign=lambda href: f"{href}?sig=TOKEN")
        np.testing.assert_array_equal(
            scene.read_stored(WINDOW).dn[0, 0], open_scene(stored).read_stored(WINDOW).dn[0, 0]
        )
        assert ("/a.tif?sig=TOKEN", None) in log
        assert scene.paths == (f"{address}/a.tif",)
        with pytest.raises(SceneError, match=r"none.json cannot be read \(http 404\)") as caught:
            open_scene(f"{address}/none.json?key=K")
        assert "key=K" not in str(caught.value)


def test_metadata_of_a_server_that_drops(stored):
    item = {
        "type": "Feature", "id": "remote", "collection": "sentinel-2-l2a",
        "properties": {"datetime": "2020-01-01T00:00:00Z", "s2:processing_baseline": "02.14"},
        "assets": {"B04": {"href": "./a.tif", "eo:bands": [{"name": "B04"}]}},
    }  # fmt: skip
    (stored.parent / "item.json").write_text(json.dumps(item))
    with serving(stored.parent, "drops every third") as (address, log):
        log.extend([("", None)] * 2)  # so that the very first request is dropped
        assert open_scene(f"{address}/item.json").bands == ("red",)


def test_credentials_are_gdals_own(stored, monkeypatch):
    """s3 through the user's environment; a local server stands for the cloud's."""
    with serving(stored.parent.parent) as (address, log):
        for name, value in {
            "AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_REGION": "here",
            "AWS_S3_ENDPOINT": address.removeprefix("http://"), "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        scene = open_scene(f"s3://{stored.parent.name}/a.tif")
        np.testing.assert_array_equal(
            scene.read_stored(WINDOW).dn, open_scene(stored).read_stored(WINDOW).dn
        )
        assert log
        assert "SECRET" not in repr(scene)
