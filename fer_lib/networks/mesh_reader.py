"""What encoders read of the face mesh: aligned points as principal components, and the scores.

Every statistic is a buffer that is found once, on training faces, and saved with the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fer_lib.faces.mesh_points import ARKIT_NAMES

SURFACE_POINTS = 468
_SCORES, _PLACE = len(ARKIT_NAMES), 4
_FAINTEST_SCORE = 1e-3
# Components below this share of the first one's variance are noise: whitening must not raise them.
_FLOOR = 1e-5
# What training faces hardly show must not count for much when it stirs: logarithms of scores;
# logarithm of size, roll in radians and place in sides.
_LEAST_SCORE_SPREAD, _LEAST_PLACE_SPREAD = 0.3, 0.05
# One wrongly found mesh must not carry the answer, nor a training, away.
_FARTHEST = 6.0


class MeshReader(nn.Module):
    """Turns mesh and scores into standardised features.

    Args:
        modes: principal components of the aligned points.
    """

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.modes, self.length = modes, modes + _SCORES + _PLACE
        self.register_buffer("reference", torch.ones(SURFACE_POINTS, 3))
        self.register_buffer("basis", torch.zeros(SURFACE_POINTS * 3, modes))
        self.register_buffer("mean", torch.zeros(self.length))
        self.register_buffer("spread", torch.ones(self.length))

    @torch.no_grad()
    def learn(self, mesh: Tensor, scores: Tensor) -> None:
        """Find reference, components and scales.

        Args:
            mesh: (N,≥468,3) points as ``View.points`` gives them.
            scores: (N,52) in [0, 1].

        Raises:
            ValueError: there are fewer than two known meshes.
        """
        known = mesh_known(mesh, scores)
        if known.sum() < 2:
            raise ValueError(
                f"expected meshes to learn from, got {int(known.sum())}; set mesh_modes=0"
            )
        mesh, scores = mesh[known], scores[known]
        self.reference.copy_(_mean_shape(mesh[:, :SURFACE_POINTS]))
        aligned = self._aligned(mesh)[0]
        deviation = aligned - aligned.mean(0)
        _, singular, rows = torch.linalg.svd(deviation, full_matrices=False)
        self.basis.zero_()
        self.basis[:, : len(rows)] = rows[: self.modes].T
        features = self._raw(mesh, scores)
        self.mean.copy_(features.mean(0))
        least = torch.full_like(self.spread, _LEAST_PLACE_SPREAD)
        least[: self.modes] = singular[0] * (_FLOOR / (len(mesh) - 1)) ** 0.5
        least[self.modes : self.modes + _SCORES] = _LEAST_SCORE_SPREAD
        self.spread.copy_(torch.maximum(features.std(0), least))

    def forward(self, mesh: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Read meshes.

        Args:
            mesh: (B,≥468,3) points as ``View.points`` gives them; NaN unknown.
            scores: (B,52) in [0, 1]; NaN unknown.

        Returns:
            Features (B,length) in [-6, 6], 0 on average and where unknown, and (B,) bool, which are
            known.
        """
        known = mesh_known(mesh, scores)
        mesh = torch.where(known[:, None, None], mesh[:, :SURFACE_POINTS], self.reference)
        scores = torch.where(known[:, None], scores, 1.0)
        features = (self._raw(mesh, scores) - self.mean) / self.spread
        return features.clamp(-_FARTHEST, _FARTHEST) * known[:, None], known

    def _raw(self, mesh: Tensor, scores: Tensor) -> Tensor:
        aligned, place = self._aligned(mesh)
        return torch.cat([aligned @ self.basis, scores.clamp_min(_FAINTEST_SCORE).log(), place], 1)

    def _aligned(self, mesh: Tensor) -> tuple[Tensor, Tensor]:
        """Deviations (B,1404) from the reference under the best similarity, and that (B,4)."""
        centre = mesh[:, :SURFACE_POINTS].mean(1)
        points = mesh[:, :SURFACE_POINTS] - centre[:, None]
        # The best similarity of the plane is one complex factor.
        plane = torch.complex(points[..., 0], points[..., 1])
        target = torch.complex(self.reference[:, 0], self.reference[:, 1])
        factor = (plane.conj() * target).sum(1) / plane.abs().square().sum(1)
        turned = plane * factor[:, None]
        depth = points[..., 2] * factor.abs()[:, None]
        aligned = torch.stack([turned.real, turned.imag, depth], dim=2) - self.reference
        place = torch.stack([-factor.abs().log(), -factor.angle(), centre[:, 0], centre[:, 1]], 1)
        return aligned.flatten(1), place


def mesh_known(mesh: Tensor, scores: Tensor) -> Tensor:
    """Tell where mesh and scores are both known: (B,K,3) and (B,52) → (B,) bool."""
    return mesh.isfinite().all(2).all(1) & scores.isfinite().all(1)


def _mean_shape(points: Tensor) -> Tensor:
    """Mean of centred, level points of unit size: (N,468,3) → (468,3)."""
    centred = points - points.mean(1, keepdim=True)
    size = centred[..., :2].square().sum(2).mean(1).sqrt()
    return (centred / size[:, None, None]).mean(0)
