"""How well a score tells pairs of one person from pairs of strangers: ROC statistics.

A pair is accepted as one person where its score reaches the threshold. FAR is the share of
strangers accepted, FRR the share of genuine pairs rejected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_lib.evaluation.intervals import Interval

_TAILS = (2.5, 97.5)
_FARS = {"tar_at_far_1e_2": 1e-2, "tar_at_far_1e_3": 1e-3}


class Verification:
    """Scores of genuine pairs and of strangers, sorted once, for statistics with any weights.

    Args:
        genuine: (G,) scores of pairs of one person.
        impostor: (I,) scores of pairs of strangers.

    Raises:
        ValueError: one of them is empty or not finite.
    """

    def __init__(self, genuine: ArrayLike, impostor: ArrayLike) -> None:
        self.genuine, self.impostor = (np.asarray(s, np.float64) for s in (genuine, impostor))
        scores = np.concatenate([self.genuine, self.impostor])
        if not len(self.genuine) or not len(self.impostor) or not np.isfinite(scores).all():
            raise ValueError(
                f"expected finite scores of both kinds, got {len(self.genuine)} genuine pairs and "
                f"{len(self.impostor)} of strangers"
            )
        values, places = np.unique(scores, return_inverse=True)
        self._places = np.split(places, [len(self.genuine)])
        # Cut k accepts from the k-th distinct score on; its threshold lies between two scores.
        middle = (values[1:] + values[:-1]) / 2
        self._thresholds = np.r_[values[0], middle, np.nextafter(values[-1], np.inf)]

    def statistics(
        self, genuine_weights: ArrayLike | None = None, impostor_weights: ArrayLike | None = None
    ) -> dict[str, float]:
        """Give every statistic, each pair counted by its weight.

        Args:
            genuine_weights: (G,), by default 1.
            impostor_weights: (I,), by default 1.

        Returns:
            ``mu_genuine``, ``sd_genuine``, ``mu_impostor``, ``sd_impostor`` (population),
            ``d_prime`` = (μg − μi) / sqrt((sg² + si²) / 2), ``auc`` (ties count half), ``eer`` and
            ``eer_threshold`` (where FAR and FRR are closest; the middle where several thresholds
            are), ``tar_at_far_1e_2`` and ``…_1e_3`` (NaN where there are fewer strangers than the
            rate can tell). NaN where no weight is left.
        """
        genuine, impostor = (
            np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
            for scores, weights in (
                (self.genuine, genuine_weights), (self.impostor, impostor_weights),
            )
        )  # fmt: skip
        with np.errstate(invalid="ignore", divide="ignore"):
            moments = self._moments(genuine, impostor)
            return moments | self._rates(genuine, impostor)

    def _moments(self, genuine: NDArray, impostor: NDArray) -> dict[str, float]:
        mu_g, sd_g = _mean_and_sd(self.genuine, genuine)
        mu_i, sd_i = _mean_and_sd(self.impostor, impostor)
        spread = np.sqrt((sd_g**2 + sd_i**2) / 2)
        return {
            "mu_genuine": mu_g, "sd_genuine": sd_g, "mu_impostor": mu_i, "sd_impostor": sd_i,
            "d_prime": float((mu_g - mu_i) / spread),
        }  # fmt: skip

    def _rates(self, genuine: NDArray, impostor: NDArray) -> dict[str, float]:
        count = len(self._thresholds) - 1
        g, i = (
            np.bincount(places, weights, minlength=count)
            for places, weights in zip(self._places, (genuine, impostor), strict=True)
        )
        # Counts are divided last, so that rates of whole pairs are exact.
        rejected, below = (np.r_[0.0, np.cumsum(counts)] for counts in (g, i))
        frr, far = rejected / rejected[-1], (below[-1] - below) / below[-1]
        wins = (g * (below[:-1] + i / 2)).sum()
        rates = {"auc": float(wins / (rejected[-1] * below[-1]))}
        gap = np.abs(far - frr)
        if np.isnan(gap).any():
            return rates | dict.fromkeys(("eer", "eer_threshold", *_FARS), np.nan)
        closest = np.flatnonzero(gap <= gap.min() + 1e-9)[[0, -1]]
        rates["eer"] = float((far + frr)[closest].mean() / 2)
        rates["eer_threshold"] = float(self._thresholds[closest].mean())
        for name, allowed in _FARS.items():
            known = impostor.sum() * allowed >= 1
            rates[name] = float(1 - frr[np.argmax(far <= allowed + 1e-9)]) if known else np.nan
        return rates


def verification_intervals(
    scores: Verification,
    genuine_people: NDArray,
    impostor_people: NDArray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Give every statistic with its 95 % bootstrap interval over people.

    Whole people are drawn; a pair of strangers counts as often as both are drawn together. Pairs
    of scores are not independent, people are.

    Args:
        scores: of all pairs.
        genuine_people: (G,) person of each genuine pair, as numbers from 0.
        impostor_people: (I, 2) the two persons of each pair of strangers.
        draws: resamples.
        seed: of the resampling.

    Returns:
        Name of ``Verification.statistics`` → value, interval and the number of people.
    """
    people = int(max(genuine_people.max(), impostor_people.max())) + 1
    generator = np.random.default_rng(seed)
    first, second = impostor_people.T
    value = scores.statistics()
    rows = []
    for drawn in generator.multinomial(people, np.full(people, 1 / people), draws):
        row = scores.statistics(drawn[genuine_people], drawn[first] * drawn[second])
        rows.append(list(row.values()))
    columns = np.array(rows).T
    return {
        name: _interval(value[name], column, people)
        for name, column in zip(value, columns, strict=True)
    }


def _interval(value: float, resampled: NDArray, people: int) -> Interval:
    resampled = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(resampled):
        return Interval(value, np.nan, np.nan, people)
    low, high = np.percentile(resampled, _TAILS)
    return Interval(value, float(min(low, value)), float(max(high, value)), people)


def _mean_and_sd(scores: NDArray, weights: NDArray) -> tuple[float, float]:
    mean = (scores @ weights) / weights.sum()
    return float(mean), float(np.sqrt(((scores - mean) ** 2 @ weights) / weights.sum()))
