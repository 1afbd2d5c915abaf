"""What a fit to mesh points is made of: observations, camera, prior and result.

Symbols: β identity and ψ expression coefficients; K points, B faces; IOD inter-ocular distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.camera import PIVOT
from fer_lib.faces.fitting.correspondence import N_POINTS, Correspondence
from fer_lib.faces.mesh_points import MESH_POINTS
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

_LEAST_SPAN_PX = 1.0


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit; the defaults are those measured on photographs.

    Attributes:
        n_shape: first identity modes that are fitted; the others keep their prior mean.
        iterations: Gauss-Newton steps.
        distance: camera's distance in IOD; None for a weak-perspective camera.
        inflation: factor on the points' variances, because neighbouring points err alike.
        huber: distance in standard deviations from which a point counts less (Huber 1964).
        expression_rate: rate λ of the exponential prior on ψ, λ ψ.
        lip_sigma: standard deviation, in IOD, of the gap between lips that are closed, before the
            inflation; None to leave it out.
        lip_closed: gap in IOD below which the lips are taken as closed.
    """

    n_shape: int = 100
    iterations: int = 8
    distance: float | None = 16.0
    inflation: float = 6.0
    huber: float = 2.5
    expression_rate: float = 4.0
    lip_sigma: float | None = 0.005
    lip_closed: float = 0.01


@dataclass(frozen=True)
class FitPrior:
    """What is known of a face before its points are seen; every tensor has B or 1 rows.

    The energy is ½ (β - mean)²/var + ½ (ψ - mean)²/var + rate ψ, with ψ in [0, 1].

    Attributes:
        beta_mean: (B,n_shape of the model).
        beta_var: likewise, positive.
        psi_mean: (B,n_expr).
        psi_var: likewise, positive; infinite where only the rate speaks.
        psi_rate: likewise, not negative.
    """

    beta_mean: Tensor
    beta_var: Tensor
    psi_mean: Tensor
    psi_var: Tensor
    psi_rate: Tensor

    @classmethod
    def weak(cls, model: MorphableModel, rate: float) -> FitPrior:
        """The prior of a face that nothing is known of: β ~ N(0, 1), ψ exponential.

        Args:
            model: the face.
            rate: of the exponential prior.

        Returns:
            A prior with one row.
        """
        beta = model.template.new_zeros(1, len(model.shape_names))
        psi = model.template.new_zeros(1, len(model.expression_names))
        return cls(beta, beta + 1, psi, psi + torch.inf, psi + rate)

    def rows(self, count: int, like: Tensor) -> FitPrior:
        """The same with a row per face, device and dtype of another tensor.

        Args:
            count: faces B.
            like: whose device and dtype.

        Returns:
            The prior with B rows.

        Raises:
            ValueError: a tensor has neither one nor B rows.
        """
        for name, value in vars(self).items():
            if len(value) not in (1, count):
                raise ValueError(f"expected 1 or {count} rows in {name}, got {len(value)}")
        return FitPrior(*(v.to(like).expand(count, -1) for v in vars(self).values()))

    def take(self, index: Tensor) -> FitPrior:
        """Give the rows of some faces."""
        return FitPrior(*(v[index] for v in vars(self).values()))


@dataclass(frozen=True)
class Fit:
    """Faces fitted to mesh points.

    Attributes:
        params: the faces; NaN in every row that was refused.
        residual_pct_iod: (B,) mean distance of the projected from the seen points, % of the IOD;
            NaN where refused.
        status: per face "ok" or one sentence that says why it was refused.
    """

    params: FaceParams
    residual_pct_iod: Tensor
    status: tuple[str, ...]

    @property
    def good(self) -> Tensor:
        """(B,) bool, which faces were fitted."""
        return torch.tensor([status == "ok" for status in self.status])


class Points(NamedTuple):
    """Linear model of the K mesh points as the mesh sees them, origin at the pivot.

    Attributes:
        mean: (K,3).
        shape: (n_shape,K,3) all modes.
        expression: (n_expr,K,3).
        sigma: (K,) standard deviations in IOD.
    """

    mean: Tensor
    shape: Tensor
    expression: Tensor
    sigma: Tensor

    def at(self, beta: Tensor, psi: Tensor) -> Tensor:
        """Points (B,K,3) of faces with β (B,n_shape) and ψ (B,n_expr)."""
        moved = torch.einsum("bn,nkc->bkc", beta, self.shape)
        return self.mean + moved + torch.einsum("bn,nkc->bkc", psi, self.expression)


def mesh_model(model: MorphableModel, correspondence: Correspondence, like: Tensor) -> Points:
    """Read a model at the mesh's points.

    Args:
        model: the face that the correspondence belongs to.
        correspondence: where the points lie.
        like: whose device and dtype.

    Returns:
        The linear model of the points.
    """
    tables = (model.template, model.shape_basis, model.expression_basis)
    mean, shape, expression = (correspondence.points(t).to(like) for t in tables)
    # The response was learned in pictures of faces that hardly turn: it moves x and y alone.
    answer = torch.nn.functional.pad(correspondence.response, (0, 1)).to(like)
    constant, by_shape, by_expression = answer.split([1, len(shape), len(expression)])
    mean = mean + constant[0] - mean.new_tensor(PIVOT)
    sigma = correspondence.sigma.to(like)
    return Points(mean, shape + by_shape, expression + by_expression, sigma)


def check_mesh(mesh: Tensor) -> list[str]:
    """Say which faces can be fitted.

    Args:
        mesh: (B,478 or 468,2 or 3) pixels.

    Returns:
        Per face "ok" or why not.

    Raises:
        ValueError: the array is no batch of meshes.
    """
    if mesh.ndim != 3 or mesh.shape[1] not in (N_POINTS, MESH_POINTS) or mesh.shape[2] != 3:
        raise ValueError(f"expected a mesh of shape (B, {MESH_POINTS}, 3), got {tuple(mesh.shape)}")
    surface = mesh[:, :N_POINTS]
    finite = surface.isfinite().all((1, 2))
    span = (surface.amax(1) - surface.amin(1))[:, :2].amin(1)
    return [
        "ok" if wide else "expected a face, its points lie in one place" if good
        else "expected a mesh, got points that are not finite; find the face anew"
        for good, wide in zip(finite.tolist(), (span > _LEAST_SPAN_PX).tolist(), strict=True)
    ]  # fmt: skip
