import numpy as np
import pandas as pd
import pytest

from fer_lib.datasets.edits import COPY_SOURCE, STRANGER, TRUE_EDIT
from fer_lib.evaluation.edit_block import (
    OVERALL,
    Order,
    block_metrics,
    block_table,
    check_controls,
    difference,
    summarise_edits,
)


def scores(values, editor="editor", metric="csim", by="net", targets=None):
    """One person per value."""
    n = len(values)
    return pd.DataFrame({
        "editor": editor, "source_id": [f"s{k}" for k in range(n)],
        "target_emotion": targets or "fear", "subject": [f"p{k}" for k in range(n)],
        "image": [f"{editor}{k}" for k in range(n)], "metric": metric, "by": by, "value": values,
    })


def one(summary, **where):
    for name, value in where.items():
        summary = summary[summary[name] == value]
    assert len(summary) == 1
    return summary.iloc[0]


def test_means_are_over_what_was_measured_and_the_rest_is_counted():
    row = one(summarise_edits(scores([1.0, 3.0, np.nan])), emotion=OVERALL)
    assert (row["value"], row["n"], row["missing"]) == (2.0, 2, 1)
    assert row["low"] <= 2.0 <= row["high"]


def test_each_target_stands_beside_all_of_them():
    summary = summarise_edits(scores([0.0, 1.0, 1.0], targets=["fear", "anger", "anger"]))
    assert list(summary["emotion"]) == [OVERALL, "fear", "anger"]
    assert one(summary, emotion="anger")["value"] == 1.0
    assert one(summary, emotion="anger")["low"] == 1.0


def test_identical_pictures_are_not_averaged_with_decibels():
    some = one(summarise_edits(scores([np.inf, 20.0])), emotion=OVERALL)
    assert (some["value"], some["n"], some["infinite"]) == (20.0, 1, 1)
    every = one(summarise_edits(scores([np.inf, np.inf])), emotion=OVERALL)
    assert np.isinf(every["value"])
    assert "identical" in block_table(summarise_edits(scores([np.inf] * 2)), ["csim"]).iloc[0, 0]


def test_what_nobody_measured_has_no_interval():
    row = one(summarise_edits(scores([np.nan, np.nan])), emotion=OVERALL)
    assert np.isnan(row["value"])
    assert np.isnan(row["low"])
    assert (row["n"], row["missing"]) == (0, 2)


def test_intervals_resample_people():
    many = scores(np.tile([0.0, 1.0], 50))
    by_two = many.assign(subject=np.where(many["value"] > 0, "ann", "ben"))
    own, two = (one(summarise_edits(table), emotion=OVERALL) for table in (many, by_two))
    assert two["high"] - two["low"] > 3 * (own["high"] - own["low"])


def test_differences_are_paired():
    table = pd.concat([scores([1.0, 5.0, 9.0], "a"), scores([0.0, 4.0, 8.0], "b")])
    gap = difference(table, "csim", "net", "a", "b")
    assert gap[:3] == pytest.approx((1, 1, 1))
    assert gap.n == 3


def test_several_edits_of_one_source_count_as_their_mean():
    again = scores([3.0, 5.0], "a").assign(image=["x", "y"])
    table = pd.concat([scores([1.0, 5.0], "a"), again, scores([0.0, 0.0], "b")])
    gap = difference(table, "csim", "net", "a", "b")
    assert (gap.value, gap.n) == (3.5, 2)
    assert one(summarise_edits(table), editor="a", emotion=OVERALL)["n"] == 4


def test_an_edit_that_only_one_editor_made_is_in_no_difference():
    table = pd.concat([scores([1.0, 2.0, 3.0], "a"), scores([0.0, np.inf], "b")])
    assert difference(table, "csim", "net", "a", "b").n == 1


@pytest.mark.parametrize(("shift", "verdict"), [(1.0, "yes"), (-1.0, "no"), (0.0, "open")])
def test_controls_say_what_the_interval_says(shift, verdict):
    noise = np.random.default_rng(0).normal(size=40) * 0.1
    noise -= noise.mean()
    table = pd.concat([scores(noise + shift, TRUE_EDIT), scores(0 * noise, STRANGER)])
    order = Order("identity", "csim", TRUE_EDIT, STRANGER)
    (row,) = check_controls(table, [order]).to_dict("records")
    assert row["as_expected"] == verdict
    assert check_controls(table, [Order("x", "csim", TRUE_EDIT, COPY_SOURCE)]).empty


def test_metrics_are_named_by_judge_and_editor_and_are_finite():
    table = pd.concat([scores([0.5, 0.7], "true edit"), scores([np.nan], "lost"),
                       scores([np.inf], "same", metric="psnr_db", by="")])  # fmt: skip
    named = block_metrics(summarise_edits(table), ["csim", "psnr_db"], "london")
    assert list(named) == ["london_net_true_edit_csim"]
    assert named["london_net_true_edit_csim"].value == pytest.approx(0.6)


def test_pooled_decibels_are_those_of_the_mean_error_and_the_smaller():
    errors = np.array([0.01, 0.0001])
    table = pd.concat([scores(errors, metric="true_mse", by=""),
                       scores(-10 * np.log10(errors), metric="true_psnr_db", by="")])  # fmt: skip
    summary = summarise_edits(table)
    pooled = one(summary, metric="true_psnr_pooled_db", emotion=OVERALL)
    assert pooled["value"] == pytest.approx(-10 * np.log10(0.00505))
    assert pooled["low"] == pytest.approx(20)
    assert pooled["high"] == pytest.approx(40)
    assert one(summary, metric="true_psnr_db", emotion=OVERALL)["value"] == pytest.approx(30)
