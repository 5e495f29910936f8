"""Downloads from servers of our own, which hang up, lie and refuse; archives that mean harm."""

import base64
import hashlib
import io
import json
import re
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geofm.datasets import layouts
from geofm.datasets.archives import unpack
from geofm.datasets.download import fetch_file
from geofm.datasets.layouts import Bucket
from geofm.datasets.open import open_dataset
from geofm.errors import DatasetError, OutputError


class Shelf(ThreadingHTTPServer):
    """A folder behind an address, as a bucket and as a hub.

    Attributes:
        root: the folder.
        cuts: times it hangs up half-way.
        lies: it announces other hashes than the files have.
        asked: paths, with the range that was wanted.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root = root
        self.cuts = 0
        self.lies = False
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


class Answer(BaseHTTPRequestHandler):
    server: Shelf

    def do_HEAD(self) -> None:
        self._send(head=True)

    def do_GET(self) -> None:
        if "/api/datasets/" in self.path:
            return self._index()
        return self._send(head=False)

    def _index(self) -> None:
        root = self.server.root
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        siblings = [
            {"rfilename": path.relative_to(root).as_posix(), "size": path.stat().st_size,
             "lfs": {"sha256": self._sha(path), "size": path.stat().st_size, "pointerSize": 1}}
            for path in files
        ]  # fmt: skip
        body = json.dumps({"id": "o/d", "sha": "a" * 40, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _sha(self, path: Path) -> str:
        return "0" * 64 if self.server.lies else hashlib.sha256(path.read_bytes()).hexdigest()

    def _send(self, *, head: bool) -> None:
        shelf = self.server
        name = self.path.rpartition("/resolve/main/")[2] if "/resolve/" in self.path else self.path
        path = shelf.root / name.lstrip("/")
        asked = self.headers.get("Range")
        if not head:
            shelf.asked.append((path.name, asked))
        if shelf.status != 200 or not path.is_file():
            self.send_error(404 if shelf.status == 200 else shelf.status)
            return
        content = path.read_bytes()
        start = int(re.findall(r"\d+", asked)[0]) if asked else 0
        body = content[start:]
        self.send_response(206 if asked else 200)
        md5 = b"0" * 16 if shelf.lies else hashlib.md5(content).digest()
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", f"md5={base64.b64encode(md5).decode()}")
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("X-Linked-Etag", f'"{self._sha(path)}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("ETag", f'"{self._sha(path)}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if head:
            return
        if shelf.cuts and len(body) > 1:
            shelf.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None: ...


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    from huggingface_hub import constants

    folder = tmp_path / "published"
    folder.mkdir()
    server = Shelf(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        server.address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class TestOneFile:
    content = bytes(range(256)) * 40

    @pytest.fixture
    def address(self, shelf: Shelf) -> str:
        (shelf.root / "a.tif").write_bytes(self.content)
        return f"{shelf.address}/a.tif"

    def test_a_cut_is_resumed_where_it_was(self, shelf, address, tmp_path):
        shelf.cuts = 2
        fetch_file(address, tmp_path / "got" / "a.tif")
        assert (tmp_path / "got" / "a.tif").read_bytes() == self.content
        assert [asked for _, asked in shelf.asked] == [None, "bytes=5120-", "bytes=7680-"]
        assert [path.name for path in (tmp_path / "got").iterdir()] == ["a.tif"]

    def test_a_killed_run_is_resumed_by_the_next(self, shelf, address, tmp_path):
        (tmp_path / "a.tif.part").write_bytes(self.content[:1000])
        fetch_file(address, tmp_path / "a.tif")
        assert (tmp_path / "a.tif").read_bytes() == self.content
        assert shelf.asked == [("a.tif", "bytes=1000-")]

    def test_other_bytes_than_announced_are_removed(self, shelf, address, tmp_path):
        (tmp_path / "a.tif.part").write_bytes(b"x" * 1000)  # a part of another file
        with pytest.raises(DatasetError, match=r"MD5 \w+... and its server announced .* try again"):
            fetch_file(address, tmp_path / "a.tif")
        fetch_file(address, tmp_path / "a.tif")
        assert (tmp_path / "a.tif").read_bytes() == self.content

    @pytest.mark.parametrize(
        ("status", "said"),
        [(404, "is not to be had .http 404."), (503, r"cannot be fetched .* what is there stays")],
    )
    def test_a_server_that_refuses(self, shelf, address, tmp_path, status, said):
        shelf.status = status
        with pytest.raises(DatasetError, match=said):
            fetch_file(address, tmp_path / "a.tif")
        assert len(shelf.asked) == (1 if status == 404 else 5)

    def test_no_server_and_no_room(self, shelf, address, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match=r"cannot be written"):
            fetch_file(address, tmp_path / "file" / "a.tif")
        with pytest.raises(DatasetError, match=r"cannot be fetched .*; check the network"):
            fetch_file("http://127.0.0.1:9/a.tif", tmp_path / "a.tif")


class TestSets:
    @pytest.fixture
    def bucket(self, shelf, make_set, monkeypatch):
        make_set("sen1floods11", shelf.root, chips=2)
        home = layouts.SEN1FLOODS11.home
        moved = Bucket(f"{shelf.address}/v1.1/", home.lists, home.folders)
        layout = replace(layouts.SEN1FLOODS11, home=moved)
        monkeypatch.setitem(layouts.LAYOUTS, "sen1floods11", layout)
        return shelf

    def test_floods_from_a_bucket_that_hangs_up(self, bucket, tmp_path):
        root = tmp_path / "mine"
        bucket.cuts = 3
        pairs = open_dataset("sen1floods11", root, download=True)
        assert len(pairs) == 6
        assert not list(root.rglob("*.part"))
        assert not list(root.rglob("*S1Hand.tif"))
        # A second time nothing is asked for, and the network may be gone.
        before = len(bucket.asked)
        bucket.status = 503
        assert len(open_dataset("sen1floods11", root, download=True)) == 6
        assert len(bucket.asked) == before

    def test_a_fetch_that_failed_goes_on(self, bucket, tmp_path):
        root = tmp_path / "mine"
        lost = next(bucket.root.rglob("Ghana_1000_S2Hand.tif"))
        aside = lost.rename(tmp_path / "aside.tif")
        with pytest.raises(DatasetError, match=r"Ghana_1000_S2Hand.tif is not to be had"):
            open_dataset("sen1floods11", root, download=True)
        aside.rename(lost)
        bucket.asked.clear()
        there = {path.name for path in root.rglob("*.tif")}
        assert len(open_dataset("sen1floods11", root, download=True)) == 6
        assert not {name for name, _ in bucket.asked} & there

    def test_burn_scars_from_the_hub_as_an_archive(self, shelf, make_set, pack, tmp_path):
        made = make_set("hls_burn_scars", tmp_path / "made")
        pack(shelf.root / "hls_burn_scars.tar.gz", made, ["training", "validation"])
        (shelf.root / "README.md").write_text("about")
        pairs = open_dataset("hls_burn_scars", tmp_path / "mine", download=True)
        assert Counter(pair.split for pair in pairs) == {"train": 4, "test": 2}
        assert not list((tmp_path / "mine").rglob("._*"))
        assert not (tmp_path / "mine" / "README.md").exists()
        shelf.status = 503
        assert len(open_dataset("hls_burn_scars", tmp_path / "mine", download=True)) == 6

    def test_burn_scars_from_the_hub_as_plain_files(self, shelf, make_set, tmp_path):
        make_set("hls_burn_scars", shelf.root, newer=True, chips=6)
        pairs = open_dataset("hls_burn_scars", tmp_path / "mine", download=True)
        assert Counter(pair.split for pair in pairs) == {"train": 3, "val": 2, "test": 1}

    def test_crops_from_the_hub(self, shelf, make_set, pack, tmp_path):
        made = make_set("multi_temporal_crops", tmp_path / "made")
        for part in ("training", "validation"):
            pack(shelf.root / f"{part}_chips.tgz", made, [f"{part}_chips"])
            (made / f"{part}_data.txt").rename(shelf.root / f"{part}_data.txt")
        (made / "chips_df.csv").rename(shelf.root / "chips_df.csv")
        shelf.cuts = 2
        pairs = open_dataset("multi_temporal_crops", tmp_path / "mine", download=True)
        assert Counter(pair.split for pair in pairs) == {"train": 4, "test": 2}
        assert all(all(pair.scene.dates) for pair in pairs)

    def test_a_hub_that_is_not_there_or_has_nothing(self, shelf, tmp_path):
        with pytest.raises(DatasetError, match="holds no file of the set any more"):
            open_dataset("hls_burn_scars", tmp_path / "mine", download=True)
        shelf.lies = True
        (shelf.root / "hls_burn_scars.tar.gz").write_bytes(b"x" * 1000)
        with pytest.raises(DatasetError, match=r"not what the hub announced .* try again"):
            open_dataset("hls_burn_scars", tmp_path / "mine", download=True)
        shelf.shutdown()
        shelf.server_close()
        with pytest.raises(DatasetError, match="could not be fetched from the hub"):
            open_dataset("hls_burn_scars", tmp_path / "mine", download=True)


class TestArchives:
    def archive(self, path: Path, *members: tarfile.TarInfo) -> Path:
        with tarfile.open(path, "w:gz") as file:
            for member in members:
                member.size = 3 if member.isfile() else 0
                file.addfile(member, io.BytesIO(b"abc"))
        return path

    @pytest.mark.parametrize(
        "name", ["../evil.tif", "/tmp/evil.tif", "a/../../evil.tif", "..\\evil.tif", "C:/evil.tif"]
    )
    def test_no_file_leaves_the_folder(self, tmp_path, name):
        path = self.archive(tmp_path / "set.tgz", tarfile.TarInfo("a.tif"), tarfile.TarInfo(name))
        with pytest.raises(DatasetError, match="leads out of its folder"):
            unpack(path)
        assert [file.name for file in tmp_path.iterdir()] == ["set.tgz"]

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
    def test_no_links_and_devices(self, tmp_path, kind):
        member = tarfile.TarInfo("link.tif")
        member.type, member.linkname = kind, "/etc/passwd"
        with pytest.raises(DatasetError, match="is a link or a device"):
            unpack(self.archive(tmp_path / "set.tgz", member))
        assert [file.name for file in tmp_path.iterdir()] == ["set.tgz"]

    def test_damage_leaves_nothing_behind(self, tmp_path):
        path = self.archive(tmp_path / "set.tgz", tarfile.TarInfo("a.tif"))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DatasetError, match="cannot be unpacked .* fetch it again"):
            unpack(path)
        assert [file.name for file in tmp_path.iterdir()] == ["set.tgz"]

    def test_what_a_killed_run_left_is_begun_anew(self, tmp_path):
        path = self.archive(
            tmp_path / "set.tar.gz", tarfile.TarInfo("a/b.tif"), tarfile.TarInfo("a/._b.tif")
        )
        (tmp_path / "set.part").mkdir()
        (tmp_path / "set.part" / "half.tif").write_text("half")
        folder = unpack(path)
        assert [file.name for file in folder.rglob("*")] == ["a", "b.tif"]
        assert unpack(path) == folder

    def test_a_full_disk_is_known_before(self, tmp_path, monkeypatch):
        import shutil

        path = self.archive(tmp_path / "set.tgz", tarfile.TarInfo("a.tif"))
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1))
        with pytest.raises(OutputError, match="free some space, or choose another folder"):
            unpack(path)
