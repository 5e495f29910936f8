"""Charts: they show the numbers they are given, whatever these are."""

import numpy as np
import pytest

from geofm.plot.charts import (
    Bar,
    Confidence,
    Point,
    area_bars,
    confusion_table,
    label_curve,
    loss_curve,
    reliability_diagram,
)
from geofm.plot.ink import save_figure


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


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


def test_areas_carry_their_numbers() -> None:
    found = texts(area_bars([Bar("water", 18234.3, (17900, 18500)), Bar("burned", 0.1234)]))
    assert found == ["18,234  (17,900 to 18,500)", "0.123"]


def test_a_label_curve_has_its_own_mark_for_each() -> None:
    points = [Point(1, 0.4, (0.3, 0.5)), Point(140, 0.6)]
    figure = label_curve({"encoder": points, "raw bands": points})
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None, "")]
    assert len({line.get_marker() for line in lines}) == 2
    assert len({line.get_color() for line in lines}) == 2


def test_reliability_shows_every_bin(tmp_path) -> None:
    bins = [Confidence(0.6, 0.55, 0.01, 0.5), Confidence(0.9, 0.95, None, 0.5)]
    figure = reliability_diagram(bins, error=0.05)
    line = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert list(line.get_xdata()) == [0.6, 0.9]
    assert list(line.get_ydata()) == [0.55, 0.95]
    assert "0.050" in figure.axes[0].get_title(loc="left")
    save_figure(figure, tmp_path / "x.png")


def test_confusion_is_in_shares_of_the_labels() -> None:
    figure = confusion_table(np.array([[999, 1], [0, 0]]), ["land", "water"])
    assert texts(figure) == ["100%", "< 1%", "–", "–"]
