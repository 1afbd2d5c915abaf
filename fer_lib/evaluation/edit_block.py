"""The score block: every score of every editor with n and a 95 % interval, and who beats whom.

Whole source persons are resampled: edits of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_lib.datasets.edit_sets import BLURRED
from fer_lib.datasets.edits import COPY_SOURCE, STRANGER, TRUE_EDIT
from fer_lib.evaluation.intervals import Interval, bootstrap_interval, bootstrap_sums
from fer_lib.evaluation.scoreboard import metric_name
from fer_lib.labels import EMOTIONS

OVERALL = "all"
_TAILS = (2.5, 97.5)
_ZERO = 1e-9
_SAME_EDIT = ["source_id", "target_emotion", "subject"]


class Order(NamedTuple):
    """What a person would say: by this score the first editor is better than the second."""

    axis: str
    metric: str
    higher: str
    lower: str


CONTROLS = (
    Order("emotion", "probability_gain", TRUE_EDIT, COPY_SOURCE),
    Order("emotion", "probability_gain", TRUE_EDIT, BLURRED),
    Order("emotion", "probability_gain", STRANGER, COPY_SOURCE),
    Order("identity", "csim", COPY_SOURCE, TRUE_EDIT),
    Order("identity", "csim", TRUE_EDIT, STRANGER),
    Order("identity", "csim", BLURRED, STRANGER),
    Order("likeness to the true edit", "true_ssim", COPY_SOURCE, STRANGER),
    Order("likeness to the true edit", "true_psnr_db", COPY_SOURCE, STRANGER),
    Order("likeness to the true edit", "true_psnr_db", COPY_SOURCE, BLURRED),
    Order("likeness to the true edit", "true_lpips_.*", STRANGER, COPY_SOURCE),
    Order("likeness to the true edit", "true_lpips_.*", BLURRED, COPY_SOURCE),
    Order("surroundings", "background_psnr_db", TRUE_EDIT, STRANGER),
    Order("shape", "true_landmarks_pct_iod", STRANGER, COPY_SOURCE),
    Order("shape", "bridge_drift_pct_iod", STRANGER, TRUE_EDIT),
)
"""Editors of known worth in the order in which every axis should rank them; that the true edit is
like itself is left out. By LPIPS and the shape the higher is the worse. PSNR may prefer a
blurred picture to a sharp one that is slightly off, and then says so in this table."""


def summarise_edits(scores: pd.DataFrame, *, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Average every score per editor, over all targets and for each of them.

    Args:
        scores: score tables, see `edit_scores`.
        draws: resamples of the bootstrap, which draws whole persons.
        seed: of the bootstrap.

    Returns:
        ``editor``, ``emotion`` (``all`` or the target), ``metric``, ``by``, ``value``, ``low``,
        ``high``, ``n`` (edits measured), ``missing`` (edits without a value) and ``infinite``
        (identical pictures' dB, left out of a mean unless there is nothing else). Beside each
        ``…_mse`` stands ``…_psnr_pooled_db``, the dB of the mean squared error; the mean of dB
        per picture is larger (Jensen).
    """
    everything = scores.assign(emotion=OVERALL)
    each = scores.assign(emotion=scores["target_emotion"])
    order = {name: place for place, name in enumerate((OVERALL, *EMOTIONS))}
    tables = []
    for (editor, emotion), part in pd.concat([everything, each]).groupby(
        ["editor", "emotion"], sort=False
    ):
        tables.append(_means(part, draws, seed).assign(editor=editor, emotion=emotion))
    table = pd.concat([*tables, *map(_pooled_psnr, tables)], ignore_index=True)
    table = table.sort_values("emotion", key=lambda names: names.map(order), kind="stable")
    columns = ["editor", "emotion", "metric", "by", *Interval._fields, "missing", "infinite"]
    return table[columns].reset_index(drop=True)


def difference(
    scores: pd.DataFrame, metric: str, by: str, first: str, second: str, *, seed: int = 0
) -> Interval:
    """Give the mean difference in a score of two editors on the same edits, paired.

    Args:
        scores: score tables.
        metric: which score.
        by: who says so.
        first: editor.
        second: editor whose score is subtracted.
        seed: of the bootstrap, which draws whole persons.

    Returns:
        The difference; several edits of one source towards one target count as their mean. Edits
        that one of them has not made, or that have no finite score, take no part; n says how many
        do.
    """
    own = scores[(scores["metric"] == metric) & (scores["by"] == by)]
    sides = [
        own[own["editor"] == name].groupby(_SAME_EDIT, sort=False)["value"].mean()
        for name in (first, second)
    ]
    gap = (sides[0] - sides[1]).replace([np.inf, -np.inf], np.nan).dropna()
    return bootstrap_interval(
        np.column_stack([gap, np.ones(len(gap))]),
        lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1),
        gap.index.get_level_values("subject"),
        seed=seed,
    )


def check_controls(
    scores: pd.DataFrame, orders: Sequence[Order] = CONTROLS, *, seed: int = 0
) -> pd.DataFrame:
    """Say whether every score ranks editors of known worth as a person would.

    Args:
        scores: score tables that hold the trivial editors.
        orders: what is expected; a metric may be a pattern, such as for all LPIPS networks.
        seed: of the bootstrap.

    Returns:
        One row per expectation and judge, embedder or network: ``axis``, ``metric``, ``by``,
        ``higher``, ``lower``, ``value``, ``low``, ``high`` (higher minus lower, paired), ``n`` and
        ``as_expected``: ``yes`` where the interval lies above 0, ``no`` where it lies below,
        ``open`` where it holds 0.
    """
    rows = []
    for order in orders:
        named = scores["metric"].str.fullmatch(order.metric)
        kinds = scores.loc[named, ["metric", "by"]].drop_duplicates()
        for metric, by in kinds.itertuples(index=False):
            gap = difference(scores, metric, by, order.higher, order.lower, seed=seed)
            if gap.n:
                verdict = "yes" if gap.low > 0 else "no" if gap.high < 0 else "open"
                rows.append({**order._asdict(), "metric": metric, "by": by, **gap._asdict(),
                             "as_expected": verdict})  # fmt: skip
    return pd.DataFrame(rows)


def score_intervals(
    summary: pd.DataFrame, metric: str, by: str = "", emotion: str = OVERALL
) -> pd.DataFrame:
    """Take one score of every editor in the form that ``plots`` draws.

    Returns:
        Rows are editors; columns ``value``, ``low``, ``high``, ``n``; editors without a finite
        value are left out.
    """
    chosen = summary[
        (summary["metric"] == metric) & (summary["by"] == by) & (summary["emotion"] == emotion)
    ]
    rows = chosen.set_index("editor")[[*Interval._fields]].rename_axis(index=None)
    return rows[np.isfinite(rows["value"])]


def block_metrics(
    summary: pd.DataFrame, metrics: Sequence[str], prefix: str
) -> dict[str, Interval]:
    """Name the scores over all targets as ``metrics.json`` wants them.

    Args:
        summary: from ``summarise_edits``.
        metrics: the scores, in order.
        prefix: put before each name, such as the store's.

    Returns:
        ``<prefix>_<by>_<editor>_<metric>`` → value with interval; what has no finite value is left
        out.
    """
    return {
        metric_name(prefix, by, editor, metric): Interval(*map(float, row[:3]), int(row["n"]))
        for metric in metrics
        for by in dict.fromkeys(summary.loc[summary["metric"] == metric, "by"])
        for editor, row in score_intervals(summary, metric, by).iterrows()
    }


def block_table(
    summary: pd.DataFrame, metrics: Sequence[str], emotion: str = OVERALL, by: str | None = None
) -> pd.DataFrame:
    """Lay the block out for reading: a row per editor, a column per score, intervals in brackets.

    Args:
        summary: from ``summarise_edits``.
        metrics: the scores, in order; those that nobody measured are left out.
        emotion: the target, or ``all``.
        by: one judge, embedder or network; None takes all, named in the column's head.

    Returns:
        Text such as ``0.71 [0.66, 0.75]``, with its n where it is not the row's; an empty cell was
        not measured.
    """
    chosen = summary[(summary["emotion"] == emotion) & summary["metric"].isin(list(metrics))]
    chosen = chosen if by is None else chosen[chosen["by"].isin([by, ""])]
    heads = chosen["metric"] + chosen["by"].map(lambda name: f" ({name})" if name else "")
    place = chosen["metric"].map(list(metrics).index)
    columns = pd.DataFrame({"head": heads, "place": place}).sort_values("place", kind="stable")
    table = _text_table(chosen.assign(head=heads), "editor", "head")
    return table[columns["head"].unique()]


def emotion_table(summary: pd.DataFrame, metric: str, by: str = "") -> pd.DataFrame:
    """Lay one score out by target emotion: a row per target, a column per editor, as text."""
    chosen = summary[
        (summary["metric"] == metric) & (summary["by"] == by) & (summary["emotion"] != OVERALL)
    ]
    return _text_table(chosen, "emotion", "editor").rename_axis(index=metric)


def _text_table(rows: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """Lay scores out as text; a row's head has its n, a cell with another n has its own."""
    most = rows.groupby(index)["n"].max()
    text = [_text(row, most[getattr(row, index)]) for row in rows.itertuples()]
    table = rows.assign(text=text).pivot(index=index, columns=columns, values="text").fillna("")
    table = table.reindex(index=rows[index].unique(), columns=rows[columns].unique())
    return table.rename(lambda name: f"{name} (n = {most[name]})").rename_axis(
        index=None, columns=None
    )


def _means(part: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """All scores of one editor and target in one resampling."""
    wide = part.pivot(index=[*_SAME_EDIT, "image"], columns=["metric", "by"], values="value")
    values = wide.to_numpy(float)
    known, infinite = np.isfinite(values), np.isinf(values)
    sums = np.hstack([np.where(known, values, 0), known.astype(float)])
    people = wide.index.get_level_values("subject")
    drawn = bootstrap_sums(sums, people if people.notna().all() else None, draws, seed)
    half = values.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0)[:half] / known.sum(axis=0)
        low, high = _percentiles(drawn[:, :half] / drawn[:, half:])
    identical = infinite.any(axis=0) & ~known.any(axis=0)
    mean, low, high = (np.where(identical, np.inf, edge) for edge in (mean, low, high))
    n = np.where(identical, infinite.sum(axis=0), known.sum(axis=0))
    return wide.columns.to_frame(index=False).assign(
        value=mean, low=np.fmin(low, mean), high=np.fmax(high, mean), n=n,
        missing=np.isnan(values).sum(axis=0), infinite=infinite.sum(axis=0),
    )  # fmt: skip


def _pooled_psnr(means: pd.DataFrame) -> pd.DataFrame:
    errors = means[means["metric"].str.endswith("_mse")]
    with np.errstate(divide="ignore"):
        # More error is fewer dB, so the ends change places.
        decibels = {name: -10 * np.log10(errors[of]) for name, of in
                    (("value", "value"), ("low", "high"), ("high", "low"))}  # fmt: skip
    return errors.assign(metric=errors["metric"].str.replace("_mse", "_psnr_pooled_db"), **decibels)


def _percentiles(resampled: np.ndarray) -> np.ndarray:
    edges = np.full((2, resampled.shape[1]), np.nan)
    measured = np.isfinite(resampled).any(axis=0)
    edges[:, measured] = np.nanpercentile(resampled[:, measured], _TAILS, axis=0)
    return edges


def _text(row: tuple, most: int) -> str:
    fewer = "" if row.n == most else f", n = {row.n}"
    if np.isnan(row.value):
        return ""
    if np.isinf(row.value):
        return f"identical{fewer}"
    # Rounding errors of exact zeros are not worth an exponent.
    value, low, high = (0 if abs(edge) < _ZERO else edge for edge in (row.value, row.low, row.high))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]{fewer}"
