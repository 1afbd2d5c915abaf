"""Points of a morphable face in the picture: its 68 landmarks, or what the mesh's points lie on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.morphable import N_LANDMARKS, MorphableModel
from fer_lib.faces.params import FaceParams


class FacePoints(nn.Module):
    """Some points of a morphable face, linear in β and ψ.

    Args:
        template: (K,3) at rest.
        shape: (n_shape,K,3).
        expression: (n_expr,K,3).
        weight: (K,) how much each counts.
    """

    def __init__(self, template: Tensor, shape: Tensor, expression: Tensor, weight: Tensor) -> None:
        super().__init__()
        parts = {"template": template, "shape": shape, "expression": expression, "weight": weight}
        for name, tensor in parts.items():
            self.register_buffer(name, tensor.clone(), persistent=False)

    @classmethod
    def landmarks(cls, model: MorphableModel, weight: Tensor | None = None) -> FacePoints:
        """Take a model's 68 landmarks; they count alike unless weights (68,) are given."""
        fields = (model.template, model.shape_basis, model.expression_basis)
        weight = fields[0].new_ones(N_LANDMARKS) if weight is None else weight
        return cls(*(field[..., model.landmark_vertices, :] for field in fields), weight)

    @classmethod
    def mesh(cls, model: MorphableModel, correspondence: Correspondence) -> FacePoints:
        """Take what the mesh sees of a model, errors included; precise points count more."""
        fields = torch.cat([model.template[None], model.shape_basis, model.expression_basis])
        # The response moves x and y alone, as in the fits.
        response = functional.pad(correspondence.response, (0, 1)).to(fields)
        points = correspondence.points(fields) + response
        weight = correspondence.sigma.square().reciprocal()
        parts = points.split([1, len(model.shape_basis), len(model.expression_basis)])
        return cls(parts[0][0], *parts[1:], weight / weight.mean())

    def place(self, params: FaceParams, beta: Tensor | None = None) -> Tensor:
        """Project the points; (B,K,2) fractions of the side from the centre."""
        beta = params.shape if beta is None else beta
        moved = self.template + torch.einsum("bn,nkc->bkc", beta, self.shape)
        moved = moved + torch.einsum("bn,nkc->bkc", params.expression, self.expression)
        seen = project(to_camera(moved, params.pose), params, 1)
        return torch.stack([seen.x_px, seen.y_px], dim=-1)

    def error(self, placed: Tensor, target: Tensor) -> Tensor:
        """Weighted absolute error (B,) in units of the target's spread, about 0.7 eye distances."""
        target = target.nan_to_num(0)
        return ((placed - target).abs().sum(2) * self.weight).mean(1) / spread_of(target)


def project_landmarks(params: FaceParams, model: MorphableModel, size: int) -> Tensor:
    """Give the exact landmarks of faces whose parameters are known.

    A store that a mesh has looked at holds what the mesh saw; this is what was there, but for
    hair and beard, which lift single points of a groomed head by up to a per cent of the picture.

    Args:
        params: N faces.
        model: whose parameters they are; its narrow face will do.
        size: side of the square picture in pixels.

    Returns:
        (N,68,2) pixels, pixel centres at integers.
    """
    return (FacePoints.landmarks(model).place(params) + 0.5) * size - 0.5


def spread_of(points: Tensor) -> Tensor:
    """Root mean square distance from their mean, (B,K,2) → (B,)."""
    deviation = points - points.mean(1, keepdim=True)
    return deviation.square().sum(2).mean(1).sqrt().clamp_min(1e-2)
