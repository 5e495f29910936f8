"""Downloads against a hub of our own, on this machine, that can be told to fail."""

import errno
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from geofm.errors import ModelError, OutputError
from geofm.model.hub import fetch
from geofm.model.prithvi import find_encoder, load_prithvi, published_tensors

CONTENT = bytes(range(256)) * 4096  # a mebibyte


class Hub(ThreadingHTTPServer):
    """Serves one file.

    Attributes:
        announced: the hash that it claims the file to have.
        cuts: times it hangs up half-way, before it serves the rest.
        ranges: what it was asked for, request by request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = CONTENT
        self.announced = hashlib.sha256(CONTENT).hexdigest()
        self.cuts = 0
        self.status = 200
        self.ranges: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._head(self.server.status, len(self.server.content))

    def do_GET(self) -> None:
        if "/resolve/" not in self.path:  # the library's own questions
            self.send_error(404)
            return
        hub, asked = self.server, self.headers.get("Range")
        hub.ranges.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked else 0
        body = hub.content[start:]
        self._head(206 if asked else 200, len(body))
        if hub.cuts:
            hub.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("X-Linked-Etag", f'"{self.server.announced}"')
        self.send_header("X-Linked-Size", str(len(self.server.content)))
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_args: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        server.address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched_once(hub: Hub) -> None:
    path = fetch("org/model", "weights.pt")
    assert path.read_bytes() == CONTENT
    assert fetch("org/model", "weights.pt") == path
    assert hub.ranges == [None]


def test_a_download_that_is_cut_off_goes_on_where_it_was(hub: Hub) -> None:
    hub.cuts = 2
    assert fetch("org/model", "weights.pt").read_bytes() == CONTENT
    first, second, third = hub.ranges
    assert first is None
    starts = [int(re.findall(r"\d+", asked or "")[0]) for asked in (second, third)]
    assert 0 < starts[0] < starts[1] < len(CONTENT)


def test_a_hub_that_always_hangs_up_is_given_up(hub: Hub) -> None:
    hub.cuts = 10**6
    hub.content = b"x"  # half of it is nothing: no progress at all
    with pytest.raises(ModelError, match="could not be fetched"):
        fetch("org/model", "weights.pt")
    assert len(hub.ranges) < 20


def test_other_bytes_than_announced_are_refused_and_removed(hub: Hub) -> None:
    hub.announced = "0" * 64
    with pytest.raises(ModelError, match=r"hub announced 000000000000.*removed from the cache"):
        fetch("org/model", "weights.pt")
    with pytest.raises(ModelError, match="hub announced"):
        fetch("org/model", "weights.pt")
    assert hub.ranges == [None, None]  # fetched anew, not taken from the cache


def test_a_copy_that_was_damaged_in_the_cache_is_refused_once(hub: Hub) -> None:
    path = fetch("org/model", "weights.pt")
    path.resolve().write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(ModelError, match="damaged copy was removed"):
        fetch("org/model", "weights.pt")
    assert fetch("org/model", "weights.pt").read_bytes() == CONTENT


def test_without_a_network_a_copy_in_the_cache_serves(hub: Hub) -> None:
    path = fetch("org/model", "weights.pt")
    hub.shutdown()
    hub.server_close()
    assert fetch("org/model", "weights.pt") == path
    with pytest.raises(ModelError, match=r"org/other/weights\.pt could not be fetched.*network"):
        fetch("org/other", "weights.pt")


def test_a_file_that_the_hub_has_not(hub: Hub) -> None:
    hub.status = 404
    with pytest.raises(ModelError, match=r"the hub has no org/model/weights\.pt"):
        fetch("org/model", "weights.pt")


def test_a_full_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import file_download

    def full(*_args: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_download, "http_get", full)
    with pytest.raises(OutputError, match="No space left on device.*HF_HOME"):
        fetch("org/model", "weights.pt")


def test_an_encoder_is_loaded_by_its_published_name(hub: Hub, tmp_path: Path) -> None:
    known = find_encoder("prithvi-eo-2.0-tiny-tl")
    assert known is not None
    state = {name: torch.zeros(()).expand(s) for name, s in published_tensors(known).items()}
    torch.save(state, tmp_path / "made.pt")
    hub.content = (tmp_path / "made.pt").read_bytes()
    hub.announced = hashlib.sha256(hub.content).hexdigest()
    encoder = load_prithvi("Prithvi-EO-2.0-tiny-TL")
    assert encoder.sha256 == hub.announced
    assert encoder.provenance["licences"] == ["apache-2.0"]
    for words in (hub.announced, "apache-2.0", "151 of 151 tensors from the file (100%)"):
        assert words in repr(encoder)
