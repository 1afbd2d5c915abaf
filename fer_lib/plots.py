"""Figures: tables and images in, a matplotlib Figure out. Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_INK = "#1f2933"
_MUTED = "#7b8794"
_PALETTE = ("#2a6f97", "#e07a5f", "#81b29a", "#b5838d", "#f2cc8f", "#3d405b")


def contact_sheet(
    images: Sequence[np.ndarray | None],
    columns: int,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    landmarks_px: np.ndarray | None = None,
    inches_per_image: float = 1.2,
) -> Figure:
    """Lay images out in a grid, row by row.

    Args:
        images: N images ``(H, W, 3)`` uint8 RGB; None leaves a place empty.
        columns: images in a row.
        column_titles: a title for each column, or none.
        row_titles: a title for each row, or none.
        landmarks_px: ``(N, K, 2)`` points to draw, in pixels of the images; NaN is left out.
        inches_per_image: side of one image on paper.

    Returns:
        The figure.
    """
    rows = -(-len(images) // columns)
    left = 0.9 if row_titles else 0.0
    top = 0.3 if column_titles else 0.0
    width, height = columns * inches_per_image + left, rows * inches_per_image + top
    figure = Figure(figsize=(width, height), dpi=120)
    grid = figure.add_gridspec(
        rows, columns, left=left / width, right=1, bottom=0, top=1 - top / height,
        wspace=0.03, hspace=0.03,
    )
    for index, image in enumerate(images):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if image is not None:
            axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        if image is not None and landmarks_px is not None:
            points = landmarks_px[index]
            area = 2.5 if len(points) > 5 else 9
            axes.scatter(*points.T, s=area, c="#39ff14", linewidths=0)
            # A landmark may lie outside its crop; the picture keeps its size all the same.
            axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
        if index < len(column_titles):
            axes.set_title(column_titles[index], fontsize=8, color=_INK, pad=3)
        if index % columns == 0 and index // columns < len(row_titles):
            axes.set_ylabel(
                row_titles[index // columns], fontsize=8, rotation=0, ha="right", va="center"
            )
    return figure


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
            heights, counts.to_numpy(float), thickness, label=name, color=_PALETTE[position]
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=3, color=_MUTED)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("images")
    if len(tables) > 1:
        axes.legend(
            frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=len(tables)
        )
    return _finish(figure, axes)


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
    return _finish(figure, axes, spines=False)


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
    return _finish(figure, axes, spines=False)


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
    for colour, column in zip(_PALETTE, columns, strict=False):
        axes.plot(history["epoch"], history[column], marker="o", ms=3, color=colour, label=column)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return _finish(figure, axes)


def intervals(table: pd.DataFrame, label: str, reference: dict[str, float] | None = None) -> Figure:
    """Show a score with its 95 % interval for each row, and published scores beside them.

    Args:
        table: columns ``value``, ``low``, ``high``, ``n``; the index names the rows.
        label: what the score is.
        reference: published score by row name, drawn as a hollow diamond.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(6.5, 0.38 * len(table) + 1.1), dpi=120)
    axes = figure.add_subplot()
    places = np.arange(len(table))
    values = table["value"].to_numpy(float)
    spread = np.abs(table[["low", "high"]].to_numpy(float).T - values)
    axes.errorbar(values, places, xerr=spread, fmt="o", color=_PALETTE[0], capsize=3, ms=5)
    for name, published in (reference or {}).items():
        place = list(table.index).index(name)
        axes.plot(published, place, marker="D", mfc="none", color=_PALETTE[1], ls="none")
        axes.annotate("published", (published, place), (4, 5), textcoords="offset points",
                      fontsize=7, color=_PALETTE[1])
    names = [f"{name}  (n = {n:.0f})" for name, n in table["n"].items()]
    axes.set_yticks(places, names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(f"{label}, 95 % interval")
    axes.grid(axis="x", color="#e4e7eb")
    return _finish(figure, axes)


def _finish(figure: Figure, axes: Axes, spines: bool = True) -> Figure:
    axes.tick_params(labelsize=8, length=0)
    axes.title.set_size(10)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)
    if spines:
        sns.despine(ax=axes)
    figure.tight_layout()
    return figure
