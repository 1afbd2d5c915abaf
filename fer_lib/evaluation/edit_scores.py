"""How often a judge sees the emotion that an edit aimed at: per editor, beside the trivial ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_lib.evaluation.intervals import Interval, bootstrap_interval
from fer_lib.tables import probability_columns, probability_emotions


def judged_edits(edits: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Put a judge's answers beside the edits they are about.

    Args:
        edits: an edit set; ``image`` names what was judged.
        judged: columns ``sample_id`` and ``p_<emotion>``.

    Returns:
        The edits with ``emotion`` (the target), the probabilities (NaN where the image was not
        judged), ``target_probability``, and ``reached``: whether the target is the most probable.

    Raises:
        ValueError: the judge has no class for a target.
    """
    known = probability_emotions(judged)
    unknown = sorted(set(edits["target_emotion"]) - set(known))
    if unknown:
        raise ValueError(f"expected targets out of the judge's {known}, got {unknown}")
    table = edits.rename(columns={"target_emotion": "emotion"}).merge(
        judged.rename(columns={"sample_id": "image"}), on="image", how="left"
    )
    cells = table[probability_columns(known)].to_numpy(float)
    place = table["emotion"].map(known.index).to_numpy()
    failed = np.isnan(cells).any(axis=1)
    best = np.where(failed, -1, np.nan_to_num(cells).argmax(axis=1))
    own = cells[np.arange(len(cells)), place]
    return table.assign(target_probability=own, reached=best == place)


def target_accuracy(judged: pd.DataFrame, *, seed: int = 0) -> dict[str, Interval]:
    """Give the share of edits whose target the judge sees, for each editor.

    Args:
        judged: from ``judged_edits``; an image that was not judged counts as not reached.
        seed: of the bootstrap, which draws whole subjects.

    Returns:
        Editor → share, in the order of the table.
    """
    return {
        str(editor): _mean(edits["reached"].to_numpy(float), edits["subject"], seed)
        for editor, edits in judged.groupby("editor", sort=False)
    }


def accuracy_gain(judged: pd.DataFrame, editor: str, over: str, *, seed: int = 0) -> Interval:
    """Give the difference in target accuracy of two editors on the same edits, paired.

    Args:
        judged: from ``judged_edits``.
        editor: whose accuracy.
        over: minus whose.
        seed: of the bootstrap, which draws whole subjects.

    Returns:
        The difference with its interval.

    Raises:
        ValueError: the two have not made the same edits.
    """
    key = ["source_id", "emotion"]
    first, second = (
        judged[judged["editor"] == name].set_index(key).sort_index() for name in (editor, over)
    )
    if first.empty or not first.index.equals(second.index):
        raise ValueError(f"expected the same edits by {editor!r} and {over!r}")
    gain = first["reached"].to_numpy(float) - second["reached"].to_numpy(float)
    return _mean(gain, first["subject"], seed)


def _mean(values: np.ndarray, subjects: pd.Series, seed: int) -> Interval:
    return bootstrap_interval(
        np.column_stack([values, np.ones(len(values))]),
        lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1),
        subjects if subjects.notna().all() else None,
        seed=seed,
    )
