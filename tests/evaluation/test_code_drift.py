"""Drift of codes: 0 for the same code, √2 between strangers, and named by who reads it."""

import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation import code_drift


def test_strangers_are_root_two_apart_and_nobody_from_himself():
    codes = np.random.default_rng(0).normal(0, [1.0, 5.0, 0.1], (4000, 3))
    spread = code_drift.between_person_sd(codes, np.arange(4000))
    assert spread == pytest.approx([1, 5, 0.1], rel=0.05)
    far = code_drift.drift_sd(codes[:2000], codes[2000:], spread)
    assert (far**2).mean() == pytest.approx(2, rel=0.05)
    assert (code_drift.drift_sd(codes, codes, spread) == 0).all()


def test_a_person_counts_once_and_still_codes_not_at_all():
    spread = code_drift.between_person_sd([[0, 1], [2, 1], [5, 1], [5, 1]], ["a", "a", "b", "b"])
    assert spread == pytest.approx([np.std([1, 5], ddof=1), 0])
    assert code_drift.drift_sd([[1.0, 9]], [[1.0, 2]], spread) == pytest.approx([0])
    with pytest.raises(ValueError, match="two persons"):
        code_drift.between_person_sd([[1.0], [2.0]], ["a", "a"])


EDITS = pd.DataFrame({
    "editor": "e", "source_id": ["a0", "b0"], "target_emotion": "fear", "subject": ["a", "b"],
    "image": ["a-edit", "b-edit"], "true_edit": ["a1", "b1"],
})


def test_drift_is_against_the_source_and_error_against_the_true_edit():
    beta = {"a0": 0.0, "a1": 0.5, "a-edit": 1.0, "b0": 3.0, "b1": 3.0, "b-edit": 3.0}
    codes = pd.DataFrame(list(beta.values()), index=list(beta))
    table = code_drift.drift_scores(EDITS, codes, [2.0], "second encoder")
    values = table.set_index(["metric", "image"])["value"]
    assert values["beta_drift_sd"].tolist() == pytest.approx([0.5, 0])
    assert values["beta_error_sd"].tolist() == pytest.approx([0.25, 0])
    assert set(table["by"]) == {"second encoder"}


def test_action_units_are_compared_with_the_wanted_and_with_the_readers_own():
    names = ["a0", "b0", "a1", "b1", "a-edit", "b-edit"]
    read = pd.DataFrame([[0, 0], [0, 0], [1, 0.2], [0.5, 0], [1, 0], [0, 1]], index=names)
    wanted = pd.DataFrame([[1.0, 0], [1.0, 0]], index=["a1", "b1"])
    values = code_drift.au_scores(EDITS, read, wanted, "x").set_index(["metric", "image"])["value"]
    assert values["au_error"].tolist() == pytest.approx([0, 1])
    assert values["au_gap"].tolist() == pytest.approx([0.1, 0.75])
