"""Figures of two branches and their fusion: sweep of w, the leak, who is right, sample labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_lib.plots.style import INK, MUTED, PALETTE, finish

# Darker than the palette's orange, which is pale for small type.
_RIGHT, _WRONG = PALETTE[0], "#c2553a"
_GRID = "#e4e7eb"
_HONEST = "per-sample"
_PUBLISHED_BATCH = 64
_CELLS = (("both right", "RGB only"), ("landmarks only", "neither"))
_ORACLE = "either right"
_DOTS = {"marker": "o", "ms": 4, "capsize": 2, "lw": 1.3, "elinewidth": 0.8}
_FACE_INCHES = 1.0
_LABEL_INCHES = 1.35
_CASE_INCHES = 1.6


def weight_sweep(
    table: pd.DataFrame,
    published: pd.DataFrame | None = None,
    chosen: float | None = None,
    baseline: Mapping[str, float] | None = None,
    weight_label: str = "w, where the two networks disagree",
) -> Figure:
    """Show accuracy against the weight of the landmark branch, one line per split.

    Args:
        table: columns ``w``, ``split``, ``accuracy`` and, where known, ``low`` and ``high``.
        published: columns ``w`` and ``gain_pt``, drawn as hollow diamonds; wants a baseline, for
            only gains of different data sets can stand beside each other.
        chosen: the weight that was chosen on validation samples, drawn as an upright line.
        baseline: accuracy of the RGB network by split; with it the figure shows gains over it in
            percentage points, as seed 001's Figure 4 does. Bounds move with it; an accuracy's own
            are wider than those of the paired gain.
        weight_label: what the weight is.

    Returns:
        The figure.

    Raises:
        ValueError: published gains are given without a baseline.
    """
    if published is not None and baseline is None:
        raise ValueError("expected the RGB network's accuracy by split beside published gains")
    figure = Figure(figsize=(6, 3.2), dpi=120)
    axes = figure.add_subplot()
    rows = table if baseline is None else _gains_pt(table, baseline)
    _sweep_lines(axes, rows)
    if published is not None:
        axes.plot(published["w"], published["gain_pt"], "D", mfc="none", color=INK, ms=6,
                  label="published, RAF-DB")  # fmt: skip
    if chosen is not None:
        axes.axvline(chosen, color=MUTED, lw=1, ls="--", zorder=0)
        axes.annotate(f"chosen: {chosen:g}", (chosen, 1), (3, 2), fontsize=8, color=MUTED,
                      xycoords=("data", "axes fraction"), textcoords="offset points")  # fmt: skip
    if baseline is None:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        axes.axhline(0, color=INK, lw=0.8, zorder=1)
    label = "overall accuracy" if baseline is None else "gain over the RGB network, points"
    axes.set(xlabel=weight_label, ylabel=label)
    return _with_legend(figure, axes)


def leak_figure(table: pd.DataFrame, title: str = "") -> Figure:
    """Show what the published protocol scores for each order of the test list and batch size.

    Args:
        table: from ``evaluation.leak.leak_curve``; the row ``per-sample`` becomes a level line.
        title: whose answers.

    Returns:
        The figure. Bars are 95 % intervals over samples.
    """
    figure = Figure(figsize=(6.6, 3.4), dpi=120)
    axes = figure.add_subplot()
    rows = table[table["order"] != _HONEST]
    sizes = sorted(rows["batch_size"].unique())
    for honest in table[table["order"] == _HONEST].itertuples():
        axes.axhspan(honest.low, honest.high, color=MUTED, alpha=0.15, lw=0)
        axes.axhline(honest.accuracy, color=INK, lw=1.2, ls="--",
                     label=f"per sample, any order: {honest.accuracy:.1%}")  # fmt: skip
    orders = list(dict.fromkeys(rows["order"]))
    for number, (colour, order) in enumerate(zip(PALETTE, orders, strict=False)):
        own = rows[rows["order"] == order].sort_values("batch_size")
        places = np.array([sizes.index(size) for size in own["batch_size"]])
        axes.errorbar(places + 0.09 * _aside(number, len(orders)), own["accuracy"],
                      yerr=_spread(own, "accuracy"), color=colour,
                      label=_order_name(order, own), **_DOTS)  # fmt: skip
    names = [f"{size}\n(published)" if size == _PUBLISHED_BATCH else str(size) for size in sizes]
    axes.set_xticks(range(len(sizes)), names)
    axes.set(xlabel="test batch size", ylabel="overall accuracy", title=title)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return _with_legend(figure, axes)


def right_wrong(table: pd.DataFrame, published: str = "published, RAF-DB") -> Figure:
    """Show where two networks are right as 2×2 squares, the published ones beside them.

    Args:
        table: from ``evaluation.agreement.right_wrong_table``.
        published: title of the published squares.

    Returns:
        The figure; colour is the share of all samples.
    """
    figure = Figure(figsize=(7.4, 3.3), dpi=120)
    left, right = figure.subplots(1, 2)
    intervals = [f"{row.low:.1%} – {row.high:.1%}" for row in table.itertuples()]
    measured = table.rename(columns={"count": "n"})[["n", "share"]].assign(note=intervals)
    theirs = table[["published_count", "published_share"]].set_axis(["n", "share"], axis=1)
    _squares(left, measured, "measured")
    _squares(right, theirs.assign(note=""), published)
    finish(figure, right, spines=False)
    return finish(figure, left, spines=False)


def label_strip(
    images: Sequence[np.ndarray], table: pd.DataFrame, titles: Mapping[str, str] | None = None
) -> Figure:
    """Show faces with their true label and what each recogniser says, right or wrong.

    Args:
        images: one (H, W, 3) uint8 RGB face per row of the table.
        table: from ``evaluation.agreement.sample_labels``.
        titles: recogniser's column → heading, in the order wanted; by default all recognisers of
            the table under their own names.

    Returns:
        The figure; a right label is blue with a tick, a wrong one orange with a cross.

    Raises:
        ValueError: there is not one image per row, or no row at all.
    """
    if len(images) != len(table) or not len(table):
        raise ValueError(f"expected one image per row, got {len(images)} for {len(table)} rows")
    titles = titles or {name: name for name in table if f"{name}_p" in table}
    widths = [_FACE_INCHES, *[_LABEL_INCHES] * (len(titles) + 1), _CASE_INCHES]
    head, height = 0.3, len(table) * _FACE_INCHES + 0.3
    figure = Figure(figsize=(sum(widths), height), dpi=120)
    edges = np.cumsum([0, *widths])
    centres = (edges[1:-2] + edges[2:-1]) / 2
    for x, heading in zip(centres, ["true", *titles.values()], strict=True):
        _write(figure, x, height - head / 2, heading, INK, weight="bold")
    for number, (image, (_, row)) in enumerate(zip(images, table.iterrows(), strict=True)):
        bottom = height - head - (number + 1) * _FACE_INCHES
        _face(figure, image, bottom)
        middle = bottom + _FACE_INCHES / 2
        _write(figure, centres[0], middle, row["true"], INK)
        for x, name in zip(centres[1:], titles, strict=True):
            _write(figure, x, middle, *_verdict(row, name))
        _write(figure, edges[-2] + 0.05, middle, _case(row), MUTED, ha="left", size=8)
    return figure


def _gains_pt(table: pd.DataFrame, baseline: Mapping[str, float]) -> pd.DataFrame:
    columns = [name for name in ("accuracy", "low", "high") if name in table]
    levels = table["split"].map(baseline)
    return table.assign(**{name: 100 * (table[name] - levels) for name in columns})


def _sweep_lines(axes: Axes, table: pd.DataFrame) -> None:
    step = np.ptp(table["w"]) / max(table["w"].nunique() - 1, 1)
    groups = list(table.groupby("split", sort=False))
    for number, (colour, (name, rows)) in enumerate(zip(PALETTE, groups, strict=False)):
        rows = rows.sort_values("w")
        places = rows["w"] + 0.14 * step * _aside(number, len(groups))
        spread = _spread(rows, "accuracy") if {"low", "high"} <= set(rows) else None
        axes.errorbar(places, rows["accuracy"], yerr=spread, color=colour, label=name, **_DOTS)


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return finish(figure, axes)


def _aside(number: int, count: int) -> float:
    """Place one of several error bars beside the others, so that none hides another."""
    return number - (count - 1) / 2


def _spread(rows: pd.DataFrame, column: str) -> np.ndarray:
    return np.abs(rows[["low", "high"]].to_numpy(float).T - rows[column].to_numpy(float))


def _order_name(order: str, rows: pd.DataFrame) -> str:
    told = {"file": "file order", "sorted": "sorted by class"}
    seeds = rows["seeds"].max()
    return told.get(order, f"shuffled, mean of {seeds}" if seeds > 1 else order)


def _squares(axes: Axes, table: pd.DataFrame, title: str) -> None:
    shares = table.loc[np.ravel(_CELLS), "share"].to_numpy(float).reshape(2, 2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, names in enumerate(_CELLS):
        for column, name in enumerate(names):
            cell = table.loc[name]
            text = f"{cell['n']:,.0f}\n{cell['share']:.1%}" + f"\n{cell['note']}".rstrip()
            axes.text(column, row, text, ha="center", va="center", fontsize=9,
                      color="white" if cell["share"] > 0.6 else INK)  # fmt: skip
    axes.set_xticks((0, 1), ("landmarks right", "landmarks wrong"))
    axes.set_yticks((0, 1), ("RGB\nright", "RGB\nwrong"))
    axes.spines[:].set_visible(False)
    axes.set_aspect("auto")
    total = table.loc[np.ravel(_CELLS), "n"].sum()
    oracle = table.loc[_ORACLE, "share"]
    axes.set_title(f"{title} (n = {total:,.0f})\nat least one right: {oracle:.1%}")


def _face(figure: Figure, image: np.ndarray, bottom: float) -> None:
    width, height = figure.get_size_inches()
    side = _FACE_INCHES - 0.06
    axes = figure.add_axes((0.03 / width, (bottom + 0.03) / height, side / width, side / height))
    axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
    axes.set_axis_off()


def _write(
    figure: Figure, x: float, y: float, text: str, colour: str, ha: str = "center",
    size: float = 9, weight: str = "normal",
) -> None:  # fmt: skip
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, color=colour, ha=ha, va="center", fontsize=size,
                fontweight=weight)  # fmt: skip


def _verdict(row: pd.Series, name: str) -> tuple[str, str]:
    right = row[name] == row["true"]
    share = row[f"{name}_p"]
    text = f"{'✓' if right else '✗'} {row[name]}"
    return text if np.isnan(share) else f"{text}\n{share:.0%}", _RIGHT if right else _WRONG


def _case(row: pd.Series) -> str:
    first, _, rest = row["case"].partition(", ")
    lines = [first + ("," if rest else ""), rest, f"({row['case_count']:,} samples)"]
    return "\n".join(line for line in lines if line)
