"""Words typed: commands, flags and values, and what is said of wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm.cli.parser import COMMANDS, UsageError, parse
from geofm.cli.values import numbers, pairs, size
from geofm.cli.words import as_flags


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mapp"], "no command mapp; did you mean map?"),
        (["nonsense"], "no command nonsense; there are demo, info"),
        (["--versoin"], "no flag --versoin; did you mean --version?"),
        (["map", "m", "s", "--probabilites"], "no flag --probabilites; did you mean --probab"),
        (["finetune", "--tsak", "flood"], "no flag --tsak; did you mean --task?"),
        (["map"], "needs MODEL, SCENE, --output"),
        (["map", "m", "-o", "o.tif"], "needs SCENE"),
        (["map", "m", "s", "-o"], "--output needs a value"),
        (["map", "m", "s", "-o", "o.tif", "--memory", "lots"], "--memory lots: write a size"),
        (["map", "m", "s", "-o", "o.tif", "--precision", "fp8"], "choose auto, fp32, bf16"),
        (["map", "m", "s", "-o", "o.tif", "--scale", "big"], "--scale big: write a number"),
        (["map", "m", "s", "-o", "o.tif", "--accept", "nir"], "write pairs such as nir08=nir"),
        (["pretrain", "s", "-o", "e", "--steps", "0"], "--steps 0: write a whole number from 1"),
        (["doctor", "now"], "did not expect now"),
        (["info", "bad\udcff.tif"], "is not UTF-8; rename the file"),
    ],
)
def test_wrong_words_are_named_with_the_next_step(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(words)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_page_fits_a_terminal_and_shows_every_flag(name: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = parse([name, "--help"])
    assert isinstance(page, str)
    assert parse(["help", name]) == page
    assert max(len(line) for line in page.splitlines() if "$" not in line) <= 80
    # The last thing on the page, and so the first above the prompt.
    assert f"\n  $ geofm {name}" in page.rpartition("Example")[2]
    assert "--json" in page
    assert "\033" not in page  # no colour where no terminal is


def test_examples_on_the_pages_are_commands() -> None:
    for command in COMMANDS.values():
        for example in command.examples:
            words = example.replace("\\\n", " ").replace("'", "").split(" > ")[0].split()
            # A class name of two words is quoted on the page.
            words = " ".join(words).replace("field=not water", "field=not_water").split()
            assert not isinstance(parse(words[1:]), str)


def test_flags_may_stand_anywhere() -> None:
    first = parse(["map", "--json", "m.geofm", "a.tif", "-o", "o.tif", "b.tif"])
    second = parse(["map", "m.geofm", "a.tif", "b.tif", "--output=o.tif", "--json"])
    assert first == second
    assert first.scenes == ["a.tif", "b.tif"]


def test_values_become_what_the_house_uses() -> None:
    words = ["map", "m", "s", "-o", "o.tif", "--bands", "red, nir08", "--offset", "-0.1"]
    words += ["--accept", "nir08=nir,red=green", "--accept", "resolution=any"]
    flags = parse([*words, "--scale", "1e-4,2e-4"])
    assert flags.bands == ("red", "nir08")
    assert flags.offset == -0.1
    assert parse(["info", "s", "--offset", "-0.1,-0.2"]).offset == (-0.1, -0.2)
    assert flags.scale == (1e-4, 2e-4)
    assert flags.accept == {"nir08": "nir", "red": "green", "resolution": "any"}
    assert flags.memory == 2 * 2**30


@given(st.integers(1, 2**40), st.sampled_from(["", "KiB", "MiB", "GiB", "k", "M", "KB", "gb"]))
def test_sizes_read_back(number: int, unit: str) -> None:
    base = 1000 if unit.lower() in ("kb", "mb", "gb") else 1024
    power = " kmg".index(unit[:1].lower() or " ")
    assert size(f"{number}{unit}") == size(f" {number} {unit} ") == number * base**power


@given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_numbers_read_back(one: float, many: list[float]) -> None:
    assert numbers(repr(one)) == one
    assert numbers(",".join(map(repr, many))) == tuple(many)


def test_pairs_read_back() -> None:
    assert pairs("1=water, 2=not water") == {"1": "water", "2": "not water"}


def test_advice_for_python_becomes_advice_for_the_command_line() -> None:
    assert as_flags("give scale= too,\n or level=toa") == "give --scale too, or --level toa"
    assert as_flags("name those in classes=") == "name those in --codes"
    assert as_flags("the upscale=3 stays") == "the upscale=3 stays"
