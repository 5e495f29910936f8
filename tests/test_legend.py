"""Legends: CSV and TOML say the same, and what is wrong is said in a sentence."""

import pytest

from geofm.errors import ConfigError
from geofm.legend import read_legend
from geofm.tasks import CROPS, FLOOD, TASKS, MapClass, check_classes, check_dates, find_task

CSV = "code,name,color,stored\n1,potatoes,#7B3F00,20 21\n0,bare soil,#c8ad7f,10\n"
TOML = """
[[class]]
code = 0
name = "bare soil"
color = "#c8ad7f"
stored = [10]
[[class]]
code = 1
name = "potatoes"
color = "#7b3f00"
stored = [20, 21]
"""


@pytest.mark.parametrize(("name", "text"), [("l.csv", CSV), ("l.toml", TOML)])
def test_classes_and_what_labels_hold(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    legend = read_legend(tmp_path / name)
    assert legend.classes == (MapClass("bare soil", "#c8ad7f"), MapClass("potatoes", "#7b3f00"))
    assert legend.stored == {10: 0, 20: 1, 21: 1}


def test_the_least_one_can_write(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("\ufeffcode, name\n0, land\n1, open water\n")
    legend = read_legend(path)
    assert [kind.name for kind in legend.classes] == ["land", "open water"]
    assert len({kind.color for kind in legend.classes}) == 2
    assert legend.stored is None


def test_stored_words_may_hold_spaces(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("code,name,stored\n0,land,dry land\n1,water,lake; river bank; 3\n")
    assert read_legend(path).stored == {"dry land": 0, "lake": 1, "river bank": 1, 3: 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no class"),
        ("code,name\n", "names no class"),
        ("code,label\n0,a\n", "has code, label; needed code and name"),
        ("code,name\n0,a\n2,b\n", "the codes are 0, 2; needed each from 0 to 1 once"),
        ("code,name\n1,a\n1,b\n", "the codes are 1, 1"),
        ("code,name\nx,a\n1,b\n", "code 'x' is no whole number"),
        ("code,name\n0,a\n1,a\n", "class names stand twice"),
        ("code,name\n0,a\n1,\n", "code 1 has no name"),
        ("code,name\n0,a\n", "1 classes; a map holds 2"),
        ("code,name,color\n0,a,red\n1,b,\n", "the colour of a is 'red'; write it as #"),
        ("code,name,stored\n0,a,5\n1,b,5\n", "stored value 5 is both a and b"),
        ("code,name,stored\n0,a,5\n1,b,\n", "b has no stored value, and other classes have"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, said):
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_legend(path)


def test_files_that_are_no_legend(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read as a legend"):
        read_legend(tmp_path / "absent.csv")
    (tmp_path / "l.toml").write_text("classes = 3")
    with pytest.raises(ConfigError, match=r"has no table \[\[class\]\]"):
        read_legend(tmp_path / "l.toml")
    (tmp_path / "l.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read as a legend"):
        read_legend(tmp_path / "l.csv")


def test_tasks_know_their_dates():
    assert set(TASKS) == {"flood", "burn_scar", "crops", "custom"}
    assert len(CROPS.classes) == 13
    check_dates(find_task("burn_scar"), 2)
    check_dates(CROPS, 12)
    check_dates(find_task("custom"), 5)
    with pytest.raises(ConfigError, match="have 2 dates, and flood is mapped from 1 date"):
        check_dates(FLOOD, 2)
    with pytest.raises(ConfigError, match="burn_scar is mapped from 1 to 2 dates"):
        check_dates(find_task("burn_scar"), 3)
    with pytest.raises(ConfigError, match="a custom map shows those of its user"):
        check_classes(find_task("custom").classes)
