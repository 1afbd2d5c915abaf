"""The identity histogram shows every pair and every edit where it lies."""

import numpy as np
import pytest

from fer_lib.evaluation.identity_calibration import calibrate
from fer_lib.plots.identity import identity_histogram


@pytest.fixture(scope="module")
def calibration():
    generator = np.random.default_rng(0)
    people = generator.normal(size=(12, 1, 32))
    pictures = (people + 0.4 * generator.normal(size=(12, 3, 32))).reshape(36, 32)
    return calibrate(pictures, np.repeat([f"p{k}" for k in range(12)], 3), draws=2)


def test_both_kinds_of_pairs_are_densities_beside_the_threshold(calibration):
    figure = identity_histogram(calibration, title="drawn people")
    (axes,) = figure.axes
    assert axes.get_title() == "drawn people"
    assert sum(bar.get_width() * bar.get_height() for bar in axes.patches) == pytest.approx(2)
    threshold = calibration.statistics["eer_threshold"].value
    assert axes.lines[-1].get_xdata()[0] == threshold
    said = " ".join(text.get_text() for text in axes.texts)
    assert "one person: 36 pairs" in said
    assert f"strangers: {36 * 33 // 2} pairs" in said


def test_every_edit_has_its_tick_and_what_was_not_aligned_is_counted(calibration):
    edits = {"editor": np.array([0.5, np.nan, 0.9]), "lost": np.array([np.nan])}
    figure = identity_histogram(calibration, edits)
    rows = figure.axes[1]
    assert len(rows.collections[0].get_segments()) == 2
    assert rows.lines[0].get_xdata()[0] == pytest.approx(0.7)
    assert [label.get_text() for label in rows.get_yticklabels()] == [
        "editor  (n = 3, 1 not aligned)", "lost  (n = 1, 1 not aligned)",
    ]  # fmt: skip
    assert figure.axes[0].get_xlim() == rows.get_xlim()
