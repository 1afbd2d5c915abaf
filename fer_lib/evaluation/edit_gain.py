"""How much nearer an edit comes to the true edit than its source already is.

Copying the source is no edit, and yet near: only what is gained over it says that something was
edited well. Scores are rows of a score table (see `edit_scores`), at the size that the editor works
in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_lib.datasets.edits import COPY_SOURCE
from fer_lib.evaluation.edit_block import difference
from fer_lib.evaluation.edit_scores import EDIT_KEY
from fer_lib.evaluation.image_pairs import check_pair, region_means, stack_regions, unit_range
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.scoreboard import metric_name

# No byte is known better than to its rounding: identical pictures are as near as that, 58.9 dB.
_LEAST_MSE = 1 / 255**2 / 12


def psnr_db(
    images: NDArray[np.uint8], references: NDArray[np.uint8], masks: Tensor | None = None
) -> NDArray[np.float64]:
    """Give the PSNR of each pair, of identical bytes 58.9 dB, their rounding error.

    Args:
        images: (N, S, S, 3) uint8 RGB.
        references: the same shape.
        masks: (N, S, S) in [0, 1], the pixels that count; None counts all.

    Returns:
        (N,) dB; NaN where no pixel counts.

    Raises:
        ValueError: no such pictures or masks.
    """
    first, second = check_pair(images, references)
    _, weights = stack_regions({} if masks is None else {"chosen": masks}, first)
    errors = (unit_range(first, torch.float64) - unit_range(second, torch.float64)).square().mean(1)
    mse = region_means(errors, weights)[:, -1].numpy()
    return -10 * np.log10(np.maximum(mse, _LEAST_MSE))


def gain_scores(
    edits: pd.DataFrame,
    images: NDArray[np.uint8],
    sources: NDArray[np.uint8],
    true_edits: NDArray[np.uint8],
    faces: Tensor,
) -> pd.DataFrame:
    """Score edits whose true result is known.

    Args:
        edits: N edits of one or more editors.
        images: (N, S, S, 3) uint8 RGB, what the editors made.
        sources: the pictures that they were given.
        true_edits: the same persons really showing the target.
        faces: (N, S, S) in [0, 1], the face in source and true edit together.

    Returns:
        A score table: ``edit_psnr_db`` and ``edit_psnr_face_db`` (to the true edit, whole and
        face), ``edit_gain_db`` and ``edit_gain_face_db`` (the same less that of the source), and
        ``change_psnr_db`` (to the source: how little was changed).
    """
    scores = {}
    for name, masks in (("", None), ("face_", faces)):
        reached = psnr_db(images, true_edits, masks)
        scores[f"edit_psnr_{name}db"] = reached
        scores[f"edit_gain_{name}db"] = reached - psnr_db(sources, true_edits, masks)
    return score_rows(edits, scores | {"change_psnr_db": psnr_db(images, sources)})


def score_rows(
    edits: pd.DataFrame, scores: dict[str, NDArray[np.floating]], by: str = ""
) -> pd.DataFrame:
    """Bring scores of N edits into the form of a score table.

    Args:
        edits: N edits.
        scores: (N,) values by metric.
        by: who says so.
    """
    key = edits[[*EDIT_KEY]].reset_index(drop=True)
    parts = [key.assign(metric=name, by=by, value=values) for name, values in scores.items()]
    return pd.concat(parts, ignore_index=True)


def gain_table(
    scores: pd.DataFrame,
    metric: str = "edit_psnr_face_db",
    reference: str = COPY_SOURCE,
    *,
    by: str = "",
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every editor with one of them on the same edits.

    Args:
        scores: a score table that holds the reference.
        metric: what is compared.
        reference: the editor whose score is subtracted.
        by: who says so.
        seed: of the bootstrap, which draws whole persons.

    Returns:
        Rows are the other editors in their order; ``value``, ``low``, ``high``, ``n``, and
        ``verdict``: ``above`` or ``below`` where the interval leaves out 0, else ``open``.
    """
    own = scores[(scores["metric"] == metric) & (scores["by"] == by)]
    editors = [name for name in own["editor"].unique() if name != reference]
    rows = {name: difference(scores, metric, by, name, reference, seed=seed) for name in editors}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=Interval._fields)
    beyond = [table["low"] > 0, table["high"] < 0]
    return table.assign(verdict=np.select(beyond, ["above", "below"], "open"))


def edit_gains(
    scores: pd.DataFrame,
    editor: str,
    rivals: Sequence[str] = (),
    *,
    suffix: str = "",
    seed: int = 0,
) -> dict[str, Interval]:
    """Name an editor's gains as ``metrics.json`` wants them.

    Args:
        scores: a score table with this editor, copy-source and the rivals.
        editor: whose gains.
        rivals: editors that it should beat.
        suffix: such as ``predicted``; stands before the unit.
        seed: of the bootstrap.

    Returns:
        ``edit_gain_db``, ``edit_gain_face_db`` over copy-source, and
        ``edit_gain_face_over_<rival>_db``; of a suffix, as ``edit_gain_face_predicted_db``.
    """
    # A remark in brackets after a rival's name is no part of the metric's.
    over = {"": COPY_SOURCE} | {f"over {name.partition(' (')[0]}": name for name in rivals}
    whole = difference(scores, "edit_psnr_db", "", editor, COPY_SOURCE, seed=seed)
    face = {
        metric_name("edit gain face", suffix, name, "db"): difference(
            scores, "edit_psnr_face_db", "", editor, other, seed=seed
        )
        for name, other in over.items()
    }
    return {metric_name("edit gain", suffix, "db"): whole} | face
