"""The rival of every face encoder: parameters as a linear function of the mesh and its scores.

It needs no picture and minutes of nothing: one ridge regression, in closed form. Because it learns
how the mesh errs, it beats fits that trust the mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import Encoding, FaceEncoderSpec
from fer_lib.networks.face_view import View
from fer_lib.networks.mesh_reader import MeshReader

PENALTIES: tuple[float, ...] = tuple(10.0**power for power in range(-3, 4))
"""Penalties tried by default, in units of the mean variance of a feature per face."""

_FOLDS = 5
_PARTS = ("shape", "expression", "pose", "camera", "light", "albedo")


@dataclass(frozen=True)
class Ridge:
    """A linear map y = x W + b.

    Attributes:
        weight: (P,T) W.
        bias: (T,) b.
        variance: (T,) mean squared error on people left out.
        penalty: (T,) those of the least such errors.
    """

    weight: Tensor
    bias: Tensor
    variance: Tensor
    penalty: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Answer: (N,P) → (N,T)."""
        return features @ self.weight + self.bias


def solve_ridge(features: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Minimise ‖Y - X W - b‖² + λ‖W‖² in float64; the bias b is not penalised.

    Args:
        features: (N,P) X.
        targets: (N,T) Y.
        penalty: λ.

    Returns:
        W (P,T) and b (T,), float64.
    """
    x, y = features.double(), targets.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    gram = (x - x_mean).T @ (x - x_mean)
    gram.diagonal().add_(penalty)
    factor = torch.linalg.cholesky(gram)
    weight = torch.cholesky_solve((x - x_mean).T @ (y - y_mean), factor)
    return weight, y_mean - x_mean @ weight


def fit_ridge(
    features: Tensor,
    targets: Tensor,
    people: Tensor,
    penalties: Sequence[float] = PENALTIES,
) -> Ridge:
    """Fit a ridge regression whose penalties are chosen on people that are left out.

    Args:
        features: (N,P).
        targets: (N,T).
        people: (N,) int64; a person is left out as a whole, in one of five folds.
        penalties: to choose from, in units of the features' mean variance per face.

    Returns:
        The map, float32; every target has a penalty of its own.
    """
    unit = float(features.var(0).mean()) * len(features)
    numbers = torch.unique(people, return_inverse=True)[1]
    errors = torch.zeros(len(penalties), targets.shape[1], dtype=torch.float64)
    for fold in range(_FOLDS):
        out = numbers % _FOLDS == fold
        if not out.any() or out.all():
            continue
        for k, penalty in enumerate(penalties):
            weight, bias = solve_ridge(features[~out], targets[~out], penalty * unit)
            gap = targets[out].double() - features[out].double() @ weight - bias
            errors[k] += gap.square().sum(0).cpu() / len(targets)
    best = errors.argmin(0)
    answers = [solve_ridge(features, targets, penalty * unit) for penalty in penalties]
    columns = torch.arange(targets.shape[1])
    weight = torch.stack([weight for weight, _ in answers])[best, :, columns].T
    bias = torch.stack([bias for _, bias in answers])[best, columns]
    chosen = torch.tensor(penalties)[best]
    return Ridge(*(part.to(targets) for part in (weight, bias, errors[best, columns], chosen)))


@dataclass(frozen=True)
class LinearEncoder:
    """An encoder of the mesh alone.

    Attributes:
        spec: meaning of the parameters.
        reader: what it reads of the mesh.
        ridge: from there to all parameters, in the frame of the view.
    """

    spec: FaceEncoderSpec
    reader: MeshReader
    ridge: Ridge

    @classmethod
    def fit(
        cls,
        spec: FaceEncoderSpec,
        params: FaceParams,
        mesh: Tensor,
        scores: Tensor,
        people: Tensor,
        crop_px: int,
    ) -> LinearEncoder:
        """Learn from faces whose parameters are known.

        Args:
            spec: model, camera, number of mesh modes.
            params: N faces in the frame of their crops.
            mesh: (N,478,3) crop pixels, NaN where not found; such faces are left out.
            scores: (N,52).
            people: (N,) int64.
            crop_px: side of the crops.

        Returns:
            The encoder.

        Raises:
            ValueError: there are no meshes.
        """
        view = View.central(len(mesh), spec.central)
        points = view.points(mesh, crop_px)
        reader = MeshReader(spec.mesh_modes)
        reader.learn(points, scores)
        features, known = reader(points, scores)
        moved = view.params(params)
        camera = torch.cat([moved.camera[:, :1].log(), moved.camera[:, 1:3]], dim=1)
        parts = {n: getattr(moved, n).flatten(1) for n in _PARTS} | {"camera": camera}
        targets = torch.cat([parts[name] for name in _PARTS], dim=1)
        return cls(spec, reader, fit_ridge(features[known], targets[known], people[known]))

    @torch.no_grad()
    def encode(self, mesh: Tensor, scores: Tensor, crop_px: int) -> Encoding:
        """Encode faces by their mesh.

        Args:
            mesh: (N,478,3) crop pixels; a face without mesh gets the average answer.
            scores: (N,52).
            crop_px: side of the crops.

        Returns:
            The answer in the frame of the crops.
        """
        view = View.central(len(mesh), self.spec.central)
        features, _ = self.reader(view.points(mesh, crop_px), scores)
        sizes = [self.spec.sizes[name] for name in _PARTS]
        parts = dict(zip(_PARTS, self.ridge(features).split(sizes, dim=1), strict=True))
        low, high = (torch.tensor(limit) for limit in (self.spec.psi_low, self.spec.psi_high))
        parts["expression"] = parts["expression"].clamp(low, high)
        parts["light"] = parts["light"].unflatten(1, (9, 3))
        camera = [parts["camera"][:, :1].exp(), parts["camera"][:, 1:]]
        if self.spec.camera_kind == "perspective":
            camera.append(torch.full_like(camera[0], self.spec.distance_iod))
        parts["camera"] = torch.cat(camera, dim=1)
        params = view.inverse().params(FaceParams(**parts, camera_kind=self.spec.camera_kind))
        log_var = self.ridge.variance.clamp_min(1e-6).log().split(sizes)
        return Encoding(params, *(log_var[k].expand(len(mesh), -1) for k in range(2)))
