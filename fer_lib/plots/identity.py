"""Identity: where one person, strangers and edits lie on the cosine of an embedder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lib.evaluation.identity_calibration import Calibration
from fer_lib.plots.style import INK, MUTED, PALETTE, finish

_BINS = 50
_ROW = 0.28


def identity_histogram(
    calibration: Calibration, edits: Mapping[str, np.ndarray] | None = None, title: str = ""
) -> Figure:
    """Draw the cosines of one person and of strangers, and every edit on the same axis below.

    Args:
        calibration: of the embedder, on faces like those that were edited.
        edits: editor → (N,) CSIM of its edits, NaN where a face could not be aligned.
        title: which embedder, on which faces.

    Returns:
        The figure. The dashed line is the EER threshold; a tick is an edit, the dot the editor's
        mean.
    """
    edits = edits or {}
    rows = _ROW * len(edits) + 0.2 * bool(edits)
    figure = Figure(figsize=(7, 2.8 + rows), dpi=120)
    panels = figure.subplots(
        1 + bool(edits), sharex=True, squeeze=False, height_ratios=[2.2, rows][: 1 + bool(edits)]
    )[:, 0]
    threshold = calibration.statistics["eer_threshold"].value
    _draw_pairs(panels[0], calibration)
    panels[0].set_title(title, pad=18)
    panels[0].text(
        threshold - 0.01, 0.97, f"EER threshold {threshold:.2f}", fontsize=8, color=INK,
        ha="right", va="top", transform=panels[0].get_xaxis_transform(),
    )  # fmt: skip
    panels[-1].set_xlabel("cosine of two faces (CSIM)")
    if edits:
        _draw_edits(panels[1], edits)
    for axes in panels:
        axes.axvline(threshold, color=INK, lw=1, ls="--")
        finish(figure, axes)
    return figure


def _draw_pairs(axes: Axes, calibration: Calibration) -> None:
    low = min(calibration.impostor.min(), calibration.genuine.min())
    edges = np.linspace(np.floor(low * 10) / 10, 1, _BINS + 1)
    both = (
        ("strangers", calibration.impostor, PALETTE[1], 0, "left"),
        ("one person", calibration.genuine, PALETTE[0], 1, "right"),
    )
    for name, pairs, colour, side, align in both:
        axes.hist(pairs, edges, density=True, color=colour, alpha=0.75)
        label = f"{name}: {len(pairs):,} pairs, mean {pairs.mean():.3f}"
        axes.text(side, 1.03, label, fontsize=8, color=colour, ha=align, transform=axes.transAxes)
    axes.set(ylabel="density", xlim=(edges[0], 1.03))


def _draw_edits(axes: Axes, edits: Mapping[str, np.ndarray]) -> None:
    labels = []
    for place, (name, csim) in enumerate(edits.items()):
        known = csim[np.isfinite(csim)]
        axes.vlines(known, place - 0.3, place + 0.3, color=MUTED, lw=0.8, alpha=0.7)
        if len(known):
            axes.plot(known.mean(), place, "o", ms=5, color=INK, mec="white", mew=0.8)
        lost = f", {len(csim) - len(known)} not aligned" if len(known) < len(csim) else ""
        labels.append(f"{name}  (n = {len(csim)}{lost})")
    axes.set_yticks(range(len(labels)), labels, color=MUTED)
    axes.set_ylim(len(labels) - 0.5, -0.5)
