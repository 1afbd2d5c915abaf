"""95 % intervals: Wilson's for a share, the bootstrap – by sample or by cluster – for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

_Z = 1.959963984540054
_TAILS = (2.5, 97.5)
_CHUNK = 100


class Interval(NamedTuple):
    """A value with its 95 % interval and the number of samples that it rests on."""

    value: float
    low: float
    high: float
    n: int


def wilson_interval(successes: int, n: int) -> Interval:
    """Give a share and its Wilson score interval; NaN where there is no sample.

    Source: Wilson 1927; unlike ±1.96 standard errors it stays in [0, 1] and is right at 0 and n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 to {n} successes, got {successes}")
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    share, shrink = successes / n, 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / shrink
    half = _Z / shrink * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, float(min(low, share)), float(max(high, share)), int(n))


def median_interval(values: ArrayLike) -> Interval:
    """Give the median and the order statistics that hold the true one with at least 95 %.

    With fewer than six values no two of them do; then the interval is their whole range.

    Args:
        values: (n,), finite.

    Returns:
        Median and interval; NaN where there is no value.

    Source: the sign test's interval (Conover, Practical Nonparametric Statistics, section 3.2).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    # The largest r with P(fewer than r of n values below the median) ≤ 2.5 %.
    below = max(int(binom.ppf(_TAILS[0] / 100, n, 0.5)), 1)
    return Interval(
        float(np.median(ordered)), float(ordered[below - 1]), float(ordered[n - below]), n
    )


def bootstrap_sums(
    contributions: NDArray[np.float64], clusters: ArrayLike | None, draws: int, seed: int
) -> NDArray[np.float64]:
    """Resample samples – or whole clusters of them – and add up what they contribute.

    Args:
        contributions: (N, F), what each sample adds to each of F sums.
        clusters: (N,) names of the groups that are drawn as a whole, such as subjects; None draws
            samples.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        (draws, F) sums.
    """
    units = np.asarray(contributions, dtype=np.float64)
    if clusters is not None:
        _, codes = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
        grouped = np.zeros((codes.max() + 1, units.shape[1]))
        np.add.at(grouped, codes, units)
        units = grouped
    generator = np.random.default_rng(seed)
    count = len(units)
    chunks = [min(_CHUNK, draws - start) for start in range(0, draws, _CHUNK)]
    even = np.full(count, 1 / count)
    return np.concatenate([generator.multinomial(count, even, size) @ units for size in chunks])


def bootstrap_interval(
    contributions: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    clusters: ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Give a statistic of sums over samples and its percentile bootstrap interval.

    Args:
        contributions: (N, F), what each sample adds to each of F sums.
        statistic: turns (B, F) sums into (B,) values.
        clusters: (N,) names of the groups that are drawn as a whole; None draws samples.
        draws: number of resamples.
        seed: of the resampling.

    Returns:
        The value on the samples themselves, and the 2.5 and 97.5 percentiles of the resamples.
    """
    if len(contributions) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    value = float(statistic(np.asarray(contributions, np.float64).sum(axis=0, keepdims=True))[0])
    resampled = statistic(bootstrap_sums(contributions, clusters, draws, seed))
    low, high = np.nanpercentile(resampled, _TAILS)
    return Interval(value, float(min(low, value)), float(max(high, value)), len(contributions))
