"""The notebooks run top to bottom, offline, and are stored small with what they printed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MAX_BYTES = 500_000


def _cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [
        f"{number:02d}" for number in range(1, len(NOTEBOOKS) + 1)
    ]
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_small_and_whole(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES
    cells = _cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds
    for said in ("/root", "/home", "/work", "/tmp", "Traceback"):
        assert said not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # Offline, and a port no one listens on for whoever tries.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Beside other tests, two threads wait for each other longer than they compute.
    usual = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", usual))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=500,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    again = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for before, now in zip(_cells(path), again, strict=True):
        # The same kinds of output as are stored; numbers may differ from machine to machine.
        def shown(outputs: Any) -> list[str]:
            return [o["output_type"] for o in outputs if o.get("name") != "stderr"]

        assert shown(before["outputs"]) == shown(now.outputs)
