"""Exit codes, and the one sentence that people and machines are told."""

import errno
import io
import json
import subprocess
import sys

import pytest
import torch

from geofm import __version__
from geofm.cli import commands
from geofm.cli.app import main
from geofm.errors import BandError, Stopped


@pytest.fixture
def fail_with(monkeypatch):
    """Let `geofm doctor` fail with an error."""

    def install(error: BaseException) -> None:
        def fail(*_: object) -> commands.Result:
            raise error

        monkeypatch.setattr(commands, "run", fail)

    return install


@pytest.mark.parametrize("words", [["--help"], [], ["map", "-h"], ["help", "info"], ["--version"]])
def test_asking_is_no_error(words, capsys) -> None:
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BandError("no red;\n give level=toa"), 1, "error: no red; give --level toa"),
        (Stopped("stopped; go on with --resume"), 143, "error: stopped; go on with --resume"),
        (OSError(errno.ENOSPC, "No space", "a.tif"), 1, "a.tif: no space left on device; free"),
        (PermissionError(errno.EACCES, "Denied", "b"), 1, "b: permission denied; check"),
        (MemoryError(), 1, "memory ran out; choose a smaller --memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "memory ran out; choose"),
        (KeyError("x"), 70, "geofm has a bug (KeyError at test_app.py:"),
        (OSError("odd"), 70, "geofm has a bug (OSError"),
        (KeyboardInterrupt(), 130, "geofm: interrupted"),
    ],
)
def test_each_error_has_its_code_and_its_line(fail_with, capsys, error, code, said) -> None:
    fail_with(error)
    assert main(["doctor"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert len(told.err.splitlines()) == 1


def test_torch_without_memory_for_a_tensor_is_no_bug_of_ours(fail_with, capsys) -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    fail_with(refused.value)
    assert main(["doctor"]) == 1
    assert "memory ran out; choose" in capsys.readouterr().err


def test_the_traceback_is_shown_when_asked(fail_with, capsys, monkeypatch) -> None:
    monkeypatch.setenv("GEOFM_DEBUG", "1")
    fail_with(KeyError("x"))
    assert main(["doctor"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_machines_get_the_error_as_json(fail_with, capsys) -> None:
    fail_with(BandError("no red"))
    assert main(["doctor", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": "no red", "kind": "BandError", "exit_code": 1}


def test_usage_is_2(capsys) -> None:
    assert main(["map"]) == 2
    assert capsys.readouterr().err.startswith("error: geofm map: needs MODEL")


def test_the_program_passes_its_code_on() -> None:
    run = [sys.executable, "-m", "geofm"]
    told = subprocess.run([*run, "--version"], check=True, capture_output=True, text=True)
    assert told.stdout == f"geofm {__version__}\n"
    assert subprocess.run([*run, "mpa"], check=False, capture_output=True).returncode == 2


def test_a_reader_that_leaves_is_no_bug() -> None:
    code = "from geofm.cli.app import main; import sys; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3); {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_page_is_printed_where_its_signs_are_unknown(make_scene, monkeypatch) -> None:
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    assert main(["info", str(make_scene("s.tif"))]) == 0
    sys.stdout.flush()
    assert b"bounds" in held.getvalue()
