"""The tables that rooms hand to each other: samples, predictions, edits – columns and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer_lib.labels import AU_COLUMNS, EMOTIONS

STATUSES: tuple[str, ...] = (
    "ok", "no_face", "unreadable", "bad_landmarks", "missing", "ambiguous_label",
)
"""What became of a sample. Only ``ok`` has a face in the store; the others keep row and reason."""

SPLITS: tuple[str, ...] = ("train", "val", "test")

PER_SAMPLE, PAPER_PROTOCOL = "per-sample", "paper"
"""Protocols of predictions: the honest one, and the published one that averages test batches."""

_TEXT = "str"
SAMPLE_COLUMNS: dict[str, str] = {
    "sample_id": _TEXT,
    "split": _TEXT,
    "subject": _TEXT,
    "pair": _TEXT,
    "emotion": _TEXT,
    "valence": "float32",
    "arousal": "float32",
    **dict.fromkeys(AU_COLUMNS, "float32"),
    "track": _TEXT,
    "frame": "Int64",
    "source_path": _TEXT,
    "box_left": "float32",
    "box_top": "float32",
    "box_right": "float32",
    "box_bottom": "float32",
    "landmark_source": _TEXT,
    "status": _TEXT,
    "status_reason": _TEXT,
}
"""Columns and types of the sample table; text and numbers that are unknown are NA."""

PREDICTION_COLUMNS: tuple[str, ...] = ("run", "sample_id", "split", "protocol", "emotion")
EDIT_COLUMNS: tuple[str, ...] = (
    "source_id", "target_emotion", "editor", "strength", "seed", "image", "true_edit",
)


def sample_table(data: pd.DataFrame | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Bring rows into the form of the sample table and check them.

    Args:
        data: a table or a list of rows; absent columns become NA, ``status`` becomes ``ok``.

    Returns:
        A table with exactly ``SAMPLE_COLUMNS``, in that order, and a fresh index.

    Raises:
        ValueError: a column is unknown, an id is absent or stands twice, or an emotion, split or
            status is none of the known names.
    """
    table = pd.DataFrame(data).reset_index(drop=True)
    unknown = sorted(set(table.columns) - set(SAMPLE_COLUMNS))
    if unknown:
        raise ValueError(f"expected only columns of the sample table, got also {unknown}")
    table = table.reindex(columns=list(SAMPLE_COLUMNS)).astype(SAMPLE_COLUMNS)
    table["status"] = table["status"].fillna("ok")
    _check_ids(table)
    for column, known in (("emotion", EMOTIONS), ("split", SPLITS), ("status", STATUSES)):
        _check_names(table, column, known)
    return table


def _check_ids(table: pd.DataFrame) -> None:
    ids = table["sample_id"]
    if ids.isna().any() or ids.duplicated().any():
        bad = ids[ids.isna() | ids.duplicated()].head(3).tolist()
        raise ValueError(f"expected one unique sample_id per row, got absent or repeated {bad}")


def _check_names(table: pd.DataFrame, column: str, known: Sequence[str]) -> None:
    wrong = sorted(set(table[column].dropna()) - set(known))
    if wrong:
        raise ValueError(f"expected {column} out of {list(known)}, got {wrong[:3]}")


def probability_columns(emotions: Sequence[str]) -> list[str]:
    """Name the probability columns of a prediction table: ``p_<emotion>``, in the given order."""
    return [f"p_{emotion}" for emotion in emotions]


def probability_emotions(predictions: pd.DataFrame) -> list[str]:
    """Give the emotions that a prediction table has probabilities for, in column order."""
    return [column[2:] for column in predictions.columns if column.startswith("p_")]


def prediction_table(data: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Bring predictions into the form of the contract and check them.

    Args:
        data: columns ``PREDICTION_COLUMNS`` and ``p_<emotion>``; ``emotion`` is the true label.
            A sample that could not be predicted has NaN in every probability.
        emotions: the recogniser's classes, in its own order.

    Returns:
        The table with exactly these columns, probabilities as float32.

    Raises:
        ValueError: a column is absent, a row stands twice, or probabilities do not sum to one.
    """
    columns = [*PREDICTION_COLUMNS, *probability_columns(emotions)]
    missing = sorted(set(columns) - set(data.columns))
    if missing:
        raise ValueError(f"expected the columns of the prediction table, {missing} are absent")
    table = data[columns].reset_index(drop=True)
    if table.duplicated(["run", "protocol", "sample_id"]).any():
        raise ValueError("expected one row per run, protocol and sample_id, got repeated rows")
    probabilities = table[probability_columns(emotions)].to_numpy(np.float32)
    sums = probabilities.sum(axis=1)[~np.isnan(probabilities).all(axis=1)]
    if not np.allclose(sums, 1, atol=1e-3):
        raise ValueError("expected probabilities that sum to 1 in every row (or NaN in all)")
    table[probability_columns(emotions)] = probabilities
    return table
