"""Tables in the seeds' layout; the means of probabilities are tested in test_judges."""

import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.judgements import affect_positions, judged_edits

EDITS = pd.DataFrame({
    "source_id": ["a", "a", "b", "c"], "image": ["x", "x", "y", "lost"],
    "true_edit": ["t", "t", "t", None],
    "target_emotion": ["fear", "fear", "anger", "fear"], "editor": "e",
})
ANSWERS = pd.DataFrame({
    "sample_id": ["a", "b", "t", "x", "y"],
    "valence": [0.0, 0.2, -0.5, -0.4, 0.1], "arousal": [0.1, 0.0, 0.5, 0.3, 0.2],
})


def test_a_picture_stands_once_per_target_and_lost_ones_stay():
    table = judged_edits(EDITS, ANSWERS)
    assert list(table["image"]) == ["x", "y", "lost"]
    assert list(table["emotion"]) == ["fear", "anger", "fear"]
    assert np.isnan(table["valence"].iloc[2])


def test_affect_of_source_true_edit_and_output():
    table = affect_positions(EDITS, ANSWERS)
    assert list(table.index) == ["fear", "anger"]
    assert table.loc["fear", ("edits", "n")] == 2
    assert table.loc["fear", ("output", "valence")] == pytest.approx(-0.4)
    assert table.loc["anger", ("source", "valence")] == pytest.approx(0.2)
    assert table.loc["anger", ("true edit", "arousal")] == pytest.approx(0.5)
