"""Where the cosines of one person and of strangers lie, for one embedder on one set of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lib.evaluation.identity import cosine
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.verification import Verification, verification_intervals

_MAX_STRANGERS = 50_000


@dataclass(frozen=True)
class Calibration:
    """Where pairs of one person and pairs of strangers lie for one embedder on one set of faces.

    Attributes:
        genuine: (G,) cosines of different pictures of one person.
        impostor: (I,) cosines of pictures of different persons.
        statistics: name of ``Verification.statistics`` → value, 95 % interval by person, people.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    statistics: dict[str, Interval]

    def normalise(self, csim: np.ndarray) -> np.ndarray:
        """Give (CSIM − μi) / (μg − μi): 0 a stranger, 1 another picture of the same person."""
        low, high = (self.statistics[name].value for name in ("mu_impostor", "mu_genuine"))
        return (np.asarray(csim, np.float64) - low) / (high - low)


def calibrate(
    embeddings: np.ndarray,
    subjects: Sequence[str],
    scenes: Sequence[str] | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Find where pairs of one person and pairs of strangers lie.

    All genuine pairs are taken, and at most 50,000 pairs of strangers.

    Args:
        embeddings: (N, D) finite, N up to a few thousand.
        subjects: (N,) names of the persons.
        scenes: (N,) names of the scenes; where anybody was seen in two, genuine pairs of one scene,
            alike by light and background, are left out. None takes all genuine pairs.
        draws: resamples of the intervals.
        seed: of the choice of strangers and of the resampling.

    Raises:
        ValueError: there is no pair of one of the two kinds, or an embedding is not finite.
    """
    people = np.unique(np.asarray(subjects).astype(str), return_inverse=True)[1]
    pairs = np.column_stack(np.triu_indices(len(people), 1))
    same = people[pairs[:, 0]] == people[pairs[:, 1]]
    shots = np.arange(len(people)) if scenes is None else np.asarray(scenes)
    apart = same & (shots[pairs[:, 0]] != shots[pairs[:, 1]])
    genuine, strangers = pairs[apart if apart.any() else same], pairs[~same]
    if len(strangers) > _MAX_STRANGERS:
        chosen = np.random.default_rng(seed).choice(len(strangers), _MAX_STRANGERS, replace=False)
        strangers = strangers[chosen]
    scores = Verification(*(cosine(*embeddings[part.T]) for part in (genuine, strangers)))
    statistics = verification_intervals(
        scores, people[genuine[:, 0]], people[strangers], draws=draws, seed=seed
    )
    return Calibration(scores.genuine, scores.impostor, statistics)
