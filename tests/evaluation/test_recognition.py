import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.evaluation.comparison import (
    comparison_table,
    majority_answers,
    mcnemar_exact,
    paired_tests,
)
from fer_lib.evaluation.recognition import (
    NO_PREDICTION,
    Answers,
    average_accuracy,
    class_recall,
    confusion_counts,
    macro_f1,
    macro_f1_gain,
    overall_accuracy,
    top_k_accuracy,
)
from fer_lib.published import RAFDB_COUNTS, fusion_overall, fusion_recall
from fer_lib.tables import sample_table

EMOTIONS = ("neutral", "happiness", "anger")


def answers_of(labels, predicted, emotions=EMOTIONS, subjects=None):
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    probabilities = np.full((len(labels), len(emotions)), 0.1 / (len(emotions) - 1))
    probabilities[np.arange(len(labels)), predicted] = 0.9
    probabilities[predicted < 0] = np.nan
    ids = np.array([f"s{i}" for i in range(len(labels))])
    return Answers(ids, labels, probabilities, emotions, subjects)


def published_answers(system):
    """Answers with the counts behind a row of seed 001's Table 5: recall x Table 3's test row."""
    counts = RAFDB_COUNTS["test"]
    hits = {e: round(fusion_recall().loc[system, e] * n) for e, n in counts.items()}
    emotions = tuple(counts)
    labels = np.repeat(np.arange(7), list(counts.values()))
    predicted = np.concatenate(
        [np.r_[np.full(hits[e], i), np.full(n - hits[e], (i + 1) % 7)]
         for i, (e, n) in enumerate(counts.items())]
    )
    return answers_of(labels, predicted, emotions)


@pytest.mark.parametrize(("system", "right"), [("RGB baseline", 2824), ("fusion", 2832)])
def test_the_papers_arithmetic_comes_out(system, right):
    answers = published_answers(system)
    assert len(answers.labels) == 3068
    assert answers.right.sum() == right
    published = fusion_overall().loc[system]
    assert round(overall_accuracy(answers).value, 4) == published["top-1"]
    assert average_accuracy(answers, draws=50).value == pytest.approx(
        published["average accuracy"], abs=6e-5
    )
    recall = class_recall(answers)["recall"]
    pd.testing.assert_series_equal(
        recall, fusion_recall().loc[system], check_names=False, atol=6e-5
    )


def test_perfect_and_hopeless_answers_reach_the_limits():
    labels = [0, 0, 1, 2, 2, 2]
    perfect, hopeless = answers_of(labels, labels), answers_of(labels, [1, 1, 2, 0, 0, 0])
    for score in (overall_accuracy, average_accuracy, macro_f1):
        assert score(perfect).value == 1
        assert score(hopeless).value == 0


def test_metrics_agree_with_hand_numbers():
    answers = answers_of([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 1, 1, 2, 0])
    assert overall_accuracy(answers).value == pytest.approx(4 / 7)
    assert average_accuracy(answers).value == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert macro_f1(answers).value == pytest.approx((6 / 8 + 2 / 4 + 0) / 3)
    expected = pd.DataFrame(
        [[3, 1, 0], [0, 1, 1], [1, 0, 0]], index=list(EMOTIONS), columns=list(EMOTIONS)
    )
    pd.testing.assert_frame_equal(confusion_counts(answers), expected)
    table = class_recall(answers)
    assert table["precision"].tolist() == pytest.approx([3 / 4, 1 / 2, 0])
    assert table["n"].tolist() == [4, 2, 1]


def test_classes_without_samples_take_no_part_in_means():
    answers = answers_of([0, 0, 1], [0, 0, 2])
    assert average_accuracy(answers).value == pytest.approx(0.5)
    assert macro_f1(answers).value == pytest.approx(0.5)
    assert class_recall(answers).loc["anger", "n"] == 0
    assert np.isnan(class_recall(answers).loc["anger", "recall"])


def test_failed_samples_are_wrong_and_stay_in_every_denominator():
    answers = answers_of([0, 0, 1, 1], [0, -1, 1, -1])
    assert overall_accuracy(answers).value == 0.5
    assert average_accuracy(answers).value == 0.5
    assert top_k_accuracy(answers, 3).value == 0.5
    counts = confusion_counts(answers)
    assert counts[NO_PREDICTION].tolist() == [1, 1, 0]
    assert counts.to_numpy().sum() == 4
    assert NO_PREDICTION not in confusion_counts(answers_of([0], [0]))


def test_top_k_grows_with_k_and_ties_do_not_help():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [1 / 3] * 3])
    answers = Answers(np.array(list("abcd")), np.array([0, 1, 2, 0]), probabilities, EMOTIONS)
    assert [top_k_accuracy(answers, k).value for k in (1, 2, 3)] == [0.25, 0.5, 1.0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=40))
def test_scores_stay_inside_their_intervals_and_counts_add_up(pairs):
    answers = answers_of(*np.array(pairs).T)
    for interval in (overall_accuracy(answers), average_accuracy(answers, draws=50)):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    counts = confusion_counts(answers)
    assert counts.to_numpy().sum() == len(pairs)
    right = sum(counts.loc[e, e] for e in EMOTIONS)
    assert overall_accuracy(answers).value == pytest.approx(right / len(pairs))


def prediction_rows(ids, emotions, probabilities, names):
    rows = pd.DataFrame(np.asarray(probabilities, float), columns=[f"p_{n}" for n in names])
    return rows.assign(sample_id=ids, emotion=emotions)


def test_tables_give_answers_by_name_and_count_who_is_absent():
    samples = sample_table(
        [
            {"sample_id": "a", "emotion": "anger", "subject": "x"},
            {"sample_id": "b", "emotion": "neutral", "subject": "x"},
            {"sample_id": "c", "emotion": "contempt", "subject": "y"},
            {"sample_id": "d", "emotion": "anger", "subject": "y", "status": "no_face"},
            {"sample_id": "e", "subject": "y", "status": "ambiguous_label"},
        ]
    )
    predictions = prediction_rows(
        ["c", "b", "a"], ["contempt", "neutral", "anger"],
        [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], ["anger", "neutral"],
    )
    answers = Answers.from_tables(predictions, samples)
    assert answers.sample_ids.tolist() == ["a", "b", "c", "d"]
    assert answers.emotions == ("neutral", "anger", "contempt")
    assert answers.right.tolist() == [True, True, False, False]
    assert answers.predicted.tolist() == [1, 0, 1, -1]
    assert answers.subjects.tolist() == ["x", "x", "y", "y"]
    assert Answers.from_tables(predictions).subjects is None


def test_tables_that_do_not_fit_are_refused():
    predictions = prediction_rows(["a", "b"], ["anger"] * 2, [[1, 0]] * 2, ["anger", "neutral"])
    samples = sample_table([{"sample_id": "a", "emotion": "anger"}])
    with pytest.raises(ValueError, match="given samples only"):
        Answers.from_tables(predictions, samples)
    with pytest.raises(ValueError, match="twice"):
        Answers.from_tables(pd.concat([predictions, predictions]))


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [(0, 0, 1), (0, 1, 1), (0, 5, 0.0625), (3, 11, 0.057373), (10, 10, 1)],
)
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_pairs(first, second, p_value):
    right_a = np.r_[np.ones(first, bool), np.zeros(second, bool), np.ones(7, bool)]
    right_b = np.r_[np.zeros(first, bool), np.ones(second, bool), np.ones(7, bool)]
    test = mcnemar_exact(right_a, right_b)
    assert (test.only_first, test.only_second, test.n) == (first, second, first + second + 7)
    assert test.p_value == pytest.approx(p_value, abs=1e-6)
    assert mcnemar_exact(right_b, right_a).p_value == test.p_value


def test_comparison_has_the_majority_class_as_a_row_of_its_own():
    labels = [0, 0, 0, 1, 2]
    recognisers = {"good": answers_of(labels, labels), "half": answers_of(labels, [0, 1, 1, 1, -1])}
    table = comparison_table(recognisers)
    assert table.index.tolist() == ["majority class", "good", "half"]
    assert table["overall_accuracy"].tolist() == [0.6, 1.0, 0.4]
    assert table.loc["majority class", "average_accuracy"] == pytest.approx(1 / 3)
    assert table["failed"].tolist() == [0, 0, 1]
    assert np.isnan(table.loc["majority class", "top_2"])
    assert (table["average_accuracy_low"] <= table["average_accuracy"]).all()
    said = majority_answers(recognisers["good"], "anger")
    assert overall_accuracy(said).value == 0.2
    tests = paired_tests(recognisers)
    columns = ["only_first", "only_second", "second_minus_first_pt"]
    assert tests.loc[0, columns].tolist() == [3, 0, -60]
    # F1 of "half": 2/4 neutral, 2/4 happiness, 0 anger; that of "good" is 1.
    assert tests.loc[0, "macro_f1_gain_pt"] == pytest.approx(100 * (1 / 3 - 1))
    assert tests["p_holm"].tolist() == tests["p_value"].tolist()


def test_macro_f1_is_compared_on_the_same_resamples():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    first = np.where(generator.random(300) < 0.6, labels, (labels + 1) % 3)
    # The second repairs 30 of the first's errors and makes none of its own.
    second = np.where(np.cumsum(first != labels) <= 30, labels, first)
    one, other = answers_of(labels, first), answers_of(labels, second)
    gain = macro_f1_gain(one, other)
    apart = [macro_f1(answers) for answers in (one, other)]
    assert gain.value == pytest.approx(apart[1].value - apart[0].value)
    assert 0 < gain.low and apart[1].low < apart[0].high
    assert macro_f1_gain(one, one) == (0, 0, 0, 300)
    assert macro_f1_gain(other, one).value == -gain.value
    # A recogniser that knows more emotions is compared by names.
    wider = answers_of(labels, second, (*EMOTIONS, "fear"))
    assert macro_f1_gain(one, wider).value == pytest.approx(gain.value)
    with pytest.raises(ValueError, match="same samples"):
        macro_f1_gain(one, answers_of((labels + 1) % 3, second))


def test_different_samples_are_not_compared():
    first, second = answers_of([0, 1], [0, 1]), answers_of([0, 1, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="same samples"):
        comparison_table({"a": first, "b": second})
    with pytest.raises(ValueError, match="at least one"):
        comparison_table({})
    with pytest.raises(ValueError, match="same samples"):
        mcnemar_exact([True], [True, False])


def test_intervals_over_people_are_wider_than_over_faces():
    generator = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 80)
    easy = np.repeat(generator.random(20) < 0.6, 12)
    predicted = np.where(easy, labels, (labels + 1) % 3)
    people = np.repeat(np.arange(20), 12).astype(str)
    by_face = average_accuracy(answers_of(labels, predicted))
    by_person = average_accuracy(answers_of(labels, predicted, subjects=people))
    assert by_person.high - by_person.low > 2 * (by_face.high - by_face.low)
