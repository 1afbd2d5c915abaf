"""How well a recogniser recognises: accuracies and confusion, each with n and interval.

A sample without an answer (no face found, no prediction written) counts as wrong everywhere. A
class without samples has n = 0 and takes no part in means over classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_lib.evaluation.intervals import Interval, bootstrap_interval, wilson_interval
from fer_lib.labels import EMOTIONS
from fer_lib.tables import probability_emotions

NO_PREDICTION = "no prediction"
_Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Answers:
    """What one recogniser said about samples whose emotion is known.

    Attributes:
        sample_ids: (N,) names.
        labels: (N,) int, position of the true emotion in ``emotions``.
        probabilities: (N, C) float, NaN in the whole row where there is no answer, 0 for an emotion
            that the recogniser does not know.
        emotions: the C class names.
        subjects: (N,) names of the people, for intervals that resample people; None if unknown.
    """

    sample_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    emotions: tuple[str, ...]
    subjects: NDArray[np.str_] | None = None

    @classmethod
    def from_tables(cls, predictions: pd.DataFrame, samples: pd.DataFrame | None = None) -> Self:
        """Read one recogniser's prediction table, and who is absent from it.

        Args:
            predictions: a prediction table of one run and protocol.
            samples: the sample table of everything that was to be recognised (one split). Rows
                without a prediction stay in the denominator; rows without an emotion cannot be
                scored and are left out. None takes the predictions' own rows.

        Returns:
            The answers in the order of ``samples``; emotions in canonical order: those that the
            recogniser knows and those that occur.

        Raises:
            ValueError: a sample is predicted twice or has a prediction but no row in ``samples``.
        """
        if predictions["sample_id"].duplicated().any():
            raise ValueError("expected one run and protocol, got samples that are predicted twice")
        rows = predictions if samples is None else samples
        stray = set(predictions["sample_id"]) - set(rows["sample_id"])
        if stray:
            raise ValueError(f"expected predictions of the given samples only, got {min(stray)!r}")
        rows = rows[rows["emotion"].notna()]
        known = probability_emotions(predictions)
        emotions = tuple(e for e in EMOTIONS if e in known or (rows["emotion"] == e).any())
        wide = predictions.set_index("sample_id")[[f"p_{name}" for name in known]]
        wide = wide.reindex(rows["sample_id"]).astype(float)
        failed = wide.isna().any(axis=1)
        # An emotion that the recogniser has no class for gets 0; a failed sample stays NaN.
        wide = wide.reindex(columns=[f"p_{name}" for name in emotions], fill_value=0.0)
        wide[failed.to_numpy()] = np.nan
        subjects = rows["subject"] if "subject" in rows and rows["subject"].notna().all() else None
        return cls(
            rows["sample_id"].to_numpy(str),
            rows["emotion"].map(emotions.index).to_numpy(np.int64),
            wide.to_numpy(np.float64),
            emotions,
            None if subjects is None else subjects.to_numpy(str),
        )

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) position of the most probable emotion, −1 where there is no answer."""
        failed = np.isnan(self.probabilities).any(axis=1)
        return np.where(failed, -1, np.nan_to_num(self.probabilities).argmax(axis=1))

    @property
    def true(self) -> NDArray[np.str_]:
        """(N,) name of the true emotion."""
        return np.array(self.emotions)[self.labels]

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable emotion is the true one."""
        return self.predicted == self.labels


def overall_accuracy(answers: Answers) -> Interval:
    """Give the share of samples that are right, with Wilson's interval."""
    return wilson_interval(int(answers.right.sum()), len(answers.labels))


def top_k_accuracy(answers: Answers, k: int) -> Interval:
    """Give the share of samples whose emotion is among the k most probable, with Wilson's interval.

    Ties count against the recogniser: a constant answer has top-1 accuracy 0, not luck.
    """
    own = np.take_along_axis(answers.probabilities, answers.labels[:, None], axis=1)
    # Comparisons with NaN are false; "not ahead" would be true of failed samples, hence the count.
    ahead = (answers.probabilities >= own).sum(axis=1) - 1
    hits = (ahead < k) & (ahead >= 0)
    return wilson_interval(int(hits.sum()), len(answers.labels))


def average_accuracy(answers: Answers, *, draws: int = 1000, seed: int = 0) -> Interval:
    """Give the mean recall over the classes that occur; bootstrap by subject where known."""
    return _bootstrap(answers, _mean_recall, draws, seed)


def macro_f1(answers: Answers, *, draws: int = 1000, seed: int = 0) -> Interval:
    """Give the mean F1 over the classes that occur; bootstrap by subject where known."""
    return _bootstrap(answers, _mean_f1, draws, seed)


def macro_f1_gain(first: Answers, second: Answers, *, draws: int = 1000, seed: int = 0) -> Interval:
    """Give second minus first macro-F1 on the same samples: a paired bootstrap.

    Both are scored on the same resample of subjects (of samples where these are unknown), so that
    what is hard for both cancels. They differ where 0 is outside the interval.

    Raises:
        ValueError: the samples or their true emotions differ.
    """
    same = np.array_equal(first.sample_ids, second.sample_ids)
    if not same or not np.array_equal(first.true, second.true):
        raise ValueError("expected two recognisers of the same samples in the same order")
    cells = np.hstack([_confusion_cells(first), _confusion_cells(second)])
    split = len(first.emotions) * (len(first.emotions) + 1)

    def gain(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = (sums[:, :split], len(first.emotions)), (sums[:, split:], len(second.emotions))
        before, after = (_mean_f1(part.reshape(-1, n, n + 1)) for part, n in parts)
        return after - before

    return bootstrap_interval(cells, gain, first.subjects, draws=draws, seed=seed)


def confusion_counts(answers: Answers) -> pd.DataFrame:
    """Count true against predicted emotions.

    Returns:
        Rows are true, columns predicted emotions; the last column holds samples without an answer
        and is absent if there are none.
    """
    cells = _confusion_cells(answers).sum(axis=0).reshape(len(answers.emotions), -1)
    columns = [*answers.emotions, NO_PREDICTION]
    table = pd.DataFrame(cells.astype(int), index=list(answers.emotions), columns=columns)
    return table if table[NO_PREDICTION].any() else table.drop(columns=NO_PREDICTION)


def class_recall(answers: Answers) -> pd.DataFrame:
    """Give n, recall with Wilson's interval, precision and F1 of each class.

    Returns:
        One row per emotion: ``n``, ``recall``, ``low``, ``high``, ``precision``, ``f1``; NaN where
        there is nothing to divide by.
    """
    table = _confusion_cells(answers).sum(axis=0).reshape(len(answers.emotions), -1)
    rows = []
    for position, emotion in enumerate(answers.emotions):
        hits, n, named = table[position, position], table[position].sum(), table[:, position].sum()
        recall = wilson_interval(int(hits), int(n))
        precision = hits / named if named else np.nan
        f1 = 2 * hits / (n + named) if n else np.nan
        rows.append((emotion, recall.n, *recall[:3], precision, f1))
    columns = ["emotion", "n", "recall", "low", "high", "precision", "f1"]
    return pd.DataFrame(rows, columns=columns).set_index("emotion")


def _confusion_cells(answers: Answers) -> NDArray[np.float64]:
    classes = len(answers.emotions)
    # The last column is "no prediction": −1 counts from the end.
    column = np.where(answers.predicted < 0, classes, answers.predicted)
    return np.eye(classes * (classes + 1))[answers.labels * (classes + 1) + column]


def _bootstrap(answers: Answers, statistic: _Statistic, draws: int, seed: int) -> Interval:
    classes = len(answers.emotions)
    return bootstrap_interval(
        _confusion_cells(answers),
        lambda sums: statistic(sums.reshape(-1, classes, classes + 1)),
        answers.subjects,
        draws=draws,
        seed=seed,
    )


def _mean_recall(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    totals, hits = tables.sum(axis=2), np.diagonal(tables, axis1=1, axis2=2)
    return _mean_present(hits / np.maximum(totals, 1), totals > 0)


def _mean_f1(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    totals, hits = tables.sum(axis=2), np.diagonal(tables, axis1=1, axis2=2)
    named = tables.sum(axis=1)[:, :-1]
    return _mean_present(2 * hits / np.maximum(totals + named, 1), totals > 0)


def _mean_present(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    return (values * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
