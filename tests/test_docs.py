"""`make docs` writes a page a public module, with all that is public and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import geofm
import geofm.plot

REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_public_name_has_its_place(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "make_docs.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,  # what it said is shown below
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr
    pages = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    shown = {"index.html", "geofm.html", *(f"geofm/{n}.html" for n in ("plot", "xarray", "howto"))}
    assert pages == shown
    for page, module in (("geofm.html", geofm), ("geofm/plot.html", geofm.plot)):
        text = (tmp_path / page).read_text()
        assert "doctest:" not in text
        for name in module.__all__:
            assert name.startswith("__") or f'id="{name}"' in text, name
