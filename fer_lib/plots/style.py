"""What all figures share: colours, and a last touch to the axes."""

from __future__ import annotations

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#7b8794"
PALETTE = ("#2a6f97", "#e07a5f", "#81b29a", "#b5838d", "#f2cc8f", "#3d405b")


def finish(figure: Figure, axes: Axes, spines: bool = True) -> Figure:
    """Set type sizes and take away what carries no information.

    Args:
        figure: the figure.
        axes: its axes.
        spines: whether the upper and right frame lines go.

    Returns:
        The same figure.
    """
    axes.tick_params(labelsize=8, length=0)
    axes.title.set_size(10)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)
    if spines:
        sns.despine(ax=axes)
    figure.tight_layout()
    return figure
