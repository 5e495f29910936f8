"""The folder of a training: what a new one clears away, and what going on never loses."""

from pathlib import Path

import pytest

from geofm.train.run_folder import CHECKPOINT, Curves, Row, read_rows


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder that a training of three steps has left."""
    folder = tmp_path / "a.run"
    with Curves(folder, {}, after=0) as curves:
        for step in (1, 2, 3):
            curves.add(Row(step, 0.5, 1e-3, 1.0, 9.0, float(step)))
    (folder / CHECKPOINT).write_bytes(b"weights")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "step_000003.png").write_bytes(b"picture")
    return folder


def test_a_new_training_leaves_nothing_of_an_older_one(used: Path) -> None:
    """Its last picture would pass for the newest of this one."""
    with Curves(used, {}, after=0) as curves:
        assert curves.rows == []
    assert {path.name for path in used.iterdir()} - {"tensorboard"} == {
        "metrics.csv",
        "settings.json",
    }


def test_going_on_keeps_what_was_done_until_then(used: Path) -> None:
    with Curves(used, {}, after=2) as curves:
        assert [row.step for row in curves.rows] == [1, 2]
    assert (used / CHECKPOINT).is_file()
    assert (used / "pictures" / "step_000003.png").is_file()


def test_going_on_without_its_curve_keeps_the_checkpoint(used: Path) -> None:
    """It is the only copy of what was learnt until another is written."""
    (used / "metrics.csv").unlink()
    with Curves(used, {}, after=2) as curves:
        curves.add(Row(3, 0.5, 1e-3, 1.0, 9.0, 3.0))
    assert (used / CHECKPOINT).is_file()
    assert [row.step for row in read_rows(used / "metrics.csv")] == [3]
