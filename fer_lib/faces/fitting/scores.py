"""The mesh's 52 expression scores as what is known of ψ before the points are seen.

Scores and expression modes are both ARKit's, so they meet by name; `Left` is `_L`. A score is no
ψ: it rests above 0 on neutral faces, and five of them hardly ever move.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fer_lib.faces.fitting.problem import FitPrior
from fer_lib.faces.mesh_points import ARKIT_NAMES
from fer_lib.faces.morphable import MorphableModel

DEAD = ("cheekPuff", "cheekSquint", "jawForward", "mouthClose", "noseSneer")
"""Expressions whose scores do not move on photographs; they say nothing about ψ."""

_SIDES = {"Left": "_L", "Right": "_R"}
_ONE_SIDED = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


def stem_of(name: str) -> str:
    """Give an expression's name without its side.

    Args:
        name: an ICT mode (`mouthSmile_L`) or a score (`mouthSmileLeft`).

    Returns:
        Such as `mouthSmile`; `jawLeft` is a direction and stays.
    """
    if name in _ONE_SIDED:
        return name
    for word, suffix in _SIDES.items():
        name = name.removesuffix(word).removesuffix(suffix)
    return name


def modes_of_score(score: str, names: Sequence[str]) -> tuple[int, ...]:
    """Give the expression modes that one score speaks of.

    Args:
        score: one of `ARKIT_NAMES`.
        names: a model's `expression_names`.

    Returns:
        Their numbers: one, two where the score has no side and the model has (`browInnerUp`), none
        for `_neutral`.

    Raises:
        ValueError: the score is unknown.
    """
    if score not in ARKIT_NAMES:
        raise ValueError(f"expected one of the 52 scores, got {score!r}")
    stem = stem_of(score)
    side = next((s for word, s in _SIDES.items() if score == stem + word), None)
    wanted = {stem, *(stem + s for s in _SIDES.values())} if side is None else {stem + side}
    return tuple(k for k, name in enumerate(names) if name in wanted)


def psi_of_scores(scores: Tensor, names: Sequence[str], resting: Tensor | None = None) -> Tensor:
    """Read scores as expression coefficients.

    Args:
        scores: (B,52) in [0, 1], in the order of `ARKIT_NAMES`.
        names: a model's `expression_names`.
        resting: (52,) scores of neutral faces, taken off; by default 0.

    Returns:
        (B,n_expr) ψ in [0, 1]; 0 where no score speaks of a mode.

    Raises:
        ValueError: there are not 52 scores.
    """
    if scores.shape[-1] != len(ARKIT_NAMES):
        raise ValueError(f"expected {len(ARKIT_NAMES)} scores, got {scores.shape[-1]}")
    moved = (scores if resting is None else scores - resting.to(scores)).clamp(0, 1)
    psi = scores.new_zeros(len(scores), len(names))
    for column, score in enumerate(ARKIT_NAMES):
        for mode in modes_of_score(score, names):
            psi[:, mode] = moved[:, column]
    return psi


def score_prior(
    model: MorphableModel,
    scores: Tensor,
    resting: Tensor | None = None,
    sigma: float = 0.3,
    rate: float = 4.0,
) -> FitPrior:
    """Prior on ψ around the scores; β ~ N(0, 1).

    Args:
        model: with ICT's expression names.
        scores: (B,52); a row with NaN (no mesh) says nothing.
        resting: (52,) scores of neutral faces, such as their median.
        sigma: standard deviation of ψ about its score.
        rate: of the exponential prior that dead and unscored modes have instead.

    Returns:
        A prior with B rows.
    """
    names = model.expression_names
    known = scores.isfinite().all(1, keepdim=True)
    mean = psi_of_scores(torch.where(known, scores, 0.0), names, resting)
    alive = known & mean.new_tensor([stem_of(name) not in DEAD for name in names]).bool()
    weak = FitPrior.weak(model, rate).rows(len(scores), scores)
    return FitPrior(
        weak.beta_mean,
        weak.beta_var,
        torch.where(alive, mean, 0.0),
        torch.where(alive, sigma**2, torch.inf),
        torch.where(alive, 0.0, weak.psi_rate),
    )
