"""What README.md tells people to type exists."""

import re
from pathlib import Path

import pytest

import geofm
from geofm.cli.parser import UsageError, parse

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_python_names_are_public() -> None:
    names = set(re.findall(r"(?<!\.)\bgeofm\.(\w+)\(", README))
    assert {"open_scene", "load_model", "finetune"} <= names <= set(geofm.__all__)


BLOCKS = "".join(README.split("```")[1::2])
IN_BLOCKS = re.findall(r"^(geofm .*?)(?: +#.*)?$", BLOCKS, re.MULTILINE)
IN_LINES = re.findall(r"`(geofm [a-z]+[^`]*)`", README)


@pytest.mark.parametrize("line", [*IN_BLOCKS, *IN_LINES])
def test_commands_are_understood(line: str) -> None:
    try:
        parse(line.replace("...", "").split()[1:])
    except UsageError as error:
        # A command's bare name, in a sentence.
        assert len(line.split()) == 2, error


def test_make_targets_are_there() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets
