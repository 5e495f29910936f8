"""Charts: they show the numbers they are given, whatever these are."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from geofm import plot
from geofm.assess.curve_rows import CurvePoint, CurveRow, LabelCurve, append_row
from geofm.assess.reliability import Bin
from geofm.errors import OutputError, SceneError
from geofm.plot.charts import confusion_table, label_curve, loss_curve, reliability_diagram
from geofm.plot.ink import save_figure


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def marked(axes):
    return [line for line in axes.lines if line.get_marker() not in ("None", None, "")]


@pytest.mark.parametrize("steps", [0, 1, 2, 500])
def test_a_loss_curve_of_any_length(steps, tmp_path) -> None:
    losses = list(np.linspace(1, 0.5, steps))
    figure = loss_curve(range(1, steps + 1), losses, scores={1: 0.5} if steps else None)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), losses)
    save_figure(figure, tmp_path / "x.png")


def test_the_running_mean_lies_in_the_middle_of_its_steps() -> None:
    figure = loss_curve(range(1, 501), np.arange(500.0))
    smooth = figure.axes[0].lines[1]
    np.testing.assert_allclose(smooth.get_ydata(), smooth.get_xdata() - 1, atol=1)


def test_a_run_folder_shows_its_losses_and_scores(tmp_path) -> None:
    folder = tmp_path / "m.run"
    folder.mkdir()
    head = "step,loss,learning_rate,gradient_norm,samples_per_second,seconds,score"
    lines = ["1,0.9,0.001,1.0,10.0,1.0,", "2,0.7,0.001,1.0,10.0,2.0,0.25", "3,0.6,0.0"]
    (folder / "metrics.csv").write_text("\n".join([head, *lines]))
    for source in (folder, str(folder / "metrics.csv")):
        losses, scores = (axes.lines[0] for axes in plot.curve(source).axes)
        assert list(losses.get_ydata()) == [0.9, 0.7]  # the torn line is left out
        assert (list(scores.get_xdata()), list(scores.get_ydata())) == ([2], [0.25])
    with pytest.raises(SceneError, match=r"there is no .*give a run folder"):
        plot.curve(tmp_path / "absent.run")


def test_areas_carry_their_numbers_and_what_was_counted(areas_of) -> None:
    found = areas_of(("water", 20000.0, 18234.3, (17900, 18500)), ("burned", 12, 12.34, (9, 15)))
    figure = plot.area(found)
    assert texts(figure) == ["18,234  (17,900 to 18,500)", "12.3  (9 to 15)"]
    counted = [line for line in marked(figure.axes[0]) if line.get_marker() == "D"]
    assert [list(line.get_xdata()) for line in counted] == [[20000.0], [12], []]
    assert texts(plot.area(found, unit="km2"))[0] == "182  (179 to 185)"


POINTS = [
    CurvePoint(method, labels, score, interval, 3)
    for method in ("pretrained", "unet")
    for labels, score, interval in ((1, 0.4, (0.3, 0.5)), (140, 0.6, None))
]


def test_a_label_curve_has_its_own_mark_for_each() -> None:
    for figure in (
        label_curve(POINTS),
        plot.curve(LabelCurve(rows=(), points=tuple(POINTS), unit="labelled scenes")),
    ):
        lines = marked(figure.axes[0])
        assert len({line.get_marker() for line in lines}) == 2
        assert len({line.get_color() for line in lines}) == 2
        assert [list(line.get_ydata()) for line in lines] == [[0.4, 0.6]] * 2


def test_a_label_curve_from_its_file(tmp_path) -> None:
    path = tmp_path / "curve.csv"
    for seed, score in enumerate((0.4, 0.6)):
        append_row(path, CurveRow("unet", 2, 99, seed, score, None, None, 1.0, "", "k"))
    line = marked(plot.curve(path).axes[0])[0]
    assert list(line.get_ydata()) == [pytest.approx(0.5)]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OutputError, match="no label curve"):
        plot.curve(tmp_path / "other.csv")


def test_reliability_shows_every_bin(tmp_path) -> None:
    bins = [Bin(0.6, 0.55, 0.01, 0.5), Bin(0.9, 0.95, None, 0.5)]
    figure = reliability_diagram(bins, error=0.05)
    line = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert list(line.get_xdata()) == [0.6, 0.9]
    assert list(line.get_ydata()) == [0.55, 0.95]
    assert "0.050" in figure.axes[0].get_title(loc="left")
    save_figure(figure, tmp_path / "x.png")


def test_confusion_is_in_shares_of_the_labels() -> None:
    figure = confusion_table(np.array([[999, 1], [0, 0]]), ["land", "water"])
    assert texts(figure) == ["100%", "< 1%", "–", "–"]


def test_every_chart_draws_into_axes_of_ones_own() -> None:
    figure = Figure()
    axes = figure.subplots(2, 2).ravel()
    loss_curve([1, 2], [1.0, 0.5], ax=axes[0])
    label_curve(POINTS, ax=axes[1])
    reliability_diagram([Bin(0.6, 0.55, 0.01, 1.0)], ax=axes[2])
    score = SimpleNamespace(
        classes=[SimpleNamespace(name="a"), SimpleNamespace(name="b")],
        confusion=np.array([[8, 2], [1, 9]]),
    )
    assert plot.confusion(score, ax=axes[3]) is figure
    assert all(one.has_data() for one in axes)
