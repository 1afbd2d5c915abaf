import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.kappa import kappa_between

EMOTIONS = ("neutral", "happiness", "anger")


def judged(labels, emotions=EMOTIONS):
    """What a judge says that names these emotions, None where it did not get the face."""
    cells = np.full((len(labels), len(emotions)), 0.1)
    for row, label in enumerate(labels):
        cells[row] = np.nan if label is None else cells[row]
        if label is not None:
            cells[row, emotions.index(label)] = 0.8
    table = pd.DataFrame(cells, columns=[f"p_{name}" for name in emotions])
    return table.assign(sample_id=[f"face {row}" for row in range(len(labels))])


def labels_of(table):
    return [name for name, count in table for _ in range(count)]


def test_judges_that_always_agree_have_kappa_one():
    table = judged(["neutral", "happiness", "anger", "anger"] * 10)
    assert kappa_between(table, table) == (1, 1, 1, 40)


def test_cohens_table_by_hand():
    # 20 both happy, 15 both neutral, 5 and 10 apart: p_o = 0.7, p_e = 0.5.
    first = labels_of([("happiness", 25), ("neutral", 25)])
    second = labels_of([("happiness", 20), ("neutral", 5), ("happiness", 10), ("neutral", 15)])
    found = kappa_between(judged(first), judged(second))
    assert found.value == pytest.approx(0.4)
    assert found.n == 50 and found.low < 0.4 < found.high
    assert kappa_between(judged(second), judged(first)).value == pytest.approx(0.4)


def test_judges_that_never_agree_are_below_chance():
    first = judged(["happiness", "neutral"] * 20)
    second = judged(["neutral", "happiness"] * 20)
    assert kappa_between(first, second).value == pytest.approx(-1)


def test_independent_judges_agree_as_chance_would():
    random = np.random.default_rng(0)
    first, second = (judged(random.choice(EMOTIONS, 3000, p=[0.6, 0.3, 0.1])) for _ in range(2))
    found = kappa_between(first, second)
    assert abs(found.value) < 0.05 and found.low < 0 < found.high


def test_only_emotions_that_both_know_are_compared():
    eight = judged(["contempt", "happiness", "neutral"] * 4, (*EMOTIONS, "contempt"))
    # Without contempt the first judge leans to neutral.
    eight.loc[eight["p_contempt"] > 0.5, "p_neutral"] = 0.2
    three = judged(["neutral", "happiness", "neutral"] * 4)
    assert kappa_between(eight, three).value == 1
    with pytest.raises(ValueError, match=r"both judges know, got \['neutral'\]"):
        kappa_between(judged(["neutral"], ("neutral", "fear")), judged(["neutral"]))


def test_a_face_without_an_answer_is_not_counted():
    first = judged(["neutral", None, "anger", "anger"])
    second = judged(["neutral", "anger", None, "anger"])
    assert kappa_between(first, second) == (1, 1, 1, 2)


def test_one_and_the_same_emotion_throughout_says_nothing():
    table = judged(["neutral"] * 9)
    found = kappa_between(table, table)
    assert np.isnan(found.value) and found.n == 9


def test_people_are_drawn_as_a_whole():
    # Each person's ten faces are alike: ten people, not a hundred samples.
    first = np.repeat(["neutral", "happiness"] * 5, 10)
    second = np.repeat(["neutral", "happiness"] * 4 + ["happiness", "neutral"], 10)
    one, other = judged(first), judged(second)
    by_sample = kappa_between(one, other)
    by_person = kappa_between(one, other, np.repeat(np.arange(10), 10))
    assert by_sample.value == by_person.value == pytest.approx(0.6)
    assert by_person.high - by_person.low > 2 * (by_sample.high - by_sample.low)


def test_other_samples_are_refused():
    with pytest.raises(ValueError, match="same samples in the same order"):
        kappa_between(judged(["neutral", "anger"]), judged(["neutral", "anger"]).iloc[::-1])
