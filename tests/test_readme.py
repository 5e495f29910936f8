"""What README.md, the how-tos and the notebooks tell people to type exists, and works."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geofm
import geofm.howto
from geofm.cli.parser import UsageError, parse

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
HOWTO = geofm.howto.__doc__ or ""
NOTEBOOKS = "\n".join(
    "".join(cell["source"])
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    for cell in json.loads(path.read_text())["cells"]
    if cell["cell_type"] == "markdown"
)


def _blocks(text: str) -> list[str]:
    """What stands in fences, without the language; a line that ends in a backslash goes on."""
    return [
        block.partition("\n")[2].replace("\\\n", " ")
        for block in re.split("^```", text, flags=re.MULTILINE)[1::2]
    ]


def _commands() -> list[str]:
    shown = "\n".join(block for text in (README, HOWTO, NOTEBOOKS) for block in _blocks(text))
    lines = re.findall(r"^(?:srun )?(geofm .*?)(?: +#.*)?$", shown, re.MULTILINE)
    return [*lines, *re.findall(r"`(geofm [a-z]+[^`]*)`", README + HOWTO)]


@pytest.mark.parametrize("text", [README, HOWTO], ids=["README", "howto"])
def test_python_names_are_public(text: str) -> None:
    names = set(re.findall(r"(?<![.\w])geofm\.(\w+)\(", text))
    assert {"open_scene", "finetune"} <= names <= set(geofm.__all__)


@pytest.mark.parametrize("line", sorted(set(_commands())))
def test_commands_are_understood(line: str) -> None:
    words = shlex.split(line.replace("...", "").replace("$(hostname)", "node1"))
    try:
        parse(words[1:])
    except UsageError as error:
        # A command's bare name, in a sentence.
        assert len(words) == 2, error


def test_make_targets_and_files_are_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (REPOSITORY / path).is_file(), path
    stories = re.findall(r"^\| `(\d\d_\w+)` \|", README, re.MULTILINE)
    assert stories == sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
def test_ten_lines_give_the_map(tmp_path: Path) -> None:
    block = next(block for block in _blocks(README) if "import geofm" in block)
    assert len([line for line in block.splitlines() if line]) == 10
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,  # what it said is shown below
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "flood.png").stat().st_size > 50_000
    with rasterio.open(tmp_path / "flood.tif") as file:
        codes = file.read(1)
    # The open lake in the east, which no label shows, and thick cloud.
    assert (codes[262:298, 1195:1255] == 1).mean() > 0.9
    assert (codes[0:200, 700:900] == 1).mean() < 0.05
    assert set(np.unique(codes)) <= {0, 1, 255}
