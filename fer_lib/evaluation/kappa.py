"""Whether two judges say the same of the same faces, beyond what chance would give.

Edits that were tuned against one network can fool it; a second, independent one seldom agrees then.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fer_lib.evaluation.intervals import Interval, bootstrap_interval
from fer_lib.tables import probability_columns, probability_emotions


def kappa_between(
    first: pd.DataFrame,
    second: pd.DataFrame,
    clusters: ArrayLike | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """Give Cohen's kappa of two judges' labels, over the emotions that both know.

    Each label is the most probable of these emotions: a judge that knows contempt is asked without
    it where the other does not know it. Faces that one of the two did not get are left out of n.

    Args:
        first: a judge's table: ``sample_id`` and ``p_<emotion>``.
        second: another's, of the same samples in the same order.
        clusters: (N,) groups that are resampled as a whole, such as the source's subjects; None
            draws samples.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        1 where they always agree, 0 as often as chance would; NaN where both name one and the same
        emotion throughout.

    Raises:
        ValueError: the samples differ, or fewer than two emotions are known to both.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales", equation 1.
    """
    if first["sample_id"].tolist() != second["sample_id"].tolist():
        raise ValueError("expected two judges of the same samples in the same order, got others")
    known = probability_emotions(second)
    shared = [name for name in probability_emotions(first) if name in known]
    if len(shared) < 2:
        raise ValueError(f"expected two emotions or more that both judges know, got {shared}")
    one, other = (table[probability_columns(shared)].to_numpy(float) for table in (first, second))
    judged = ~np.isnan(one + other).any(axis=1)
    cells = one[judged].argmax(axis=1) * len(shared) + other[judged].argmax(axis=1)
    counts = np.eye(len(shared) ** 2)[cells]
    if np.isnan(_kappa(counts.sum(axis=0, keepdims=True))[0]):
        return Interval(np.nan, np.nan, np.nan, len(counts))
    groups = None if clusters is None else np.asarray(clusters)[judged]
    return bootstrap_interval(counts, _kappa, groups, draws=draws, seed=seed)


def _kappa(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    side = round(sums.shape[1] ** 0.5)
    total = np.maximum(sums.sum(axis=1), 1)
    tables = sums.reshape(-1, side, side) / total[:, None, None]
    agreed = np.trace(tables, axis1=1, axis2=2)
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1)
    missing = 1 - chance
    return np.divide(
        agreed - chance, missing, out=np.full(len(sums), np.nan), where=missing > 1e-12
    )
