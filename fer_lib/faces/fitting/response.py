"""How the landmark mesh answers to a face: less, or elsewhere, than the surface moves.

The network shrinks what it sees towards the faces it knows. What its points do beyond their places
on the surface is learned from drawn faces as a linear function of β and ψ (ridge regression, which
is the posterior mean for independent coefficients), the same on both sides of the face.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.morphable import MorphableModel

# Variance of the points' noise over that of the coefficients of β, and of the sparser ψ.
_RIDGE_SHAPE, _RIDGE_EXPRESSION = 120.0, 4.0


class Mirror(NamedTuple):
    """What a model's tables become in a mirror.

    Attributes:
        vertices: (V,) the vertex on the other side.
        signs: (n_shape,) 1 or -1 by which β is multiplied.
        modes: (n_expr,) the expression mode on the other side.
        mode_signs: (n_expr,) 1, or -1 for a mode that is its own opposite, such as a gaze.
    """

    vertices: Tensor
    signs: Tensor
    modes: Tensor
    mode_signs: Tensor


def mirror_of(model: MorphableModel) -> Mirror:
    """Find a symmetric model's mirror.

    Args:
        model: whose vertices lie in mirrored pairs.

    Returns:
        Its mirror.
    """
    flip = model.template.new_tensor([-1.0, 1.0, 1.0])
    parts = (model.template * flip).split(1024)
    other = torch.cat([torch.cdist(part, model.template).argmin(1) for part in parts])
    turned = (model.shape_basis[:, other] * flip).flatten(1)
    signs = (turned * model.shape_basis.flatten(1)).sum(1).sign()
    turned = (model.expression_basis[:, other] * flip).flatten(1)
    unit = torch.nn.functional.normalize
    likeness = unit(model.expression_basis.flatten(1)) @ unit(turned).T
    modes = likeness.abs().argmax(1)
    return Mirror(other, signs, modes, likeness.gather(1, modes[:, None])[:, 0].sign())


def learn_response(error: Tensor, beta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
    """Learn what the points do beyond the surface.

    Args:
        error: (N,K,2) seen points less their places on the surface, in IOD.
        beta: (N,n_shape) of the faces.
        psi: (N,n_expr).

    Returns:
        (1+n_shape+n_expr,K,2) of a constant, β and ψ; and (K,) the standard deviation of a
        coordinate that remains, each face being left out in turn.
    """
    rows = torch.cat([torch.ones_like(beta[:, :1]), beta, psi], dim=1).double()
    weight = rows.new_tensor([0.0, _RIDGE_SHAPE, _RIDGE_EXPRESSION])
    counts = torch.tensor([1, beta.shape[1], psi.shape[1]])
    solved = torch.linalg.solve(
        rows.T @ rows + torch.diag(weight.repeat_interleave(counts)), rows.T
    )
    found = solved @ error.flatten(1).double()
    left = (error - (rows @ found).view_as(error)) / (1 - (rows.T * solved).sum(0))[:, None, None]
    sigma = (left**2).mean((0, 2)).sqrt()
    return found.unflatten(1, error.shape[1:]).float(), sigma.float()
