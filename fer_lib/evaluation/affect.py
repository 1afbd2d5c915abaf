"""How well valence and arousal are recognised, each number with n and a 95 % interval.

Valence and arousal are in [-1, 1]. A sample without an answer (NaN) cannot enter a correlation or
an error: it is counted as ``failed`` beside them, and as wrong where signs are compared. A sample
whose true value is unknown (NaN) cannot be scored and takes no part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fer_lib.evaluation.circumplex import affect_points, circumplex_errors
from fer_lib.evaluation.intervals import Interval, bootstrap_interval

DIMENSIONS = ("valence", "arousal")

# A standard deviation below 1e-6 of a number in [-1, 1] is rounding.
_NO_VARIANCE = 1e-12
_Array = NDArray[np.float64]
_Statistic = Callable[[_Array], _Array]


def affect_scores(
    truth: ArrayLike,
    answers: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Score the answers to one of the two dimensions.

    Args:
        truth: (N,) true values in [-1, 1], NaN unknown.
        answers: (N,) answers in [-1, 1], NaN where there is none.
        clusters: (N,) groups that are resampled as a whole, such as subjects; None draws samples.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``ccc`` (concordance, with population moments), ``pcc`` (Pearson), ``rmse``, ``mae``, and
        ``sagr`` (share of equal signs; an exact 0 is a sign of its own, no answer is wrong). PCC is
        NaN where one side is constant, CCC where both are.

    Raises:
        ValueError: shapes differ, or values leave [-1, 1].

    Source: CCC of Lin 1989, equation 3; SAGR of Nicolaou et al. 2011, section 5.1.
    """
    true, said, groups = _labelled(truth, answers, clusters)
    answered = ~np.isnan(said)
    sums = _sums(true[answered], said[answered])
    part = None if groups is None else groups[answered]
    scores = {
        name: _interval(sums, statistic, part, draws=draws, seed=seed)
        for name, statistic in _STATISTICS.items()
    }
    agree = (np.sign(true) == np.sign(said)).astype(float)
    return scores | {"sagr": _mean_interval(agree, groups, draws=draws, seed=seed)}


def affect_gain(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    metric: str = "ccc",
    clusters: ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Give how far one recogniser is ahead of another on the same samples: a paired bootstrap.

    Args:
        truth: (N,) true values in [-1, 1], NaN unknown.
        first: (N,) answers of one recogniser.
        second: (N,) answers of the other. Only samples that both answer are compared.
        metric: ``ccc``, ``pcc``, ``rmse`` or ``mae``.
        clusters: (N,) groups that are resampled as a whole; None draws samples.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The metric of ``second`` minus that of ``first``; they differ where 0 is outside.

    Raises:
        ValueError: the metric is unknown, shapes differ, or values leave [-1, 1].
    """
    if metric not in _STATISTICS:
        raise ValueError(f"expected a metric out of {sorted(_STATISTICS)}, got {metric!r}")
    true, one, groups = _labelled(truth, first, clusters)
    _, other, _ = _labelled(truth, second, None)
    both = ~np.isnan(one) & ~np.isnan(other)
    sums = np.hstack([_sums(true[both], one[both]), _sums(true[both], other[both])])
    half, statistic = sums.shape[1] // 2, _STATISTICS[metric]
    return _interval(
        sums,
        lambda drawn: statistic(drawn[:, half:]) - statistic(drawn[:, :half]),
        None if groups is None else groups[both],
        draws=draws,
        seed=seed,
    )


def affect_table(
    truth: ArrayLike,
    answers: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score valence and arousal: every metric in a row.

    Args:
        truth: (N, 2) true valence and arousal, NaN unknown.
        answers: (N, 2) valence and arousal answered, NaN where there is no answer.
        clusters: (N,) groups that are resampled as a whole, such as subjects; None draws samples.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Index ``of`` (``valence``, ``arousal``, ``circumplex``) and ``metric``; columns ``value``,
        ``low``, ``high``, ``n`` and ``failed``, the labelled samples without an answer. Metrics of
        the circumplex: ``angle_error_deg`` (mean; its n has only the pairs that are both strong
        enough), ``intensity_error`` (mean absolute) and ``intensity_bias`` (mean, signed).

    Raises:
        ValueError: shapes differ, or values leave [-1, 1].

    Source: Toisoul et al. 2021, Methods.
    """
    true, said = affect_points(truth), affect_points(answers)
    options = {"draws": draws, "seed": seed}
    rows = {
        (dimension, metric): interval
        for column, dimension in enumerate(DIMENSIONS)
        for metric, interval in affect_scores(
            true[:, column], said[:, column], clusters, **options
        ).items()
    }
    errors = circumplex_errors(true, said)
    means = {
        "angle_error_deg": errors["angle_deg"],
        "intensity_error": errors["intensity"].abs(),
        "intensity_bias": errors["intensity"],
    }
    for metric, values in means.items():
        rows["circumplex", metric] = _mean_interval(values.to_numpy(), clusters, **options)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=Interval._fields)
    table.index = pd.MultiIndex.from_tuples(rows, names=["of", "metric"])
    failed = np.isnan(said) & ~np.isnan(true)
    labelled = ~np.isnan(true).any(axis=1)
    counts = dict(zip(DIMENSIONS, failed.sum(axis=0), strict=True))
    counts["circumplex"] = (failed.any(axis=1) & labelled).sum()
    return table.assign(failed=[int(counts[of]) for of, _ in rows])


def _labelled(
    truth: ArrayLike, answers: ArrayLike, clusters: ArrayLike | None
) -> tuple[_Array, _Array, NDArray | None]:
    """Keep the samples whose truth is known; check shapes and ranges."""
    true, said = (np.asarray(part, np.float64) for part in (truth, answers))
    groups = None if clusters is None else np.asarray(clusters)
    shapes = [part.shape for part in (true, said, groups) if part is not None]
    if true.ndim != 1 or any(shape != true.shape for shape in shapes):
        raise ValueError(f"expected (N,) values of the same samples, got {shapes}")
    for part in (true, said):
        outside = part[np.abs(part) > 1]
        if len(outside):
            raise ValueError(
                f"expected valence and arousal in [-1, 1] or NaN, got {outside[0]:g}; clip "
                "answers, and mark unknown labels (AffectNet's -2) as NaN"
            )
    known = ~np.isnan(true)
    return true[known], said[known], None if groups is None else groups[known]


def _mean_interval(values: _Array, clusters: ArrayLike | None, **options: int) -> Interval:
    known = ~np.isnan(values)
    rows = np.stack([values, np.ones(len(values))], axis=1)[known]
    groups = None if clusters is None else np.asarray(clusters)[known]
    return bootstrap_interval(rows, _mean, groups, **options)


def _interval(
    sums: _Array, statistic: _Statistic, clusters: NDArray | None, **options: int
) -> Interval:
    if len(sums) and np.isnan(statistic(sums.sum(axis=0, keepdims=True))[0]):
        return Interval(np.nan, np.nan, np.nan, len(sums))
    return bootstrap_interval(sums, statistic, clusters, **options)


def _sums(true: _Array, said: _Array) -> _Array:
    """What a sample adds: all metrics are functions of sums, so resamples need sums alone."""
    x, y, one = true, said, np.ones(len(true))
    return np.stack([one, x, y, x * x, y * y, x * y, (x - y) ** 2, abs(x - y)], axis=1)


def _moments(sums: _Array) -> tuple[_Array, ...]:
    x, y, xx, yy, xy = (sums[:, 1:6] / sums[:, :1]).T
    variances = (np.where(v < _NO_VARIANCE, 0, v) for v in (xx - x * x, yy - y * y))
    return (x - y, *variances, xy - x * y)


def _ratio(upper: _Array, lower: _Array) -> _Array:
    return np.divide(upper, lower, out=np.full(len(upper), np.nan), where=lower > 0)


def _ccc(sums: _Array) -> _Array:
    shift, variance_x, variance_y, covariance = _moments(sums)
    below = variance_x + variance_y + shift**2
    return _ratio(2 * covariance, np.where(below < _NO_VARIANCE, 0, below))


def _pcc(sums: _Array) -> _Array:
    _, variance_x, variance_y, covariance = _moments(sums)
    return _ratio(covariance, np.sqrt(variance_x * variance_y)).clip(-1, 1)


def _mean(sums: _Array) -> _Array:
    return sums[:, 0] / sums[:, 1]


_STATISTICS: dict[str, _Statistic] = {
    "ccc": _ccc,
    "pcc": _pcc,
    "rmse": lambda sums: np.sqrt(sums[:, 6] / sums[:, 0]),
    "mae": lambda sums: sums[:, 7] / sums[:, 0],
}
