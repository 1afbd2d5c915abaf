"""What an encoder reads in edited pictures: has β moved, and are the action units the wanted ones?

The encoder that reads must not be the one that steered the editor. It reads expression into β, so
even true edits drift: that row is the floor, and editors are compared with each other, paired.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fer_lib.evaluation.edit_gain import score_rows


def between_person_sd(codes: ArrayLike, subjects: ArrayLike) -> NDArray[np.float64]:
    """Give the standard deviation of each code between persons, of their means.

    Args:
        codes: (N, C), such as β or an embedding, of pictures of several persons.
        subjects: (N,) names.

    Raises:
        ValueError: there are fewer than two persons.
    """
    means = pd.DataFrame(np.asarray(codes, np.float64)).groupby(np.asarray(subjects)).mean()
    if len(means) < 2:
        raise ValueError(f"expected two persons or more, got {len(means)}; take more pictures")
    return means.std(ddof=1).to_numpy()


def drift_sd(first: ArrayLike, second: ArrayLike, spread: ArrayLike) -> NDArray[np.float64]:
    """Give the distance of paired codes in units of the spread between persons.

    Args:
        first: (N, C).
        second: (N, C).
        spread: (C,) from ``between_person_sd``; codes that do not vary are left out.

    Returns:
        (N,) root of the mean square; two strangers are about √2 apart.
    """
    spread = np.asarray(spread, np.float64)
    varies = spread > 1e-9
    gap = (np.asarray(first, np.float64) - np.asarray(second, np.float64))[:, varies]
    return np.sqrt(np.mean((gap / spread[varies]) ** 2, axis=1))


def drift_scores(
    edits: pd.DataFrame, codes: pd.DataFrame, spread: ArrayLike, by: str, what: str = "beta"
) -> pd.DataFrame:
    """Score how far the person's code moved in edits.

    Args:
        edits: an edit set.
        codes: rows are names of pictures, columns the code; of all pictures that the edits name.
        spread: between persons.
        by: who reads the code.
        what: the code's name in the metrics.

    Returns:
        A score table: ``<what>_drift_sd`` (from the source; the reader's leak of expression
        included) and ``<what>_error_sd`` (from the true edit, which wears the same expression).
    """
    edited, source, true = (
        codes.reindex(edits[name]).to_numpy() for name in ("image", "source_id", "true_edit")
    )
    scores = {
        f"{what}_drift_sd": drift_sd(edited, source, spread),
        f"{what}_error_sd": drift_sd(edited, true, spread),
    }
    return score_rows(edits, scores, by)


def au_scores(
    edits: pd.DataFrame, read: pd.DataFrame, wanted: pd.DataFrame, by: str
) -> pd.DataFrame:
    """Score the action units that an encoder sees in edits.

    Args:
        edits: an edit set.
        read: rows are names of pictures, columns action units, intensities as the encoder sees
            them; of all pictures that the edits name.
        wanted: rows are names of pictures, the true intensities; of all true edits.
        by: who reads them.

    Returns:
        A score table: ``au_error`` (mean absolute difference from the true intensities of the
        target, the reader's own error included: the true edit's row is the floor) and
        ``au_gap`` (from what the same reader sees in the true edit).
    """
    seen, floor = (read.reindex(edits[name]).to_numpy() for name in ("image", "true_edit"))
    aim = wanted.reindex(edits["true_edit"]).to_numpy(float)
    scores = {
        "au_error": np.abs(seen - aim).mean(axis=1),
        "au_gap": np.abs(seen - floor).mean(axis=1),
    }
    return score_rows(edits, scores, by)
