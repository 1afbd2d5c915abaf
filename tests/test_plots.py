import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from fer_lib import plots
from fer_lib.published import AFFECTNET_COUNTS, hsemotion_probabilities

COUNTS = pd.DataFrame([[3, 1], [0, 0]], index=["fear", "anger"], columns=["fear", "anger"])
ROWS = pd.DataFrame({"value": [0.5], "low": [0.4], "high": [0.6], "n": [10]}, index=["rgb"])


@pytest.mark.parametrize("draw", [
    lambda: plots.contact_sheet([np.zeros((8, 8, 3), np.uint8), None], 2, ["a", "b"], ["r"]),
    lambda: plots.class_counts({"before": pd.Series(AFFECTNET_COUNTS)}),
    lambda: plots.confusion_heatmap(COUNTS, "title"),
    lambda: plots.probability_heatmap(hsemotion_probabilities(), "title", "aimed at"),
    lambda: plots.training_curves(pd.DataFrame({"epoch": [0], "loss": [1.0]}), ["loss"], "loss"),
    lambda: plots.intervals(ROWS, "accuracy", {"rgb": 0.9}),
])
def test_a_figure_can_be_written_and_leaves_no_global_state(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not pyplot.get_fignums()


def test_a_confusion_matrix_says_share_count_and_n():
    axes = plots.confusion_heatmap(COUNTS, "title").axes[0]
    texts = {text.get_text() for text in axes.texts}
    assert texts == {"75%\n3", "25%\n1"}
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "fear  (n = 4)", "anger  (n = 0)"]


def test_a_landmark_outside_its_crop_does_not_shrink_the_picture():
    faces = [np.zeros((16, 16, 3), np.uint8)]
    figure = plots.contact_sheet(faces, 1, landmarks_px=np.array([[[40.0, 8.0], [np.nan, 1.0]]]))
    assert figure.axes[0].get_xlim() == (-0.5, 15.5)
    assert figure.axes[0].get_ylim() == (15.5, -0.5)


def test_intervals_lie_where_the_table_says():
    axes = plots.intervals(ROWS, "accuracy").axes[0]
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 0] == pytest.approx([0.4, 0.6])


def test_an_error_curve_counts_the_lost_in_its_denominator():
    table = pd.DataFrame({"finder": ["a"] * 4, "error": [1.0, 2.0, np.nan, 40.0]})
    axes = plots.error_curves(table, "finder", "error").axes[0]
    x, y = axes.lines[0].get_data()
    assert dict(zip(x, y, strict=True))[2.0] == 0.5
    assert max(y[x <= 15]) <= 0.75
    assert axes.get_legend().get_texts()[0].get_text() == "a (n = 4)"


def test_speeds_show_every_round_and_the_median():
    times = pd.DataFrame({"way": ["ours", "peer"] * 3, "per_s": [9.0, 1, 10, 2, 11, 3]})
    axes = plots.speeds(times).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ours", "peer"]
    assert [bar.get_width() for bar in axes.patches] == [10, 2]
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3]
