"""Splits by subject: nobody is both learnt from and tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pandas as pd

from fer_lib.tables import SPLITS

DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)


def split_subjects(
    subjects: Iterable[str],
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> dict[str, str]:
    """Assign every subject to train, val or test.

    Subjects are put into the order of a keyed hash of their names and cut by number: the result
    depends on the set of names, the fractions and the seed alone. A split with a fraction above
    zero gets at least one subject as long as there are enough of them.

    Args:
        subjects: names; repeats do not matter.
        fractions: shares of train, val and test, summing to 1.
        seed: another number gives another assignment.

    Returns:
        Split name by subject.

    Raises:
        ValueError: the fractions are negative or do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"expected three shares of 0 or more that sum to 1, got {fractions}")
    ordered = sorted(set(subjects), key=lambda name: (_keyed_hash(name, seed), name))
    counts = _split_counts(len(ordered), fractions)
    names = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return dict(zip(ordered, names, strict=True))


def assign_splits(
    samples: pd.DataFrame,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Fill the column `split` of a sample table by subject.

    A row without a subject counts as a person of its own, under its sample_id.

    Args:
        samples: sample table.
        fractions: shares of train, val and test, summing to 1.
        seed: another number gives another assignment.

    Returns:
        A copy of the table with every split set.
    """
    subjects = samples["subject"].fillna(samples["sample_id"])
    split_of = split_subjects(subjects, fractions, seed)
    return samples.assign(split=subjects.map(split_of).astype(samples["split"].dtype))


def check_subjects(samples: pd.DataFrame) -> None:
    """Make sure that no subject stands in two splits.

    Args:
        samples: sample table.

    Raises:
        ValueError: a subject does; the sentence names some.
    """
    n_splits = samples.dropna(subset=["subject", "split"]).groupby("subject")["split"].nunique()
    crossing = n_splits.index[n_splits > 1].tolist()
    if crossing:
        raise ValueError(
            f"expected every subject in one split, got {len(crossing)} in several, such as "
            f"{crossing[:3]}; assign the splits by subject"
        )


def _keyed_hash(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _split_counts(n: int, fractions: tuple[float, float, float]) -> list[int]:
    ends = [round(n * sum(fractions[: i + 1])) for i in range(3)]
    counts = [ends[0], ends[1] - ends[0], n - ends[1]]
    for i in (1, 2, 0):
        if fractions[i] > 0 and counts[i] == 0 and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[i] = 1
    return counts
