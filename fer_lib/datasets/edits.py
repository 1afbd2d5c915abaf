"""Edits whose true result is known: pairs of one person who differ in expression alone.

An edit set names, for each source and target emotion, the image that an editor made. The two
trivial editors need no network: *true edit* shows the counterfactual itself and is the ceiling,
*copy source* shows the unedited face and is the floor.
"""

from __future__ import annotations

import pandas as pd

from fer_lib.tables import EDIT_COLUMNS

TRUE_EDIT, COPY_SOURCE, PHOTOGRAPH = "true edit", "copy source", "no edit (labelled face)"


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


def trivial_edits(index: pd.DataFrame) -> pd.DataFrame:
    """Make the edit sets of the two trivial editors, or list labelled faces where no pairs are.

    Args:
        index: sample table.

    Returns:
        An edit set with the columns ``EDIT_COLUMNS``, ``source_emotion`` and ``subject``; ``image``
        and ``true_edit`` are sample ids. Without counterfactual pairs every labelled face stands
        for itself, under the editor ``no edit (labelled face)``; there also those that failed keep
        their row, so that they count.
    """
    pairs = counterfactual_pairs(index)
    if pairs.empty:
        faces = index[index["emotion"].notna()]
        own = faces.assign(source_id=faces["sample_id"], target_id=faces["sample_id"],
                           source_emotion=faces["emotion"], target_emotion=faces["emotion"])
        return _edit_set(own, PHOTOGRAPH, "source_id")
    editors = {TRUE_EDIT: "target_id", COPY_SOURCE: "source_id"}
    sets = [_edit_set(pairs, editor, image) for editor, image in editors.items()]
    return pd.concat(sets, ignore_index=True)


def _edit_set(pairs: pd.DataFrame, editor: str, image: str) -> pd.DataFrame:
    table = pairs.assign(
        editor=editor, strength=1.0, seed=0, image=pairs[image], true_edit=pairs["target_id"]
    )
    return table[[*EDIT_COLUMNS, "source_emotion", "subject"]].reset_index(drop=True)
