"""Identity kept against emotion reached: what an editor pays for what it gets."""

from __future__ import annotations

from textwrap import fill

import pandas as pd
from matplotlib.figure import Figure

from fer_lib.plots.style import MUTED, PALETTE, finish


def tradeoff(
    identity: pd.DataFrame, emotion: pd.DataFrame, labels: tuple[str, str], title: str
) -> Figure:
    """Draw every editor as a point with both of its intervals.

    Args:
        identity: columns ``value``, ``low``, ``high``, ``n``; one row per editor: how much of the
            person is left.
        emotion: the same editors: how far the emotion was reached.
        labels: of the horizontal (identity) and the vertical axis (emotion).
        title: who judges.

    Returns:
        The figure; the upper right corner is what an editor should reach.
    """
    figure = Figure(figsize=(7.5, 4), dpi=120)
    axes = figure.add_subplot()
    for place, editor in enumerate(identity.index):
        x, y = identity.loc[editor], emotion.loc[editor]
        colour = PALETTE[place % len(PALETTE)]
        axes.errorbar(
            x["value"], y["value"], color=colour, marker="o", ms=6, lw=1.5, capsize=2,
            xerr=[[x["value"] - x["low"]], [x["high"] - x["value"]]],
            yerr=[[y["value"] - y["low"]], [y["high"] - y["value"]]],
            label=f"{editor} (n = {int(y['n'])})",
        )  # fmt: skip
    for line, at in ((axes.axvline, 0), (axes.axvline, 1), (axes.axhline, 0)):
        line(at, color=MUTED, lw=0.7, ls=":")
    # Editors may lie on top of each other, so their names stand aside.
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.margins(x=0.1, y=0.1)
    axes.set(xlabel=labels[0], ylabel=fill(labels[1], 40), title=title)
    return finish(figure, axes)
