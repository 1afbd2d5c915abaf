"""How far each expression coefficient of a fit can be trusted, and rules that follow from it.

Measured on drawn faces with known ψ: share of its variance that geometry, scores and pixels find.
A (most of it): edit and report. B (about half): edit, report with caution. C: transfer as a group,
never report singly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fer_lib.faces.fitting.scores import stem_of

TIERS: Mapping[str, tuple[str, ...]] = {
    "A": (
        "mouthSmile", "jawOpen", "browOuterUp", "noseSneer", "mouthUpperUp", "mouthLeft",
        "mouthRight",
    ),
    "B": (
        "browInnerUp", "browDown", "eyeWide", "mouthFrown", "mouthFunnel", "eyeBlink",
        "cheekSquint", "mouthDimple",
    ),
}  # fmt: skip
"""Stems of tiers A and B; every other expression is in C."""

ONLY_IF_SCORED = ("mouthRollUpper", "mouthClose")
"""A fit without a score for these uses them for whatever else it cannot explain."""

_SCORED = 0.1


def tier_of(name: str) -> str:
    """Give the tier of an expression mode or score.

    Args:
        name: such as `mouthSmile_L`.

    Returns:
        "A", "B" or "C".
    """
    return next((tier for tier, stems in TIERS.items() if stem_of(name) in stems), "C")


def tie_sides(psi: Tensor, names: Sequence[str], tiers: Sequence[str] = ("C",)) -> Tensor:
    """Give left and right the same value where the sides cannot be told apart.

    Args:
        psi: (B,n_expr).
        names: a model's `expression_names`.
        tiers: in which tiers.

    Returns:
        (B,n_expr) with the mean of both sides in each.
    """
    tied = psi.clone()
    for left, name in enumerate(names):
        other = name.removesuffix("_L") + "_R"
        if name.endswith("_L") and other in names and tier_of(name) in tiers:
            both = [left, names.index(other)]
            tied[:, both] = psi[:, both].mean(1, keepdim=True)
    return tied


def restrain(psi: Tensor, names: Sequence[str], scored: Tensor | None = None) -> Tensor:
    """Take out what only soaks up errors, and hold the lips' closing to the jaw's opening.

    Args:
        psi: (B,n_expr).
        names: a model's `expression_names`.
        scored: (B,n_expr) ψ read from scores; modes of `ONLY_IF_SCORED` stay where it is above
            0.1; by default nowhere.

    Returns:
        (B,n_expr); `mouthClose` is at most `jawOpen`, because its displacement presupposes an open
        jaw.
    """
    index = {name: k for k, name in enumerate(names)}
    kept = psi.clone()
    for name in (n for n in ONLY_IF_SCORED if n in index):
        shown = torch.zeros_like(psi[:, 0]) if scored is None else scored[:, index[name]]
        kept[:, index[name]] *= shown > _SCORED
    if {"mouthClose", "jawOpen"} <= index.keys():
        close, jaw = index["mouthClose"], index["jawOpen"]
        kept[:, close] = torch.minimum(kept[:, close], kept[:, jaw])
    return kept
