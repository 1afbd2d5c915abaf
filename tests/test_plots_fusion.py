import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from fer_lib import plots
from fer_lib.evaluation.agreement import right_wrong_table
from fer_lib.evaluation.leak import leak_curve
from fer_lib.evaluation.recognition import Answers
from fer_lib.published import fusion_weight_gain

SWEEP = pd.DataFrame({
    "w": [0.0, 0.5, 1.0] * 2, "split": ["validation"] * 3 + ["test"] * 3,
    "accuracy": [0.81, 0.84, 0.82, 0.7, 0.73, 0.69],
}).assign(low=lambda t: t["accuracy"] - 0.02, high=lambda t: t["accuracy"] + 0.03)  # fmt: skip
RGB = {"validation": 0.8, "test": 0.7}
LABELS = pd.DataFrame([
    {"case": "all right", "case_count": 1200, "true": "fear", "rgb": "fear", "rgb_p": 0.9},
    {"case": "all wrong", "case_count": 3, "true": "fear", "rgb": "no prediction", "rgb_p": np.nan},
    {"case": "a, b", "case_count": 3, "true": "anger", "rgb": "disgust", "rgb_p": 0.456},
])  # fmt: skip
FACES = [np.full((16, 16, 3), shade, np.uint8) for shade in (0, 100, 200)]


def leak_table():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 300)
    own = generator.normal(size=(300, 4)) + 2 * np.eye(4)[labels]
    return leak_curve(own, np.zeros(4), 1.0, labels, batch_sizes=(1, 64), seeds=range(3))


def table_2():
    labels = np.arange(40) % 4
    first, second = (np.where(np.arange(40) % k == 0, 3 - labels, labels) for k in (4, 5))
    ids = labels.astype(str)
    said = (Answers(ids, labels, np.eye(4)[p], tuple("abcd")) for p in (first, second))
    return right_wrong_table(*said)


def texts(figure):
    parts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return [part.get_text() for part in parts]


@pytest.mark.parametrize("draw", [
    lambda: plots.weight_sweep(SWEEP, fusion_weight_gain(), 0.6, RGB),
    lambda: plots.weight_sweep(SWEEP[["w", "split", "accuracy"]].head(1)),
    lambda: plots.leak_figure(leak_table(), "title"),
    lambda: plots.right_wrong(table_2()),
    lambda: plots.label_strip(FACES, LABELS),
])  # fmt: skip
def test_a_figure_can_be_written_and_leaves_no_global_state(draw, tmp_path):
    draw().savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert not pyplot.get_fignums()


def test_the_sweep_shows_gains_of_every_split_the_published_points_and_the_choice():
    axes = plots.weight_sweep(SWEEP, fusion_weight_gain(), 0.5, RGB).axes[0]
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {"validation", "test", "published, RAF-DB"}
    validation, test = (bars.lines[0] for bars in axes.containers)
    assert validation.get_ydata() == pytest.approx([1, 4, 2])
    assert test.get_ydata() == pytest.approx([0, 3, -1])
    assert np.abs(test.get_xdata() - [0, 0.5, 1]).max() < 0.1
    (segment, *_) = axes.containers[0].lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([-1, 4])
    diamonds = next(line for line in axes.lines if line.get_label().startswith("published"))
    assert diamonds.get_xydata().tolist() == [[0.6, 0.26], [1.0, -0.07]]
    assert "chosen: 0.5" in texts(axes.figure)


def test_without_a_baseline_the_sweep_shows_accuracies_and_no_published_gains():
    axes = plots.weight_sweep(SWEEP).axes[0]
    assert axes.containers[0].lines[0].get_ydata() == pytest.approx([0.81, 0.84, 0.82])
    assert axes.get_ylabel() == "overall accuracy"
    with pytest.raises(ValueError, match="beside published gains"):
        plots.weight_sweep(SWEEP, fusion_weight_gain())


def test_the_leak_has_a_line_per_order_and_the_honest_level():
    table = leak_table()
    axes = plots.leak_figure(table).axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    honest = table.loc[0, "accuracy"]
    assert names == [
        f"per sample, any order: {honest:.1%}", "file order", "shuffled, mean of 3",
        "sorted by class",
    ]  # fmt: skip
    drawn = {bars.get_label(): bars.lines[0].get_ydata().tolist() for bars in axes.containers}
    for order, name in zip(("file", "shuffled", "sorted"), names[1:], strict=True):
        assert drawn[name] == table[table["order"] == order]["accuracy"].tolist()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "64\n(published)"]


def test_the_squares_show_measured_and_published_counts_where_the_paper_has_them():
    figure = plots.right_wrong(table_2())
    left, right = figure.axes
    assert "n = 40" in left.get_title()
    assert "n = 3,068" in right.get_title()
    assert "94.1%" in right.get_title()
    placed = {text.get_position(): text.get_text().split("\n")[0] for text in right.texts}
    assert placed == {(0, 0): "2,018", (1, 0): "806", (0, 1): "62", (1, 1): "182"}
    measured = {text.get_position(): text.get_text().split("\n") for text in left.texts}
    assert [measured[p][0] for p in ((0, 0), (1, 0), (0, 1), (1, 1))] == ["24", "6", "8", "2"]
    assert measured[0, 0][1] == "60.0%"


def test_labels_say_and_show_who_is_right():
    figure = plots.label_strip(FACES, LABELS, {"rgb": "RGB only"})
    colours = {text.get_text(): to_hex(text.get_color()) for text in figure.texts}
    assert {"true", "RGB only", "✓ fear\n90%", "✗ no prediction", "✗ disgust\n46%"} <= set(colours)
    assert colours["✗ no prediction"] == colours["✗ disgust\n46%"] != colours["✓ fear\n90%"]
    assert "all right\n(1,200 samples)" in colours
    assert "a,\nb\n(3 samples)" in colours
    shades = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes]
    assert shades == [0, 100, 200]
    tops = [axes.get_position().y0 for axes in figure.axes]
    assert tops == sorted(tops, reverse=True)


def test_faces_without_a_row_are_refused():
    with pytest.raises(ValueError, match="one image per row, got 2 for 3"):
        plots.label_strip(FACES[:2], LABELS)
    with pytest.raises(ValueError, match="got 0 for 0"):
        plots.label_strip([], LABELS.head(0))
