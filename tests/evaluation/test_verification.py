"""ROC statistics: closed forms by hand, by counting all pairs, and against scipy."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from fer_lib.evaluation.verification import Verification, verification_intervals


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rates(genuine, impostor, threshold):
    return (np.asarray(impostor) >= threshold).mean(), (np.asarray(genuine) < threshold).mean()


def test_separable_scores_by_hand():
    statistics = Verification([0.9, 0.8, 0.7], [0.1, 0.3, 0.2]).statistics()
    assert statistics["auc"] == 1
    assert statistics["eer"] == 0
    assert statistics["eer_threshold"] == pytest.approx(0.5)
    assert statistics["mu_genuine"] == pytest.approx(0.8)
    assert statistics["sd_impostor"] == pytest.approx(np.sqrt(2 / 3) * 0.1)
    assert statistics["d_prime"] == pytest.approx(0.6 / (np.sqrt(2 / 3) * 0.1))


def test_overlapping_scores_by_hand():
    statistics = Verification([0.9, 0.6, 0.3], [0.1, 0.2, 0.5]).statistics()
    # Of nine pairs only 0.3 against 0.5 is wrong; at 0.3 < t ≤ 0.5 one of three errs on each side.
    assert statistics["auc"] == pytest.approx(8 / 9)
    assert statistics["eer"] == pytest.approx(1 / 3)
    assert statistics["eer_threshold"] == pytest.approx(0.4)


def test_the_same_scores_tell_nothing():
    statistics = Verification([0.5, 0.5], [0.5, 0.5]).statistics()
    assert statistics["auc"] == 0.5
    assert statistics["eer"] == 0.5


def test_random_scores_with_ties_agree_with_counting_and_with_scipy(rng):
    genuine, impostor = rng.integers(3, 12, 60) / 10, rng.integers(0, 9, 200) / 10
    statistics = Verification(genuine, impostor).statistics()
    wins = (genuine[:, None] > impostor).mean() + (genuine[:, None] == impostor).mean() / 2
    assert statistics["auc"] == pytest.approx(wins)
    ranks = mannwhitneyu(genuine, impostor).statistic / (60 * 200)
    assert statistics["auc"] == pytest.approx(ranks)
    both = [rates(genuine, impostor, t) for t in np.arange(-0.05, 1.3, 0.1)]
    best = min(abs(far - frr) for far, frr in both)
    closest = [(far + frr) / 2 for far, frr in both if abs(far - frr) <= best + 1e-12]
    assert statistics["eer"] == pytest.approx(np.mean(closest))


def test_true_acceptances_at_a_false_acceptance_rate(rng):
    genuine, impostor = rng.normal(1, 1, 300), rng.normal(0, 1, 1000)
    statistics = Verification(genuine, impostor).statistics()
    for name, allowed in (("tar_at_far_1e_2", 10), ("tar_at_far_1e_3", 1)):
        strictest = np.sort(impostor)[::-1][allowed]
        assert statistics[name] == pytest.approx((genuine > strictest).mean())


def test_too_few_strangers_cannot_tell_a_small_rate(rng):
    statistics = Verification(rng.normal(1, 1, 50), rng.normal(0, 1, 500)).statistics()
    assert np.isfinite(statistics["tar_at_far_1e_2"])
    assert np.isnan(statistics["tar_at_far_1e_3"])


def test_a_weight_of_two_is_a_pair_twice(rng):
    genuine, impostor = rng.normal(1, 1, 20), rng.normal(0, 1, 150)
    weights, others = rng.integers(0, 3, 20), rng.integers(0, 3, 150)
    weighted = Verification(genuine, impostor).statistics(weights, others)
    repeated = Verification(np.repeat(genuine, weights), np.repeat(impostor, others)).statistics()
    thresholds = [weighted.pop("eer_threshold"), repeated.pop("eer_threshold")]
    assert weighted == pytest.approx(repeated, nan_ok=True)
    assert thresholds[0] == pytest.approx(thresholds[1], abs=0.1)


def test_intervals_draw_people_and_not_pairs(rng):
    people, pictures = 30, 4
    # Strangers' scores hang on their persons: as independent pairs they would look too certain.
    owner = np.repeat(np.arange(people), pictures)
    own = rng.normal(0, 0.3, people)
    first, second = np.triu_indices(len(owner), 1)
    same = owner[first] == owner[second]
    score = own[owner[first]] + own[owner[second]] + same + rng.normal(0, 0.05, len(first))
    scores = Verification(score[same], score[~same])
    pairs = np.column_stack((owner[first], owner[second]))
    intervals = verification_intervals(scores, pairs[same, 0], pairs[~same], draws=200)
    strangers = intervals["mu_impostor"]
    assert strangers.n == people
    assert strangers.low < scores.statistics()["mu_impostor"] < strangers.high
    naive = 2 * 1.96 * score[~same].std() / np.sqrt((~same).sum())
    assert strangers.high - strangers.low > 3 * naive
    again = verification_intervals(scores, pairs[same, 0], pairs[~same], draws=200)
    np.testing.assert_array_equal(list(again.values()), list(intervals.values()))


@pytest.mark.parametrize(
    ("genuine", "impostor"), [([], [0.1]), ([0.1], []), ([np.nan], [0.1])],
    ids=["no genuine", "no strangers", "nan"],
)  # fmt: skip
def test_scores_of_one_kind_or_not_finite_are_refused(genuine, impostor):
    with pytest.raises(ValueError, match="expected finite scores of both kinds"):
        Verification(genuine, impostor)
