"""Charts of tables: counts, confusions, probabilities, training, intervals, errors, speeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_lib.plots.style import INK, MUTED, PALETTE, finish


def class_counts(tables: dict[str, pd.Series]) -> Figure:
    """Show how many samples each class has, one group of bars per table.

    Args:
        tables: name of the table (``"before"``, ``"after"``) → counts by class name.

    Returns:
        The figure.
    """
    names = list(next(iter(tables.values())).index)
    figure = Figure(figsize=(7.5, 0.32 * len(names) * len(tables) ** 0.5 + 1.1), dpi=120)
    axes = figure.add_subplot()
    thickness = 0.8 / len(tables)
    for position, (name, counts) in enumerate(tables.items()):
        heights = np.arange(len(names)) + (position - (len(tables) - 1) / 2) * thickness
        bars = axes.barh(
            heights, counts.to_numpy(float), thickness, label=name, color=PALETTE[position]
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=3, color=MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("images")
    if len(tables) > 1:
        axes.legend(
            frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=len(tables)
        )
    return finish(figure, axes)


def confusion_heatmap(counts: pd.DataFrame, title: str) -> Figure:
    """Show a confusion matrix: colour is the share of the row, numbers are share and count.

    Args:
        counts: rows are true classes, columns predicted ones; a column ``no prediction`` may hold
            samples that failed.
        title: what was recognised by whom.

    Returns:
        The figure; a row without samples stays empty and says n = 0.
    """
    totals = counts.sum(axis=1)
    shares = counts.div(totals.where(totals > 0), axis=0)
    text = [
        [f"{share:.0%}\n{count:.0f}" if count else "" for share, count in zip(s, c, strict=True)]
        for s, c in zip(shares.to_numpy(), counts.to_numpy(), strict=True)
    ]
    figure = Figure(figsize=(0.72 * len(counts.columns) + 2.2, 0.62 * len(counts) + 1.4), dpi=120)
    axes = figure.add_subplot()
    sns.heatmap(
        shares, annot=np.array(text), fmt="", cmap="Blues", vmin=0, vmax=1, ax=axes,
        annot_kws={"fontsize": 7}, linewidths=0.5, linecolor="white",
        cbar_kws={"label": "share of the true class"},
    )
    axes.set_yticklabels(
        [f"{name}  (n = {total:.0f})" for name, total in totals.items()], rotation=0
    )
    axes.set_xticklabels(list(counts.columns), rotation=40, ha="right")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    return finish(figure, axes, spines=False)


def probability_heatmap(table: pd.DataFrame, title: str, row_label: str, digits: int = 2) -> Figure:
    """Show mean probabilities: rows are conditions, columns the judge's classes.

    Args:
        table: fractions.
        title: what was judged by whom.
        row_label: what the rows are.
        digits: decimals of the numbers.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(0.72 * len(table.columns) + 2.2, 0.5 * len(table) + 1.5), dpi=120)
    axes = figure.add_subplot()
    sns.heatmap(
        table, annot=True, fmt=f".{digits}f", cmap="Blues", vmin=0, ax=axes,
        annot_kws={"fontsize": 7}, linewidths=0.5, linecolor="white",
        vmax=max(0.5, float(table.to_numpy().max())), cbar_kws={"label": "mean probability"},
    )
    axes.set_yticklabels(list(table.index), rotation=0)
    axes.set_xticklabels(list(table.columns), rotation=40, ha="right")
    axes.set(xlabel="judged as", ylabel=row_label, title=title)
    return finish(figure, axes, spines=False)


def training_curves(history: pd.DataFrame, columns: Sequence[str], label: str) -> Figure:
    """Show how quantities moved over the epochs of a training.

    Args:
        history: one row per epoch with a column ``epoch``.
        columns: the quantities, one line each.
        label: what the vertical axis is.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6, 2.8), dpi=120)
    axes = figure.add_subplot()
    for colour, column in zip(PALETTE, columns, strict=False):
        axes.plot(history["epoch"], history[column], marker="o", ms=3, color=colour, label=column)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return finish(figure, axes)


def error_curves(table: pd.DataFrame, group: str, column: str, limit: float = 15) -> Figure:
    """Draw, per group, the share of samples whose error is at most x.

    Args:
        table: one row per sample; a NaN error is a sample that was not found and never counts as
            good.
        group: column that names the groups.
        column: column of the errors; its name is the axis.
        limit: where the axis ends.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(5, 3), dpi=120)
    axes = figure.add_subplot()
    for colour, (name, rows) in zip(PALETTE, table.groupby(group), strict=False):
        errors = np.sort(rows[column].dropna().to_numpy())
        shares = np.arange(1, len(errors) + 1) / len(rows)
        x, y = np.append(errors, limit), np.append(shares, shares[-1] if len(shares) else 0)
        axes.step(x, y, where="post", color=colour, label=f"{name} (n = {len(rows)})")
    axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=column, ylabel="share of faces")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return finish(figure, axes)


def speeds(times: pd.DataFrame, unit: str = "faces per second") -> Figure:
    """Draw how fast each way of doing a piece of work was, every round a dot.

    Args:
        times: columns `way` and `per_s`, one row per way and round.
        unit: what is counted.

    Returns:
        The figure.
    """
    ways = list(dict.fromkeys(times["way"]))
    figure = Figure(figsize=(6, 0.5 + 0.45 * len(ways)), dpi=120)
    axes = figure.add_subplot()
    for place, way in enumerate(ways):
        rounds = times.loc[times["way"] == way, "per_s"]
        axes.barh(place, rounds.median(), height=0.6, color=PALETTE[0], alpha=0.35)
        axes.plot(rounds, np.full(len(rounds), place), "o", ms=3, color=PALETTE[0])
        axes.annotate(f"{rounds.median():.3g}", (rounds.max(), place), xytext=(6, 0),
                      textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set(yticks=range(len(ways)), yticklabels=ways, xlabel=unit)
    axes.set_xlim(0, 1.12 * times["per_s"].max())
    axes.invert_yaxis()
    return finish(figure, axes)


def intervals(
    table: pd.DataFrame,
    label: str,
    reference: dict[str, float] | None = None,
    zero: bool = False,
) -> Figure:
    """Show a score with its 95 % interval for each row, and published scores beside them.

    Args:
        table: columns ``value``, ``low``, ``high``, ``n``; the index names the rows.
        label: what the score is.
        reference: published score by row name, drawn as a hollow diamond.
        zero: whether to draw the line at 0, for differences.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 0.38 * len(table) + 1.1), dpi=120)
    axes = figure.add_subplot()
    places = np.arange(len(table))
    values = table["value"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float).T - values)
    axes.errorbar(values, places, xerr=spread, fmt="o", color=PALETTE[0], capsize=3, ms=5)
    for name, published in (reference or {}).items():
        place = list(table.index).index(name)
        axes.plot(published, place, marker="D", mfc="none", color=PALETTE[1], ls="none")
        axes.annotate("published", (published, place), (4, 5), textcoords="offset points",
                      fontsize=7, color=PALETTE[1])
    if zero:
        axes.axvline(0, color=INK, lw=0.8)
    names = [f"{name}  (n = {n:.0f})" for name, n in table["n"].items()]
    axes.set_yticks(places, names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(f"{label}, 95 % interval")
    axes.grid(axis="x", color="#e4e7eb")
    return finish(figure, axes)
