from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from fer_lib.evaluation.agreement import (
    oracle_accuracy,
    paired_difference,
    pooled_difference,
    right_wrong_by_emotion,
    right_wrong_table,
    sample_labels,
)
from fer_lib.evaluation.intervals import wilson_interval
from fer_lib.evaluation.recognition import Answers, overall_accuracy
from fer_lib.published import FUSION_RIGHT_WRONG, fusion_samples

EMOTIONS = ("neutral", "happiness", "anger")


def answers_of(labels, predicted, subjects=None, emotions=EMOTIONS):
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    probabilities = np.full((len(labels), len(emotions)), 0.2 / (len(emotions) - 1))
    probabilities[np.arange(len(labels)), predicted] = 0.8
    probabilities[predicted < 0] = np.nan
    ids = np.array([f"s{i}" for i in range(len(labels))])
    return Answers(ids, labels, probabilities, emotions, subjects)


def pair_with(cells, subjects=None):
    """Two recognisers with given counts of both right, first only, second only, neither."""
    first = np.repeat([True, True, False, False], cells)
    second = np.repeat([True, False, True, False], cells)
    labels = np.arange(len(first)) % 3
    return tuple(
        answers_of(labels, np.where(right, labels, (labels + 1) % 3), subjects)
        for right in (first, second)
    )


def test_the_papers_table_2_comes_out_of_answers_like_the_papers():
    rgb, landmark = pair_with(list(FUSION_RIGHT_WRONG.values()))
    table = right_wrong_table(rgb, landmark)
    assert table.index.tolist() == [*FUSION_RIGHT_WRONG, "either right"]
    assert table["count"].tolist() == [2018, 806, 62, 182, 2886]
    assert (table["count"] == table["published_count"]).all()
    assert table["share"].to_numpy() == pytest.approx(table["published_share"].to_numpy())
    assert table["share"].iloc[:4].sum() == pytest.approx(1)
    assert round(table.loc["either right", "share"], 4) == 0.9407
    interval = wilson_interval(62, 3068)
    assert table.loc["landmarks only", ["low", "high"]].tolist() == list(interval[1:3])
    assert round(overall_accuracy(rgb).value, 4) == 0.9205
    assert oracle_accuracy(rgb, landmark) == wilson_interval(2886, 3068)


def test_every_emotion_has_its_own_cells_and_they_add_up():
    rgb = answers_of([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, -1])
    landmark = answers_of([0, 0, 0, 1, 1, 1], [0, 1, 0, 0, 0, 1])
    table = right_wrong_by_emotion(rgb, landmark)
    cells = list(FUSION_RIGHT_WRONG)
    assert table.loc["neutral", cells].tolist() == [1, 1, 1, 0]
    assert table.loc["happiness", cells].tolist() == [0, 1, 1, 1]
    assert table["n"].tolist() == [3, 3, 0]
    assert table.loc["happiness", "either right"] == pytest.approx(2 / 3)
    assert np.isnan(table.loc["anger", "either right"])
    assert table[cells].sum().tolist() == right_wrong_table(rgb, landmark)["count"].tolist()[:4]


def test_a_fusion_of_two_labels_never_beats_the_oracle():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    rgb, landmark = (answers_of(labels, generator.integers(-1, 3, 200)) for _ in range(2))
    picked = np.where(generator.random(200) < 0.5, rgb.predicted, landmark.predicted)
    fused = answers_of(labels, picked)
    assert overall_accuracy(fused).value <= oracle_accuracy(rgb, landmark).value


def published_trio():
    table = fusion_samples()
    emotions = tuple(pd.unique(table.to_numpy().ravel()))
    columns = {name: table[name].map(emotions.index).to_numpy() for name in table}
    return {
        name: answers_of(columns["true"], columns[name], emotions=emotions)
        for name in ("rgb", "landmarks", "fusion")
    }


def test_the_papers_table_11_comes_out_of_its_own_labels():
    table = sample_labels(published_trio(), n=3).sort_values("position")
    columns = ["true", "landmarks", "rgb", "fusion"]
    pd.testing.assert_frame_equal(table[columns].reset_index(drop=True), fusion_samples())
    assert table["case"].tolist() == [
        "fusion corrects RGB, as landmarks say", "all right",
        "fusion corrects RGB, both wrong", "landmarks right, fusion wrong",
    ]
    assert (table["fusion_p"] == 0.8).all()


def test_samples_are_drawn_by_case_and_every_case_is_counted():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    trio = {n: answers_of(labels, generator.integers(-1, 3, 300)) for n in published_trio()}
    table = sample_labels(trio, n=2, seed=1)
    assert len(table) == 16
    assert table.groupby("case")["case_count"].first().sum() == 300
    for row in table.itertuples():
        named = [getattr(row, name) == row.true for name in ("rgb", "landmarks", "fusion")]
        assert named == [trio[n].right[row.position] for n in ("rgb", "landmarks", "fusion")]
        assert row.sample_id == f"s{row.position}"
    pd.testing.assert_frame_equal(table, sample_labels(trio, n=2, seed=1))
    assert not table.equals(sample_labels(trio, n=2, seed=2))
    silent = table[table["rgb"] == "no prediction"]
    assert len(silent)
    assert silent["rgb_p"].isna().all()


def test_the_difference_is_in_points_and_changes_sign_with_the_order():
    first, second = pair_with([50, 10, 30, 10])
    gain = paired_difference(first, second)
    assert gain.value == pytest.approx(20)
    assert gain.n == 100
    assert 0 < gain.low < 20 < gain.high
    assert paired_difference(second, first).value == pytest.approx(-20)
    # The paired standard error of a difference of shares: √((b + c)/n − d²)/√n.
    width = 2 * 1.96 * 100 * np.sqrt(0.4 - 0.04) / 10
    assert gain.high - gain.low == pytest.approx(width, rel=0.1)


def test_the_same_recogniser_differs_by_exactly_nothing():
    first, _ = pair_with([5, 3, 2, 1])
    assert tuple(paired_difference(first, first)) == (0, 0, 0, 11)
    pooled = pooled_difference([(first, first)] * 3)
    assert tuple(pooled.mean) == (0, 0, 0, 11)
    assert tuple(pooled.over_seeds) == (0, 0, 0, 3)


def test_people_who_go_wrong_together_widen_the_interval():
    cells, people = [160, 40, 80, 120], np.repeat(np.arange(25), 16).astype(str)
    by_face = paired_difference(*pair_with(cells))
    by_person = paired_difference(*pair_with(cells, people))
    given = paired_difference(*pair_with(cells), people)
    assert by_person == given
    assert by_person.high - by_person.low > 3 * (by_face.high - by_face.low)


def seeds_of(gains, people=40, faces=10, seed=0):
    """Pairs that share people: who gains is drawn once per person, the rate per seed differs."""
    generator = np.random.default_rng(seed)
    subjects = np.repeat([f"p{i}" for i in range(people)], faces)
    ease = np.repeat(generator.random(people), faces)
    labels = np.zeros(people * faces, int)
    base = answers_of(labels, np.ones_like(labels), subjects)
    return [(base, answers_of(labels, np.where(ease < gain, 0, 1), subjects)) for gain in gains]


def test_pooling_equal_seeds_gives_the_interval_of_one():
    (pair,) = seeds_of([0.5])
    one, pooled = paired_difference(*pair), pooled_difference([pair] * 5)
    assert tuple(pooled.mean) == pytest.approx(tuple(one))
    assert pooled.mean.n == 400
    assert pooled.over_seeds.low == pooled.over_seeds.high == one.value


def test_pooled_seeds_average_and_their_spread_is_students():
    pairs = seeds_of([0.3, 0.5, 0.7])
    pooled = pooled_difference(pairs)
    each = [paired_difference(*pair).value for pair in pairs]
    assert pooled.by_seed == pytest.approx(each)
    assert pooled.mean.value == pytest.approx(np.mean(each))
    assert pooled.mean.low < pooled.mean.value < pooled.mean.high
    expected = student.interval(0.95, 2, np.mean(each), np.std(each, ddof=1) / 3**0.5)
    assert tuple(pooled.over_seeds)[1:3] == pytest.approx(expected)


def test_a_seed_with_more_faces_does_not_count_more():
    small, large = seeds_of([1.0], people=4)[0], seeds_of([0.0], people=40)[0]
    assert pooled_difference([small, large]).mean.value == pytest.approx(50)
    assert pooled_difference([small]).over_seeds.n == 1
    assert np.isnan(pooled_difference([small]).over_seeds.low)


def test_the_interval_over_people_covers_as_often_as_it_says():
    generator, hits = np.random.default_rng(0), 0
    for trial in range(150):
        pairs = []
        subjects = np.repeat(np.arange(40), 5).astype(str)
        ease = np.repeat(generator.normal(size=40), 5)
        for _ in range(3):
            score = ease + generator.normal(size=200)
            labels = np.zeros(200, int)
            base = answers_of(labels, np.ones_like(labels), subjects)
            pairs.append((base, replace(base, probabilities=np.eye(3)[(score < 0).astype(int)])))
        interval = pooled_difference(pairs, draws=200, seed=trial).mean
        hits += interval.low <= 50 <= interval.high
    assert 0.88 < hits / 150 < 0.99


def test_what_cannot_be_compared_is_refused():
    first, second = pair_with([2, 2, 2, 2])
    shorter, _ = pair_with([2, 2, 2, 1])
    renamed = replace(second, emotions=("neutral", "anger", "happiness"))
    for call in (paired_difference, right_wrong_table, oracle_accuracy, right_wrong_by_emotion):
        with pytest.raises(ValueError, match="same samples"):
            call(first, shorter)
        with pytest.raises(ValueError, match="same emotions"):
            call(first, renamed)
    with pytest.raises(ValueError, match="at least one pair"):
        pooled_difference([])
    with pytest.raises(ValueError, match="in every seed's answers or in none"):
        pooled_difference([(first, second), *seeds_of([0.5])])
    with pytest.raises(ValueError, match="expected answers of"):
        sample_labels({"rgb": first, "fusion": second})
