"""Tables of what a judge said, in the layout of seed 000: mean probabilities and labels per target.

Seed 000 shows one face per target emotion. Here a row is a mean over n faces with its interval, so
that a winning margin of half a thousandth can be told from a result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_lib.evaluation.intervals import bootstrap_interval, wilson_interval
from fer_lib.labels import EMOTIONS
from fer_lib.tables import probability_columns, probability_emotions


def judged_edits(edits: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Put a judge's answers beside the edits that they are about, each picture once per target.

    Args:
        edits: edits of one editor; ``image`` names what was judged.
        answers: a judge's, by ``sample_id``.

    Returns:
        The edits with ``emotion`` (the target) and the judge's columns, NaN where the picture was
        not judged.
    """
    aimed = edits.rename(columns={"target_emotion": "emotion"})
    once = aimed.drop_duplicates(["image", "emotion"])
    return once.merge(answers.rename(columns={"sample_id": "image"}), on="image", how="left")


def affect_positions(edits: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Give mean valence and arousal of source, true edit and output for each target emotion.

    Args:
        edits: edits of one editor.
        answers: of a judge of affect, by ``sample_id``.

    Returns:
        Rows are targets in canonical order; columns ``n`` (edits of which all three were judged)
        and two levels: ``source``, ``true edit``, ``output``, each ``valence`` and ``arousal``.
    """
    felt = answers.set_index("sample_id")[["valence", "arousal"]]
    named = {"source": "source_id", "true edit": "true_edit", "output": "image"}
    parts = {name: felt.reindex(edits[at]).reset_index(drop=True) for name, at in named.items()}
    table = pd.concat(parts, axis=1).set_index(pd.Index(edits["target_emotion"], name=None))
    known = table.dropna()
    means = known.groupby(level=0).mean()
    means.insert(0, ("edits", "n"), known.groupby(level=0).size())
    return means.reindex([name for name in EMOTIONS if name in means.index])


class ProbabilityTable(NamedTuple):
    """Mean probabilities: rows are target emotions, columns the judge's classes alphabetically.

    ``mean``, ``low`` and ``high`` have the same rows and columns; ``n`` counts the faces of a row.
    """

    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n: pd.Series


def mean_probabilities(
    judged: pd.DataFrame, *, cluster: str | None = None, draws: int = 1000, seed: int = 0
) -> ProbabilityTable:
    """Average a judge's probabilities over the faces of each target emotion.

    Args:
        judged: columns ``emotion`` (the target) and ``p_<emotion>``; a row of NaN is a face that
            could not be judged and takes no part in the mean.
        cluster: column whose groups are resampled as a whole (``subject``, ``source_id``).
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Means and 95 % intervals; targets in canonical order, only those that occur.
    """
    classes = sorted(probability_emotions(judged))
    columns = probability_columns(classes)
    answered = judged.dropna(subset=columns)
    rows: dict[str, list] = {}
    for target, faces in _by_target(answered):
        groups = None if cluster is None else faces[cluster]
        cells = faces[columns].to_numpy(float)
        rows[target] = [
            bootstrap_interval(
                np.column_stack([cells[:, place], np.ones(len(cells))]),
                lambda sums: sums[:, 0] / sums[:, 1],
                groups, draws=draws, seed=seed,
            )
            for place in range(len(classes))
        ]  # fmt: skip

    def table(field: str) -> pd.DataFrame:
        values = {
            target: [getattr(cell, field) for cell in cells] for target, cells in rows.items()
        }
        return pd.DataFrame.from_dict(values, orient="index", columns=classes)

    counts = pd.Series({target: cells[0].n for target, cells in rows.items()}, name="n")
    return ProbabilityTable(table("value"), table("low"), table("high"), counts)


def predicted_labels(judged: pd.DataFrame) -> pd.DataFrame:
    """Put the judge's label beside each target, as seed 000 does, and say how sure it is.

    Args:
        judged: as for ``mean_probabilities``; a row of NaN counts as not recognised.

    Returns:
        One row per target in canonical order: ``predicted`` (largest mean probability, the seed's
        reading), ``margin`` (largest minus second mean probability), ``n``, ``recognised`` (share
        of faces whose own label is the target, counting those not judged as wrong), ``low``,
        ``high`` (Wilson). ``predicted`` is None where no face was judged.
    """
    classes = probability_emotions(judged)
    rows = {}
    for target, faces in _by_target(judged):
        cells = faces[probability_columns(classes)].to_numpy(float)
        answered = cells[~np.isnan(cells).any(axis=1)]
        right = sum(classes[place] == target for place in answered.argmax(axis=1))
        share = wilson_interval(right, len(cells))
        label, margin = None, np.nan
        if len(answered):
            mean = answered.mean(axis=0)
            second, first = np.sort(mean)[-2:]
            label, margin = classes[int(mean.argmax())], first - second
        rows[target] = (label, margin, share.n, share.value, share.low, share.high)
    columns = ["predicted", "margin", "n", "recognised", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _by_target(judged: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    groups = [(target, judged[judged["emotion"] == target]) for target in EMOTIONS]
    return [(target, faces) for target, faces in groups if len(faces)]
