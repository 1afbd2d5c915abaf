"""From a photograph to a face's parameters: an encoder's answer, refined on the photograph itself.

The encoder proposes a mean and a variance; Gauss-Newton steps bring the proposal onto the landmark
mesh, gradient steps onto the pixels, and closed lips are sealed. What was learned of the leak of
expressions into β (``Calibration``) is taken away last: β is then the person's, and pose and ψ are
fitted once more around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from fer_lib.faces.fitting.albedo_basis import AlbedoBasis
from fer_lib.faces.fitting.calibration import Calibration
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.fitting.gauss_newton import fit_mesh
from fer_lib.faces.fitting.lips import seal_lips
from fer_lib.faces.fitting.photometric import PhotoConfig, refine
from fer_lib.faces.fitting.problem import FitConfig, FitPrior
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import Encoding

_CHUNK = 64
_CERTAIN = 1e-4
_COLOURING = PhotoConfig(steps=30, moving=("light", "albedo"), weight=300.0)


class Proposer(Protocol):
    """What gives the first guess: a network or a linear encoder."""

    def __call__(self, faces: Tensor, mesh: Tensor, scores: Tensor) -> Encoding:
        """Encode (N,S,S,3) uint8 crops with their meshes (N,478,3) and scores (N,52)."""


@dataclass(frozen=True)
class EstimateConfig:
    """How far a first guess is refined.

    Attributes:
        doubt: factor on the encoder's variances: one that learned from renders is too sure of
            itself on photographs.
        fit: of the steps on the mesh.
        photo: of the steps on the pixels; 0 steps leave them out.
        seal: whether closed lips are sealed.
    """

    doubt: float = 1.0
    fit: FitConfig = field(default_factory=lambda: FitConfig(iterations=6))
    photo: PhotoConfig = field(default_factory=lambda: PhotoConfig(weight=100.0, inflation=10.0))
    seal: bool = True


ON_PHOTOGRAPHS = EstimateConfig()
ON_RENDERS = EstimateConfig(photo=PhotoConfig(steps=60, weight=300.0, inflation=30.0))
"""Drawn skin is known exactly, so pixels may count for more and longer than on photographs."""


class Estimate(NamedTuple):
    """Faces as parameters, after each stage.

    Attributes:
        proposed: the encoder's answer.
        fitted: after the mesh.
        params: after the pixels and the lips; where the mesh is missing, the encoder's answer.
        status: per face "ok", or why only the encoder's answer stands.
    """

    proposed: FaceParams
    fitted: FaceParams
    params: FaceParams
    status: tuple[str, ...]

    @property
    def good(self) -> Tensor:
        """(N,) bool, which faces were fitted."""
        return torch.tensor([status == "ok" for status in self.status])


@dataclass(frozen=True)
class FaceEstimator:
    """Estimates parameters of faces.

    Attributes:
        model: the narrow face.
        correspondence: where the mesh's points lie on it.
        albedo: colours of its vertices; one channel where it was learned from grey photographs.
        proposer: gives the first guess; None starts from the average face.
        config: how far the guess is refined.
    """

    model: MorphableModel
    correspondence: Correspondence
    albedo: AlbedoBasis
    proposer: Proposer | None = None
    config: EstimateConfig = EstimateConfig()

    def estimate(
        self, faces: Tensor, mesh: Tensor, scores: Tensor, groups: Tensor | None = None
    ) -> Estimate:
        """Estimate faces; the answer for one depends on others only through ``groups``.

        Args:
            faces: (N,S,S,3) uint8 loose crops.
            mesh: (N,478,3) crop pixels, NaN where it was not found.
            scores: (N,52), likewise.
            groups: (N,) int64, the same number for photographs of one person, who share β.

        Returns:
            The parameters after each stage, on the CPU.
        """
        size, settings = faces.shape[1], self.config
        guess, prior = self._propose(faces, mesh, scores)
        fit = fit_mesh(
            self.model, self.correspondence, mesh, size, guess, prior, settings.fit, groups
        )
        good = fit.good
        guess = fit.params if guess is None else guess
        fitted = _where(good, fit.params, guess)
        params = fitted
        if settings.photo.steps and good.any():
            params = self._on_pixels(fitted, faces, mesh, prior, good, groups)
        return Estimate(guess, fitted, self._sealed(params, mesh, good, size), fit.status)

    def refit(self, params: FaceParams, beta: Tensor, mesh: Tensor, size: int) -> FaceParams:
        """Fit pose and ψ anew around a given β.

        Args:
            params: N faces to start from; ψ stays close to theirs.
            beta: (N,n_shape) that is kept.
            mesh: (N,478,3) crop pixels; faces without keep pose and ψ.
            size: side of the crop in pixels.

        Returns:
            The faces with that β.
        """
        start = params.replace(shape=beta)
        prior = FitPrior(
            beta, torch.full_like(beta, _CERTAIN), start.expression,
            torch.full_like(start.expression, 0.05), torch.zeros_like(start.expression),
        )  # fmt: skip
        fit = fit_mesh(self.model, self.correspondence, mesh, size, start, prior, self.config.fit)
        params = _where(fit.good, fit.params, start).replace(shape=beta)
        return self._sealed(params, mesh, fit.good, size)

    def _sealed(self, params: FaceParams, mesh: Tensor, good: Tensor, size: int) -> FaceParams:
        if not (self.config.seal and good.any()):
            return params
        return _filled(params, seal_lips(self.model, params[good], mesh[good], size), good)

    def _propose(
        self, faces: Tensor, mesh: Tensor, scores: Tensor
    ) -> tuple[FaceParams | None, FitPrior | None]:
        if self.proposer is None:
            return None, None
        encoding = self.proposer(faces, mesh, scores)
        doubt = self.config.doubt
        return encoding.params, FitPrior(
            encoding.params.shape, doubt * encoding.shape_log_var.exp(),
            encoding.params.expression, doubt * encoding.expression_log_var.exp(),
            torch.zeros_like(encoding.params.expression),
        )  # fmt: skip

    def _on_pixels(
        self,
        params: FaceParams,
        faces: Tensor,
        mesh: Tensor,
        prior: FitPrior | None,
        good: Tensor,
        groups: Tensor | None,
    ) -> FaceParams:
        rows = good.nonzero()[:, 0]
        for part in _parts(rows, groups):
            images = faces[part].permute(0, 3, 1, 2).float() / 255
            if len(self.albedo.mean.T) == 1:
                images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
            person = None if groups is None else groups[part].unique(return_inverse=True)[1]
            refined = refine(
                self.model, params[part], images, mesh[part], self.correspondence, self.albedo,
                None if prior is None else prior.take(part), self.config.photo, person,
            )  # fmt: skip
            params = _filled(params, refined.params, part)
        return params


def calibrated(
    estimator: FaceEstimator, params: FaceParams, mesh: Tensor, size: int, calibration: Calibration
) -> FaceParams:
    """Give faces the person's β, and pose and ψ fitted around it.

    Args:
        estimator: that made ``params``.
        params: N faces.
        mesh: (N,478,3) crop pixels.
        size: side of the crop in pixels.
        calibration: learned from other people's photographs by the same estimator.

    Returns:
        The faces.
    """
    beta = calibration.apply(params.shape, params.expression)
    return estimator.refit(params, beta, mesh, size)


def coloured(
    estimator: FaceEstimator, params: FaceParams, faces: Tensor, mesh: Tensor
) -> FaceParams:
    """Find skin and light of fitted faces, in the colours that the model itself is painted with.

    Args:
        estimator: whose albedo basis is the model's own paint (``painted_albedo``).
        params: N fits; their geometry stays.
        faces: (N,S,S,3) uint8 crops.
        mesh: (N,478,3) crop pixels, all found.

    Returns:
        The faces with new albedo and light.
    """
    found = refine(
        estimator.model, params, faces.permute(0, 3, 1, 2).float() / 255, mesh,
        estimator.correspondence, estimator.albedo, config=_COLOURING,
    )  # fmt: skip
    return found.params.replace(albedo=found.albedo)


def with_pixel_steps(config: EstimateConfig, steps: int) -> EstimateConfig:
    """The same settings with another number of steps on the pixels; 0 leaves them out."""
    return replace(config, photo=replace(config.photo, steps=steps))


def without_photo(estimator: FaceEstimator) -> FaceEstimator:
    """The same estimator without steps on pixels."""
    return replace(estimator, config=with_pixel_steps(estimator.config, 0))


def _parts(rows: Tensor, groups: Tensor | None) -> list[Tensor]:
    """Cut rows into chunks; photographs of a person stay together."""
    if groups is None:
        return list(rows.split(_CHUNK))
    order = rows[groups[rows].argsort(stable=True)]
    _, counts = groups[order].unique_consecutive(return_counts=True)
    parts, size = [], 0
    for person in order.split(counts.tolist()):
        if not parts or size + len(person) > _CHUNK:
            parts.append([])
            size = 0
        parts[-1].append(person)
        size += len(person)
    return [torch.cat(part) for part in parts]


def _filled(params: FaceParams, some: FaceParams, chosen: Tensor) -> FaceParams:
    """Put the rows of ``some`` in the places of ``chosen``, positions or a mask."""
    tensors = {}
    for name in ("shape", "expression", "pose", "camera", "albedo", "light"):
        tensors[name] = getattr(params, name).clone()
        tensors[name][chosen] = getattr(some, name).to(tensors[name])
    return params.replace(**tensors)


def _where(chosen: Tensor, first: FaceParams, second: FaceParams) -> FaceParams:
    return _filled(second, first[chosen], chosen)
