import numpy as np
import pytest
from scipy.stats import binomtest

from fer_lib.evaluation.intervals import bootstrap_interval, median_interval, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (7, 8), (2824, 3068), (1, 3)])
def test_wilson_interval_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    got = wilson_interval(successes, n)
    assert got.low == pytest.approx(expected.low, abs=1e-9)
    assert got.high == pytest.approx(expected.high, abs=1e-9)
    assert got.low <= got.value <= got.high
    assert got.n == n


def test_seed_000s_seven_of_eight_rests_on_little():
    got = wilson_interval(7, 8)
    assert (round(got.low, 2), round(got.high, 2)) == (0.53, 0.98)


def test_no_sample_gives_no_number():
    assert np.isnan(wilson_interval(0, 0).value)
    assert np.isnan(bootstrap_interval(np.empty((0, 2)), lambda s: s[:, 0]).value)
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(4, 3)


def mean_of(values, clusters=None, seed=0):
    cells = np.column_stack([values, np.ones(len(values))])
    return bootstrap_interval(cells, lambda s: s[:, 0] / s[:, 1], clusters, draws=2000, seed=seed)


def test_bootstrap_of_a_mean_has_the_width_of_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, 400)
    got = mean_of(values)
    assert got.value == pytest.approx(values.mean())
    assert got.high - got.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.12)
    assert mean_of(values) == got
    assert mean_of(values, seed=1) != got


def test_clusters_of_equal_samples_widen_the_interval_by_the_root_of_their_size():
    people = np.random.default_rng(0).normal(0, 1, 50)
    values, names = np.repeat(people, 16), np.repeat(np.arange(50), 16)
    naive, clustered = mean_of(values), mean_of(values, names)
    ratio = (clustered.high - clustered.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(4, rel=0.15)
    assert clustered.n == 800


def test_one_cluster_alone_shows_no_spread():
    got = mean_of(np.array([1.0, 0.0, 1.0, 0.0]), np.zeros(4))
    assert (got.low, got.value, got.high) == (0.5, 0.5, 0.5)


def test_the_median_interval_is_made_of_the_right_order_statistics():
    # Conover's table: for n = 10 the 2nd and 9th values hold the median with 97.9 %.
    assert tuple(median_interval(np.arange(1, 11)[::-1])) == (5.5, 2, 9, 10)
    assert tuple(median_interval([3.0] * 40)) == (3, 3, 3, 40)
    assert tuple(median_interval([1, 5])) == (3, 1, 5, 2)
    assert median_interval([]).n == 0


def test_the_median_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        interval = median_interval(rng.exponential(size=25))
        hits += interval.low <= np.log(2) <= interval.high
    assert 0.945 < hits / 2000 < 0.985
