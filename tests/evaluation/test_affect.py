import numpy as np
import pytest

from fer_lib.evaluation.affect import affect_gain, affect_scores, affect_table
from fer_lib.evaluation.recognition import Answers, macro_f1, overall_accuracy

METRICS = ["ccc", "pcc", "rmse", "mae", "sagr"]


def pairs(n=200, noise=0.2, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.uniform(-0.7, 0.7, n)
    return truth, np.clip(truth + noise * draw.standard_normal(n), -1, 1)


def values(truth, answers):
    return {name: score.value for name, score in affect_scores(truth, answers, draws=5).items()}


def test_perfect_answers():
    truth, _ = pairs()
    scores = affect_scores(truth, truth)
    assert list(scores) == METRICS
    for name, wanted in zip(METRICS, (1, 1, 0, 0, 1), strict=True):
        np.testing.assert_allclose(scores[name][:3], wanted, atol=1e-9)
        assert scores[name].n == 200
    # Their sign turned round, about a mean of 0: rho is -1, and so is concordance.
    balanced = np.concatenate([truth, -truth])
    turned = values(balanced, -balanced)
    assert turned["ccc"] == pytest.approx(-1) and turned["sagr"] == 0


def test_a_constant_shift_and_a_scale_give_their_closed_forms():
    truth, _ = pairs()
    shift, variance = 0.2, truth.var()
    shifted = values(truth, truth + shift)
    assert shifted["ccc"] == pytest.approx(2 * variance / (2 * variance + shift**2))
    assert shifted["pcc"] == pytest.approx(1)
    assert shifted["rmse"] == pytest.approx(shift) and shifted["mae"] == pytest.approx(shift)
    centred = truth - truth.mean()
    assert values(centred, centred / 2)["ccc"] == pytest.approx(2 * 0.5 / (1 + 0.25))


def test_two_points_by_hand():
    # rho 1; means 0.5 and 0.25, population deviations 0.5 and 0.25: 2 * 0.125 / (0.3125 + 0.0625).
    scores = values([0, 1], [0, 0.5])
    assert scores["ccc"] == pytest.approx(2 / 3)
    assert scores["rmse"] == pytest.approx(np.sqrt(0.125)) and scores["mae"] == 0.25
    assert values([0, 1, -1, 0.5], [0.1, 1, -0.2, 0])["sagr"] == 0.5


def test_torchmetrics_says_the_same_up_to_its_convention():
    # Its documented example, a tenth of it: CCC 0.9777 and Pearson 0.9849 do not mind the scale.
    truth, answers = np.array([3, -0.5, 2, 7]) / 10, np.array([2.5, 0.0, 2, 8]) / 10
    scores = values(truth, answers)
    assert scores["pcc"] == pytest.approx(0.9849, abs=5e-5)
    # It divides variances by n - 1; the gap of the means then weighs (n - 1) / n of ours.
    spread, gap = truth.var() + answers.var(), (truth.mean() - answers.mean()) ** 2
    assert scores["ccc"] * (spread + gap) / (spread + gap * 3 / 4) == pytest.approx(
        0.9777, abs=5e-5
    )
    assert scores["ccc"] == pytest.approx(0.97679, abs=5e-6)


def test_a_constant_answer_correlates_with_nothing():
    truth, _ = pairs()
    scores = affect_scores(truth, np.full(200, 0.3))
    assert np.isnan(scores["pcc"].value) and scores["pcc"].n == 200
    assert scores["ccc"].value == pytest.approx(0, abs=1e-12)
    assert np.isnan(affect_scores(np.full(9, 0.1), np.full(9, 0.1))["ccc"].value)


def test_samples_without_answer_fail_and_those_without_label_are_not_asked():
    truth, answers = pairs(n=40)
    answers[:10], truth[30:] = np.nan, np.nan
    scores = affect_scores(truth, answers)
    assert scores["ccc"].n == 20 and scores["sagr"].n == 30
    known = values(truth[10:30], answers[10:30])
    assert scores["rmse"].value == pytest.approx(known["rmse"])
    assert scores["sagr"].value == pytest.approx(known["sagr"] * 20 / 30)
    nobody = affect_scores(truth, np.full(40, np.nan))
    assert nobody["ccc"].n == 0 and np.isnan(nobody["ccc"].value) and nobody["sagr"].value == 0


def test_intervals_hold_the_value_and_are_wider_where_people_repeat():
    truth, answers = pairs(n=300, noise=0.3)
    offset = np.repeat(np.random.default_rng(3).normal(0, 0.3, 15), 20)
    answers = np.clip(answers + offset, -1, 1)
    people = np.repeat(np.arange(15), 20)
    by_sample, by_person = (affect_scores(truth, answers, groups) for groups in (None, people))
    for name in METRICS:
        value, low, high, _ = by_person[name]
        assert low <= value <= high and value == by_sample[name].value
    width = {"person": np.ptp(by_person["ccc"][1:3]), "sample": np.ptp(by_sample["ccc"][1:3])}
    assert width["person"] > 1.2 * width["sample"]
    assert affect_scores(truth, answers, people) == by_person


def test_a_paired_gain_is_sharper_than_two_intervals():
    truth, first = pairs(noise=0.3)
    second = 0.7 * first + 0.3 * truth
    gain = affect_gain(truth, first, second)
    alone = affect_scores(truth, first)["ccc"]
    assert gain.value == pytest.approx(values(truth, second)["ccc"] - alone.value)
    assert 0 < gain.low < gain.high and gain.high - gain.low < alone.high - alone.low
    assert affect_gain(truth, first, first, "rmse")[:3] == (0, 0, 0)
    first[:50] = np.nan
    assert affect_gain(truth, first, second).n == 150
    with pytest.raises(ValueError, match="metric"):
        affect_gain(truth, first, second, "icc")


@pytest.mark.parametrize(
    ("truth", "answers", "message"),
    [
        ([0.1, -2], [0, 0], "unknown labels"),
        ([0.1, 0], [0, np.inf], "clip"),
        ([0.1, 0], [0], "same samples"),
        ([[0.1], [0]], [[0.1], [0]], "same samples"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth, answers, message):
    with pytest.raises(ValueError, match=message):
        affect_scores(truth, answers)


def test_the_table_has_every_metric_with_n_interval_and_failures():
    truth = np.array([[0.5, 0.5], [-0.5, 0.5], [0.1, 0.0], [np.nan, 0.3]])
    answers = np.array([[0.5, 0.5], [0.5, 0.5], [np.nan, np.nan], [0.2, 0.3]])
    table = affect_table(truth, answers, ["a", "b", "c", "d"])
    assert table.columns.tolist() == ["value", "low", "high", "n", "failed"]
    assert table.loc["valence"].index.tolist() == METRICS
    assert table.loc[("valence", "ccc"), ["n", "failed"]].tolist() == [2, 1]
    assert table.loc[("arousal", "ccc"), ["n", "failed"]].tolist() == [3, 1]
    assert table.loc[("circumplex", "angle_error_deg"), "value"] == pytest.approx(45)
    assert table.loc[("circumplex", "intensity_error"), ["value", "failed"]].tolist() == [0, 1]
    with pytest.raises(ValueError, match="N, 2"):
        affect_table(truth, answers[:, :1])


def test_recognition_agrees_with_scikit_learn():
    # The documented example of its f1_score: macro 0.267, micro (which is accuracy) 0.333.
    said = np.eye(3)[[0, 2, 1, 0, 0, 1]]
    labels, ids = np.array([0, 1, 2, 0, 1, 2]), np.arange(6).astype(str)
    answers = Answers(ids, labels, said, ("neutral", "happiness", "anger"))
    assert macro_f1(answers).value == pytest.approx(4 / 15)
    assert overall_accuracy(answers).value == pytest.approx(1 / 3)
