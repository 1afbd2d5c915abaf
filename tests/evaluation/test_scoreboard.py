import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.comparison import comparison_table
from fer_lib.evaluation.scoreboard import (
    answers_by_recogniser,
    headline_metrics,
    interval_rows,
    metric_name,
)
from fer_lib.tables import sample_table

SAMPLES = sample_table([
    {"sample_id": name, "emotion": emotion, "subject": name, "split": "test"}
    for name, emotion in zip("abcd", ("fear", "anger", "fear", "anger"), strict=True)
])


def predictions(run, fear, protocol="per-sample", ids="abcd"):
    fear = np.asarray(fear, float)
    return pd.DataFrame({
        "run": run, "sample_id": list(ids), "split": "test", "protocol": protocol,
        "emotion": "fear", "p_anger": 1 - fear, "p_fear": fear,
    })


def test_recognisers_and_protocols_are_told_apart():
    table = pd.concat([
        predictions("r1:rgb", [0.9, 0.1, 0.9, 0.1]),
        predictions("r1:rgb", [0.1, 0.9, 0.1, 0.9], protocol="paper"),
        predictions("r1:fusion", [0.9, 0.9, 0.9, 0.9]),
    ])
    answers = answers_by_recogniser(table, SAMPLES, "per-sample")
    assert list(answers) == ["rgb", "fusion"]
    assert answers["rgb"].right.all()
    assert answers["fusion"].right.sum() == 2
    assert not answers_by_recogniser(table, SAMPLES, "paper")["rgb"].right.any()


def test_one_name_from_two_runs_keeps_both_apart():
    table = pd.concat([predictions("r1:rgb", [1, 1, 1, 1]), predictions("r2:rgb", [0, 0, 0, 0])])
    assert list(answers_by_recogniser(table, SAMPLES, "per-sample")) == ["rgb (r1)", "rgb (r2)"]


def test_a_sample_without_a_prediction_counts_as_wrong():
    table = predictions("r1:rgb", [0.9, 0.1, 0.9], ids="abc")
    metrics = headline_metrics(answers_by_recogniser(table, SAMPLES, "per-sample"), "store")
    accuracy = metrics["store_rgb_accuracy_frac"]
    assert (accuracy.value, accuracy.n) == (0.75, 4)
    assert accuracy.low < 0.75 < accuracy.high


def test_an_unknown_protocol_is_refused_with_those_that_are_there():
    with pytest.raises(ValueError, match="per-sample"):
        answers_by_recogniser(predictions("r:rgb", [1, 1, 1, 1]), SAMPLES, "transductive")


def test_a_recogniser_of_fewer_classes_is_not_given_the_others():
    few = predictions("r1:few", [0.9, 0.1, 0.9, 0.1]).assign(p_sadness=np.nan)
    more = predictions("r1:more", [0.5, 0.1, 0.5, 0.1]).assign(p_sadness=[0.0, 0.0, 0.0, 0.0])
    more["p_anger"] = 1 - more["p_fear"]
    answers = answers_by_recogniser(pd.concat([few, more]), SAMPLES, "per-sample")
    assert answers["few"].right.all()
    assert set(answers["more"].emotions) == {"fear", "anger", "sadness"}


def test_rows_for_the_figure_hold_value_and_interval():
    answers = answers_by_recogniser(predictions("r:rgb", [1, 0, 1, 0]), SAMPLES, "per-sample")
    rows = interval_rows(comparison_table(answers), "overall_accuracy")
    assert list(rows.columns) == ["value", "low", "high", "n"]
    assert rows.loc["rgb", "value"] == 1


@pytest.mark.parametrize(("words", "name"), [
    (("synthetic", "rgb", "accuracy"), "synthetic_rgb_accuracy"),
    (("RAF-DB 2", "true edit"), "raf_db_2_true_edit"), (("2nd",), "m_2nd"),
])
def test_metric_names_are_lower_case_words(words, name):
    assert metric_name(*words) == name
