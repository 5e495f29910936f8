"""What is wrong with labelled scenes is found and said; where nothing is, nothing is said."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from geofm.assess.check import check_pairs
from geofm.assess.check_page import write_check_page
from geofm.assess.shift import judge_shift, score_moves
from geofm.cli.app import main
from geofm.errors import LabelError, OutputError
from geofm.scenes.catalog import Pair
from geofm.scenes.labels import open_labels
from geofm.scenes.open import open_scene
from geofm.scenes.synthetic import make_labels, make_scene
from geofm.tasks import FLOOD

SIDE = 160


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> list[Pair]:
    """Six chips far apart, in ``images`` and ``labels``."""
    folder = tmp_path_factory.mktemp("chips")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    out = []
    for n in range(6):
        grid = Affine(10, 0, 400_000 + 20_000 * n, 0, -10, 5_900_000)
        path = make_scene(
            folder / f"images/chip_{n}.tif", height=SIDE, width=SIDE, seed=n, transform=grid
        )
        labels = make_labels(folder / f"labels/chip_{n}.tif", path, seed=n)
        scene = open_scene(path)
        out.append(Pair(scene, open_labels(labels, scene.geobox), f"chip_{n}"))
    return out


class Changed:
    """Labels after a change of the whole picture."""

    def __init__(self, labels, change):
        self.codes = np.asarray(change(labels.read()), np.uint8)

    def read(self, window=None):
        return self.codes if window is None else self.codes[window.slices]


def with_labels(pair, change):
    return replace(pair, labels=Changed(pair.labels, change))


def texts(report, weight="problem"):
    return [one.text for one in report.findings if one.weight == weight]


class TestShift:
    @pytest.mark.parametrize("move", [(0, 0), (2, -1), (0, 3), (-1, 0)])
    def test_labels_that_were_moved_are_found_and_others_not(self, pairs, move):
        """The picture's edges lie the other way."""
        scores = []
        for pair in pairs[:3]:
            pixels = pair.scene.read()
            target = np.roll(pair.labels.read(), move, (0, 1))
            scores += score_moves(pixels.values[0], pixels.valid[0], target)
        shift = judge_shift(scores)
        if move == (0, 0):
            assert shift is None
        else:
            assert (shift.rows, shift.cols) == (-move[0], -move[1])

    def test_what_cannot_tell_says_nothing(self, pairs):
        pixels, target = pairs[0].scene.read(), pairs[0].labels.read()
        values, valid = pixels.values[0], pixels.valid[0]
        assert score_moves(values, valid, np.zeros_like(target)) == []
        assert score_moves(values, np.zeros_like(valid), target) == []
        assert score_moves(values[:, :9, :9], valid[:9, :9], target[:9, :9]) == []
        assert judge_shift([]) is None

    def test_noise_has_no_shift(self):
        rng = np.random.default_rng(0)
        scores = []
        for _ in range(6):
            values = rng.random((4, 96, 96)).astype(np.float32)
            target = np.kron(rng.integers(0, 3, (12, 12)), np.ones((8, 8))).astype(np.uint8)
            scores += score_moves(values, np.ones((96, 96), bool), target)
        assert judge_shift(scores) is None


class TestFindings:
    def test_nothing_is_wrong(self, pairs):
        report = check_pairs(pairs, FLOOD.classes)
        assert report.findings == ()
        assert report.pairs == 6
        assert report.facts["sizes"] == f"{SIDE} x {SIDE} px"
        assert "EPSG:32633" in report.facts["CRS"]
        assert sum(report.classes.values()) == sum(look.labelled for look in report.looks.values())
        assert report.leakage == ""

    def test_shifted_labels(self, pairs):
        moved = [with_labels(p, lambda codes: np.roll(codes, (0, 2), (0, 1))) for p in pairs]
        (text,) = texts(check_pairs(moved, FLOOD.classes))
        assert "labels look shifted: the picture's edges lie 2 px left" in text
        one = [with_labels(pairs[0], lambda codes: np.roll(codes, 3, 0)), *pairs[1:]]
        (finding,) = check_pairs(one, FLOOD.classes).findings
        assert finding.pairs == ("chip_0",)
        assert finding.weight == "advice"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda c: np.where(c == 1, 7, c), r"hold 1 code that is no class \(7\)"),
            (lambda c: np.full_like(c, 255), "no pixel is labelled with a class: all are ignored"),
            (np.zeros_like, "all labels are not water; needed two classes"),
        ],
    )
    def test_labels_that_teach_nothing(self, pairs, change, said):
        report = check_pairs([with_labels(pair, change) for pair in pairs], FLOOD.classes)
        assert any(re.search(said, text) for text in texts(report))

    def test_absent_rare_and_empty(self, pairs):
        classes = (*FLOOD.classes, replace(FLOOD.classes[0], name="ice"))
        few = with_labels(pairs[0], lambda codes: np.where(codes == 1, 255, codes))
        few.labels.codes[0, 0] = 1
        bare = with_labels(pairs[1], lambda codes: np.full_like(codes, 255))
        report = check_pairs([few, bare], classes)
        said = " ".join(texts(report, "advice"))
        assert "no pixel is labelled ice" in said
        assert "rare among the labels: water (0.01%)" in said
        assert "1 of 2 pairs have no labelled pixel" in said
        assert texts(report) == []

    def test_labels_where_nothing_was_measured(self, pairs):
        on_fill = with_labels(pairs[0], lambda codes: np.where(codes == 255, 0, 255))
        on_fill.labels.codes[:2] = 1
        said = texts(check_pairs([on_fill], FLOOD.classes), "advice")
        assert any(
            "labelled pixels lie where the scene has no valid pixel" in text for text in said
        )

    def test_doubles(self, pairs):
        twin = replace(pairs[0], name="twin")
        advice = texts(check_pairs([*pairs, twin], FLOOD.classes), "advice")
        assert advice == ["chip_0 and twin have equal pixels; keep one"]
        other = with_labels(twin, lambda codes: 1 - np.minimum(codes, 1))
        problems = texts(check_pairs([*pairs, other], FLOOD.classes))
        assert "chip_0 and twin have equal pixels and different labels; keep one" in problems

    def test_scenes_that_do_not_go_together(self, pairs, tmp_path):
        two = open_scene(make_scene(tmp_path / "t.tif", height=60, width=60, dates=2, level="toa"))
        coarse = open_scene(
            make_scene(
                tmp_path / "c.tif", height=60, width=60, transform=Affine(30, 0, 4e5, 0, -30, 5e6)
            )
        )
        bare = open_scene(make_scene(tmp_path / "b.tif", height=60, width=60, crs=None))
        fewer = pairs[2].scene.select(bands=["red", "nir08"])
        odd = [
            Pair(scene, Changed(pairs[0].labels, lambda codes: codes[:60, :60]), name)
            for name, scene in (("two", two), ("coarse", coarse), ("bare", bare))
        ]
        odd.append(replace(pairs[2], scene=fewer, name="fewer"))
        found = check_pairs([*pairs[:2], *odd], FLOOD.classes)
        problems = " ".join(texts(found))
        for said in (
            "different bands", "different numbers of dates", "different processing levels",
            "1 scene without a CRS do not say the size", "pixels are 10 to 30 m on the ground",
        ):  # fmt: skip
            assert said in problems
        assert "1 of 6 scenes have no CRS" in " ".join(texts(found, "advice"))

    def test_given_splits_and_failures(self, pairs):
        names = ["train", "train", "train", "val", "test", "test"]
        given = [replace(pair, split=name) for pair, name in zip(pairs, names, strict=True)]
        report = check_pairs(
            given, FLOOD.classes, failures=[("a", "a is cut off"), ("b", "b is cut off")]
        )
        assert texts(report) == ["a is cut off (and 1 more so)"]
        assert "km" in report.leakage or "m apart at the nearest" in report.leakage
        leaking = [*given, replace(given[0], split="test", name="again")]
        found = check_pairs(leaking, FLOOD.classes)
        assert any("the given split leaks: chip_0" in text for text in texts(found))
        allowed = check_pairs(leaking, FLOOD.classes, allow_leakage=True)
        assert not any("leaks" in text for text in texts(allowed))
        few = check_pairs(pairs[:2], FLOOD.classes)
        assert any("lie in 2 places" in text for text in texts(few, "advice"))

    def test_a_pair_that_cannot_be_read_is_a_failure(self, pairs):
        def refuse(_window=None):
            raise LabelError("chip_9 holds 0.5, which is no class code")

        broken = replace(pairs[0], name="chip_9", labels=type("L", (), {"read": refuse})())
        broken.labels.read = refuse
        report = check_pairs([broken, *pairs[1:]], FLOOD.classes)
        assert texts(report) == ["chip_9 holds 0.5, which is no class code"]
        assert report.pairs == 5


class TestPage:
    def test_it_needs_nothing_else_and_says_the_worst_first(self, pairs, tmp_path):
        twin = replace(pairs[4], name='<twin> & "co"')
        report = check_pairs([*pairs, twin], FLOOD.classes)
        path = write_check_page(
            tmp_path / "out/check.html", report, [*pairs, twin], FLOOD.classes, title="<chips>"
        )
        text = path.read_text()
        assert "http" not in text.replace("http-equiv", "")
        assert "<twin>" not in text
        assert text.count("<img") == 14
        first = re.search(r'alt="image of ([^"]*)"', text)[1]
        assert first == "chip_4"
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot write"):
            write_check_page(tmp_path / "file/x.html", report, pairs, FLOOD.classes, title="x")


class TestCommand:
    def test_page_json_and_exit_code(self, pairs, tmp_path, capsys):
        folder = str(pairs[0].scene.paths[0]).rpartition("/images/")[0]
        words = ["check", "--task", "flood", "--images", f"{folder}/images"]
        words += ["--labels", f"{folder}/labels"]
        assert main([*words, "--html", str(tmp_path / "c.html")]) == 0
        told = capsys.readouterr().out
        assert "nothing stands in the way" in told
        assert (tmp_path / "c.html").exists()
        assert main([*words, "--codes", "0=not water", "--json"]) == 1
        facts = json.loads(capsys.readouterr().out)
        assert facts["problems"] == 1
        assert facts["pairs"] == 6

    def test_what_cannot_be_opened_is_a_problem_beside_the_others(self, pairs, tmp_path, capsys):
        for n, pair in enumerate(pairs[:3]):
            for kind in ("images", "labels"):
                (tmp_path / kind).mkdir(exist_ok=True)
                source = str(pair.scene.paths[0]).replace("/images/", f"/{kind}/")
                content = Path(source).read_bytes()
                broken = kind == "images" and n == 1
                (tmp_path / kind / f"c{n}.tif").write_bytes(content[:2000] if broken else content)
        words = ["check", "--task", "flood", "--images", str(tmp_path / "images")]
        assert main([*words, "--labels", str(tmp_path / "labels")]) == 1
        told = capsys.readouterr().out
        assert "2 pairs of scene and labels" in told
        assert "no  " in told

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--task", "flood"], "no labelled scenes were given; needed one of --images"),
            (["--task", "flood", "--images", "a"], "--labels is missing"),
            (["--task", "flood", "--images", "a", "--catalog", "b"], "--catalog and --images were"),
            (["--images", "a", "--labels", "b"], "no task was named"),
            (["--task", "custom", "--catalog", "b"], "no classes are named"),
            (["--dataset", "floods", "--root", "a"], "unknown data set"),
            (["--dataset", "sen1floods11"], "--root is missing"),
            (
                ["--dataset", "hls_burn_scars", "--root", "a", "--task", "flood"],
                "labels not burned",
            ),
        ],
    )
    def test_half_a_source_is_refused_in_a_sentence(self, capsys, words, said):
        assert main(["check", *words]) == 1
        assert said in capsys.readouterr().err
