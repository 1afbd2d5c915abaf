"""Mirrored faces: pixels, parameters, landmarks, mesh and scores change sides together."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from fer_lib.faces.mesh_points import ARKIT_NAMES
from fer_lib.faces.morphable import N_LANDMARKS, MorphableModel
from fer_lib.faces.operations import FACTORS, MirrorTable, mirror, mirror_table
from fer_lib.faces.warp import flip_points
from fer_lib.networks.mesh_reader import SURFACE_POINTS
from fer_lib.training.face_batches import FaceBatch

# Stretches of the 68 that a mirror reads backwards, and the eyes; the rest lies in the middle.
_SPANS = ((0, 17), (17, 27), (31, 36), (48, 55), (55, 60), (60, 65), (65, 68))
_EYES = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
_IRISES = (5, 8, 7, 6, 9, 0, 3, 2, 1, 4)


def _landmark_partners() -> Tensor:
    partner = np.arange(N_LANDMARKS)
    for low, high in _SPANS:
        partner[low:high] = partner[low:high][::-1].copy()
    for right, left in _EYES:
        partner[[right, left]] = left, right
    return torch.from_numpy(partner)


def _score_partners() -> Tensor:
    other = {"Left": "Right", "Right": "Left"}
    names = list(ARKIT_NAMES)
    swapped = [n[: -len(s)] + other[s] if (s := _side(n)) else n for n in names]
    return torch.tensor([names.index(name) for name in swapped])


def _side(name: str) -> str:
    return next((side for side in ("Left", "Right") if name.endswith(side)), "")


LANDMARK_PARTNERS, SCORE_PARTNERS = _landmark_partners(), _score_partners()
"""(68,) and (52,) int64: whose place each landmark and each score takes in a mirror."""


@dataclass(frozen=True)
class FaceMirror:
    """What changes sides when a face is mirrored.

    Attributes:
        table: modes of the morphable model.
        mesh_points: (478,) int64, the point that takes each mesh point's place; None where it is
            not known: a mirrored face then has no mesh.
    """

    table: MirrorTable
    mesh_points: Tensor | None = None

    @classmethod
    def of(cls, model: MorphableModel, reference: Tensor | None = None) -> FaceMirror:
        """Find the partners.

        Args:
            model: whose parameters are mirrored.
            reference: (468,3) mean shape of many meshes, which is symmetric; points are paired
                with the nearest reflected ones, each used once.
        """
        return cls(mirror_table(model), None if reference is None else _pair(reference))

    def apply(self, batch: FaceBatch, chosen: Tensor) -> FaceBatch:
        """Mirror some faces with everything that is known of them.

        Args:
            batch: faces.
            chosen: (B,) bool.
        """
        side = batch.faces.shape[1]
        other = FaceBatch(
            batch.faces.flip(2),
            mirror(batch.params, self.table),
            flip_points(batch.landmarks_px[:, LANDMARK_PARTNERS], side),
            self._mesh(batch.mesh, side),
            batch.scores[:, SCORE_PARTNERS],
            batch.subjects,
            batch.trust,
        )
        tensors = {
            f.name: _pick(chosen, getattr(other, f.name), getattr(batch, f.name))
            for f in fields(batch) if f.name != "params"
        }  # fmt: skip
        mixed = {
            name: _pick(chosen, getattr(other.params, name), getattr(batch.params, name))
            for name in FACTORS
        }
        return FaceBatch(params=batch.params.replace(**mixed), **tensors)

    def _mesh(self, mesh: Tensor, side: int) -> Tensor:
        if self.mesh_points is None:
            return torch.full_like(mesh, torch.nan)
        swapped = mesh[:, self.mesh_points.to(mesh.device)]
        return torch.cat([flip_points(swapped[..., :2], side), swapped[..., 2:]], dim=-1)


def _pair(reference: Tensor) -> Tensor:
    points = (reference - reference.mean(0)).cpu().numpy()
    partner = linear_sum_assignment(cdist(points * (-1, 1, 1), points, "sqeuclidean"))[1]
    irises = SURFACE_POINTS + np.array(_IRISES)
    return torch.from_numpy(np.concatenate([partner, irises]))


def _pick(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, *[1] * (first.ndim - 1)), first, second)
