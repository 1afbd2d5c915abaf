"""Edits to learn from: whose face is edited, which picture shows the result, and what it shows.

Where a group of photographs differs in expression alone, each may stand for the edit of another:
its picture is to be made from the other's code and from the other's face with the expression moved.
So errors in the other's parameters are the same before and after, as they will be when somebody
edits a photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.faces.expression import clip_expression
from fer_lib.faces.params import FaceParams

_ASTRAY = 1 / 3


class Edits(NamedTuple):
    """Edits of some faces.

    Attributes:
        source: (P,) int64, the faces that are edited.
        target: (P,) int64, the faces whose pictures show the results; the sources themselves
            where nobody knows them.
        psi: (P,n_expr), the ψ of the edits.
        known: (P,) bool, whether the targets show the results.
    """

    source: Tensor
    target: Tensor
    psi: Tensor
    known: Tensor


@dataclass(frozen=True)
class CodeNoise:
    """How far parameters are led astray before they are drawn, standard deviations.

    Attributes:
        shape: of β, in standard deviations between people.
        expression: of ψ, of a third of the coefficients, drawn at random.
        pose: of every angle in radians.
        scale: of the camera's scale, relative.
        shift: of the camera's shift, fractions of the side.
        light: of light, relative to the mean ambient light.
        albedo: of α, in standard deviations between people.
    """

    shape: float = 0.3
    expression: float = 0.1
    pose: float = 0.02
    scale: float = 0.01
    shift: float = 0.003
    light: float = 0.1
    albedo: float = 0.3


def lead_astray(
    params: FaceParams, names: Sequence[str], generator: torch.Generator, noise: CodeNoise
) -> FaceParams:
    """Give parameters as a mediocre estimator might; on the CPU.

    Args:
        params: B faces.
        names: the model's ``expression_names``.
        generator: of the noise.
        noise: how far.

    Returns:
        B faces; ψ stays in the model's range.
    """

    def normal(like: Tensor, spread: float) -> Tensor:
        return spread * torch.randn(like.shape, generator=generator)

    wrong = torch.rand(params.expression.shape, generator=generator) < _ASTRAY
    psi = params.expression + wrong * normal(params.expression, noise.expression)
    camera = params.camera.clone()
    camera[:, :1] *= normal(camera[:, :1], noise.scale).exp()
    camera[:, 1:3] += normal(camera[:, 1:3], noise.shift)
    ambient = params.light[:, :1].mean(2, keepdim=True).abs()
    return params.replace(
        shape=params.shape + normal(params.shape, noise.shape),
        expression=clip_expression(psi, names),
        pose=params.pose + normal(params.pose, noise.pose),
        camera=camera,
        light=params.light + ambient * normal(params.light, noise.light),
        albedo=params.albedo + normal(params.albedo, noise.albedo),
    )


def group_edits(
    samples: pd.DataFrame,
    codes: FaceParams,
    names: Sequence[str],
    generator: torch.Generator,
    truth: FaceParams | None = None,
) -> Edits:
    """Let every face of a group be the true edit of another one of it, drawn at random.

    Args:
        samples: M rows of a sample table; ``pair`` names the groups.
        codes: M faces as the editor will see them: true, led astray or estimated.
        names: the model's ``expression_names``.
        generator: of the draw.
        truth: M true faces: the edit moves the source's ψ by the true difference. None takes the
            difference of ``codes``, so the ψ of the target.

    Returns:
        At most one edit per face, all known; alone in its group a face is no edit.
    """
    groups, many = pd.factorize(samples["pair"])
    count = np.bincount(groups[groups >= 0], minlength=len(many))
    target = np.flatnonzero((groups >= 0) & (count[groups] > 1))
    order = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[order], groups[target])
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups))
    # From its own place in the group some steps on, at most to the place before it.
    draw = torch.rand(len(target), generator=generator, dtype=torch.float64).numpy()
    size = count[groups[target]]
    on = 1 + (draw * (size - 1)).astype(np.int64)
    places = first + (rank[target] - first + on) % size
    source, target = torch.from_numpy(order[places]), torch.from_numpy(target)
    seen = codes.expression if truth is None else truth.expression
    psi = clip_expression(codes.expression[source] + seen[target] - seen[source], names)
    return Edits(source, target, psi, torch.ones(len(target), dtype=torch.bool))


def borrowed_edits(codes: FaceParams, generator: torch.Generator) -> Edits:
    """Let every face show the expression of another one drawn at random; the results are unknown.

    Args:
        codes: M faces.
        generator: of the draw.

    Returns:
        M edits whose targets are their sources.
    """
    count = len(codes)
    rows = torch.arange(count)
    other = (rows + torch.randint(1, max(count, 2), (count,), generator=generator)) % count
    return Edits(rows, rows, codes.expression[other], torch.zeros(count, dtype=torch.bool))
