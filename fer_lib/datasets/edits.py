"""Edits whose true result is known: pairs of one person who differ in expression alone.

An edit set names, for each source and target emotion, the image that an editor made. Three trivial
editors need no network. *True edit* shows the counterfactual itself and is the ceiling, *copy
source* shows the unedited face and is the floor of the emotion, *stranger* shows somebody else with
the target emotion and is the floor of the identity.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_lib.tables import EDIT_COLUMNS

TRUE_EDIT, COPY_SOURCE, STRANGER = "true edit", "copy source", "stranger"
PHOTOGRAPH = "no edit (labelled face)"
EDIT_SET_COLUMNS = (*EDIT_COLUMNS, "source_emotion", "subject")
"""Columns of an edit set: what an editor wrote, the source's emotion and the person."""


def counterfactual_pairs(index: pd.DataFrame) -> pd.DataFrame:
    """List every edit whose true result is known: two emotions within one group.

    Args:
        index: sample table whose ``pair`` names the groups; other rows and failed ones are left
            out.

    Returns:
        One row per ordered pair of different emotions: ``source_id``, ``target_id``,
        ``source_emotion``, ``target_emotion``, ``subject``, ``pair``, in the order of ``index``.
    """
    grouped = index[index["pair"].notna() & index["emotion"].notna() & (index["status"] == "ok")]
    rows = grouped[["sample_id", "emotion", "subject", "pair"]]
    source = rows.rename(columns={"sample_id": "source_id", "emotion": "source_emotion"})
    target = rows.rename(columns={"sample_id": "target_id", "emotion": "target_emotion"})
    joined = source.merge(target.drop(columns="subject"), on="pair", how="inner")
    joined = joined[joined["source_emotion"] != joined["target_emotion"]]
    columns = ["source_id", "target_id", "source_emotion", "target_emotion", "subject", "pair"]
    return joined[columns].reset_index(drop=True)


def one_source_per_target(pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Keep one edit per group and target emotion, its source drawn at random.

    A group of eight emotions makes 56 edits that share eight pictures; eight of them say nearly as
    much, and every target is aimed at equally often.

    Args:
        pairs: from ``counterfactual_pairs``.
        seed: of the draw.

    Returns:
        Some of the rows, in their order.
    """
    order = np.random.default_rng(seed).permutation(len(pairs))
    kept = pairs.iloc[order].drop_duplicates(["pair", "target_emotion"]).index
    return pairs.loc[kept.sort_values()].reset_index(drop=True)


def trivial_edits(index: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Make the edit sets of the trivial editors, or list labelled faces where no pairs are.

    Args:
        index: sample table.
        seed: of the choice of sources and of strangers.

    Returns:
        An edit set with ``EDIT_SET_COLUMNS``; ``image`` and ``true_edit`` are sample ids. Without
        counterfactual pairs every labelled face stands for itself, under the editor ``no edit
        (labelled face)``; there also those that failed keep their row, so that they count. A
        target that no other person shows has no stranger.
    """
    pairs = one_source_per_target(counterfactual_pairs(index), seed)
    if pairs.empty:
        faces = index[index["emotion"].notna()]
        own = faces.assign(source_id=faces["sample_id"], target_id=faces["sample_id"],
                           source_emotion=faces["emotion"], target_emotion=faces["emotion"])
        return _edit_set(own, PHOTOGRAPH, own["source_id"])
    images = {
        TRUE_EDIT: pairs["target_id"],
        COPY_SOURCE: pairs["source_id"],
        STRANGER: _strangers(pairs, seed),
    }
    sets = [_edit_set(pairs, editor, image) for editor, image in images.items()]
    return pd.concat(sets, ignore_index=True).dropna(subset="image", ignore_index=True)


def _strangers(pairs: pd.DataFrame, seed: int) -> pd.Series:
    """For each pair, somebody else's picture with the target emotion; None where there is none."""
    generator = np.random.default_rng(seed)
    chosen = pd.Series(None, pairs.index, dtype=object)
    for _, rows in pairs.groupby("target_emotion", sort=False):
        for place, subject in rows["subject"].items():
            others = rows.loc[rows["subject"] != subject, "target_id"].unique()
            if len(others):
                chosen[place] = generator.choice(others)
    return chosen


def _edit_set(pairs: pd.DataFrame, editor: str, images: pd.Series) -> pd.DataFrame:
    table = pairs.assign(
        editor=editor, strength=1.0, seed=0, image=images, true_edit=pairs["target_id"]
    )
    return table[[*EDIT_SET_COLUMNS]].reset_index(drop=True)
