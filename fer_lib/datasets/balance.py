"""Class tables and balancing: how many faces of each emotion, before and after.

Balancing changes which rows are used and how often, never the rows themselves: every function
returns row positions or weights.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

from fer_lib import published
from fer_lib.labels import EMOTIONS
from fer_lib.tables import SPLITS


def class_table(samples: pd.DataFrame, positions: Sequence[int] | None = None) -> pd.DataFrame:
    """Count the usable samples by emotion and split.

    Args:
        samples: sample table.
        positions: row positions to count, repeats included; by default every row with status ok.

    Returns:
        One row per canonical emotion and `total`, columns `train`, `val`, `test`, `total`; a class
        that is absent has 0. Rows without an emotion or a split are not counted.
    """
    rows = samples[samples["status"] == "ok"] if positions is None else samples.iloc[positions]
    labelled = rows.dropna(subset=["emotion", "split"])
    counts = pd.crosstab(labelled["emotion"], labelled["split"])
    counts = counts.reindex(index=list(EMOTIONS), columns=list(SPLITS), fill_value=0).astype(int)
    counts["total"] = counts.sum(axis=1)
    counts.loc["total"] = counts.sum()
    return counts.rename_axis(index="emotion", columns=None)


def cap_classes(emotions: Sequence[str], cap: int, seed: int = 0) -> np.ndarray:
    """Keep at most `cap` rows of every class, drawn at random.

    Args:
        emotions: one name per row.
        cap: largest number of rows per class, 1 or more.
        seed: of the draw.

    Returns:
        Row positions, ascending, int64.

    Raises:
        ValueError: the cap is below 1.
    """
    if cap < 1:
        raise ValueError(f"expected a cap of 1 or more rows per class, got {cap}")
    rng = np.random.default_rng(seed)
    kept = [rng.permutation(rows)[:cap] for rows in _rows_by_class(emotions).values()]
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)


def oversample_classes(emotions: Sequence[str], seed: int = 0) -> np.ndarray:
    """Repeat the rows of rare classes until every class is as large as the largest.

    Every row of a class is used equally often, give or take once; which rows are used once more is
    drawn at random.

    Args:
        emotions: one name per row.
        seed: of the draw.

    Returns:
        Row positions with repeats, ascending, int64.
    """
    by_class = _rows_by_class(emotions)
    if not by_class:
        return np.empty(0, dtype=np.int64)
    rng = np.random.default_rng(seed)
    largest = max(len(rows) for rows in by_class.values())
    repeated = []
    for rows in by_class.values():
        times, rest = divmod(largest, len(rows))
        repeated += [np.tile(rows, times), rng.permutation(rows)[:rest]]
    return np.sort(np.concatenate(repeated))


def inverse_frequency_weights(
    emotions: Sequence[Hashable], classes: Sequence[Hashable] = EMOTIONS
) -> np.ndarray:
    """Weigh classes by the inverse of their frequency, 1 on average over the rows.

    Args:
        emotions: one name (or class number) per row.
        classes: order of the result.

    Returns:
        `(len(classes),)` float32; n / (present classes x n of the class), 0 for an absent class.
    """
    counts = np.array([list(emotions).count(name) for name in classes], dtype=np.float64)
    present = counts > 0
    weights = np.zeros(len(classes))
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


def check_published_counts() -> tuple[pd.DataFrame, str]:
    """Recount seed 002's AffectNet table: does the list after labelling add up?

    Its deck shows the official counts, a list "after labelling", and a training log with the number
    of images. Taking the 500 validation images per class off the official counts must give the
    list, and the list must sum to the log's number.

    Returns:
        A table by emotion (official, validation, expected, printed, difference) with a row of sums,
        and the finding in one sentence.
    """
    table = pd.DataFrame({"official": pd.Series(published.AFFECTNET_COUNTS)[list(EMOTIONS)]})
    table["validation"] = published.AFFECTNET_VALIDATION_PER_CLASS
    table["expected"] = table["official"] - table["validation"]
    table["printed"] = pd.Series(published.AFFECTNET_AFTER_LABELLING)[list(EMOTIONS)]
    table["difference"] = table["printed"] - table["expected"]
    table.loc["total"] = table.sum()
    return table.rename_axis("emotion"), _finding(table)


def _finding(table: pd.DataFrame) -> str:
    printed, expected = table.loc["total", "printed"], table.loc["total", "expected"]
    log = published.AFFECTNET_TRAINED_ON
    wrong = table.index[(table["difference"] != 0) & (table.index != "total")]
    if wrong.empty and expected == log:
        return f"The list after labelling sums to {printed:,}, as the training log says."
    corrections = " and ".join(
        f"{name.capitalize()} should be {table.loc[name, 'expected']:,}, "
        f"not {table.loc[name, 'printed']:,}"
        for name in wrong
    )
    relation = "is" if expected == log else "is not"
    return (
        f"The list after labelling sums to {printed:,} because {corrections}; corrected it sums to "
        f"{expected:,}, which {relation} the {log:,} of the training log."
    )


def _rows_by_class(emotions: Sequence[str]) -> dict[str, np.ndarray]:
    names = np.asarray(emotions, dtype=object)
    return {name: np.flatnonzero(names == name) for name in sorted(set(names.tolist()))}
