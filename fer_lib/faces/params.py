"""The parameters of a face: what an encoder estimates and what the renderer draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CAMERA_COLUMNS: dict[str, tuple[str, ...]] = {
    "perspective": ("scale", "shift_x", "shift_y", "distance"),
    "weak_perspective": ("scale", "shift_x", "shift_y"),
}
"""What stands in ``FaceParams.camera``, by kind of camera.

``scale`` is the image of one inter-ocular distance (IOD) at the head's pivot as a fraction of the
image side, ``shift_x`` and ``shift_y`` the pivot's place right of and below the image centre as
fractions of the side, ``distance`` the camera's distance from the pivot in IOD.
"""

_TENSORS = ("shape", "expression", "pose", "camera", "albedo", "light")


@dataclass(frozen=True)
class FaceParams:
    """Parameters of a batch of B faces, all float32 on one device.

    Attributes:
        shape: identity β, ``(B, n_shape)``.
        expression: expression ψ, ``(B, n_expression)``.
        pose: pitch, yaw, roll in radians, ``(B, 3)``; positive pitch nods down, positive yaw turns
            the nose to image-right, positive roll tips the head counter-clockwise in the image.
        camera: ``(B, len(CAMERA_COLUMNS[camera_kind]))``.
        albedo: skin and colouring α, ``(B, n_albedo)``.
        light: spherical-harmonics coefficients of the shading, ``(B, 9, 3)``, in the order and
            with the constants of ``fer_lib.faces.light``.
        camera_kind: a key of ``CAMERA_COLUMNS``.
    """

    shape: Tensor
    expression: Tensor
    pose: Tensor
    camera: Tensor
    albedo: Tensor
    light: Tensor
    camera_kind: str = "perspective"

    def __post_init__(self) -> None:
        if self.camera_kind not in CAMERA_COLUMNS:
            raise ValueError(
                f"expected camera_kind out of {sorted(CAMERA_COLUMNS)}, got {self.camera_kind!r}"
            )
        batch, columns = len(self.pose), len(CAMERA_COLUMNS[self.camera_kind])
        ends = {"pose": (batch, 3), "camera": (batch, columns), "light": (batch, 9, 3)}
        for name in _TENSORS:
            got = tuple(getattr(self, name).shape)
            expected = ends.get(name, (batch, *got[1:2]))
            if got != expected:
                raise ValueError(f"expected {name} of shape {expected}, got {got}")

    def __len__(self) -> int:
        return len(self.pose)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> FaceParams:
        """Take some faces of the batch; one integer gives a batch of one."""
        if isinstance(index, int):
            index = [index]
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> FaceParams:
        """Give the same parameters on another device."""
        return self._map(lambda tensor: tensor.to(device))

    def replace(self, **changes: Tensor) -> FaceParams:
        """Give a copy in which the named tensors are exchanged, for example ``expression``."""
        return dataclasses.replace(self, **changes)

    def numpy(self) -> dict[str, np.ndarray]:
        """Give plain arrays with one row per face, as ``params.npz`` of a store holds them."""
        arrays = {name: getattr(self, name).detach().cpu().numpy() for name in _TENSORS}
        return arrays | {"camera_kind": np.full(len(self), self.camera_kind)}

    @classmethod
    def from_numpy(cls, arrays: Mapping[str, np.ndarray]) -> FaceParams:
        """Read what ``numpy`` wrote; further arrays are ignored.

        Args:
            arrays: a mapping such as an open ``params.npz``, one row per face in each array.

        Returns:
            The parameters as float32 tensors on the CPU.

        Raises:
            ValueError: an array is absent, or the rows have different kinds of camera.
        """
        missing = [name for name in (*_TENSORS, "camera_kind") if name not in arrays]
        if missing:
            raise ValueError(f"expected arrays {list(_TENSORS)} and camera_kind, {missing} absent")
        kinds = sorted(set(np.asarray(arrays["camera_kind"]).tolist()))
        if len(kinds) != 1:
            raise ValueError(f"expected one kind of camera, got {kinds}; read the kinds separately")
        tensors = {
            name: torch.from_numpy(np.array(arrays[name], dtype=np.float32)) for name in _TENSORS
        }
        return cls(**tensors, camera_kind=kinds[0])

    @classmethod
    def concatenate(cls, parts: Sequence[FaceParams]) -> FaceParams:
        """Put batches of one model and one kind of camera behind each other.

        Raises:
            ValueError: the kinds of camera differ.
        """
        kinds = sorted({part.camera_kind for part in parts})
        if len(kinds) != 1:
            raise ValueError(f"expected faces of one kind of camera, got {kinds}; keep them apart")
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
        return cls(**tensors, camera_kind=kinds[0])

    def _map(self, function: Callable[[Tensor], Tensor]) -> FaceParams:
        changed = {name: function(getattr(self, name)) for name in _TENSORS}
        return dataclasses.replace(self, **changed)


def rotation_matrix(pose: Tensor) -> Tensor:
    """Give the head's rotation ``R = R_roll R_pitch R_yaw``, each by the right-hand rule.

    Args:
        pose: pitch, yaw, roll in radians, ``(B, 3)``.

    Returns:
        ``(B, 3, 3)``; a column vector in head coordinates times this gives camera coordinates.
    """
    (sp, sy, sr), (cp, cy, cr) = pose.sin().unbind(-1), pose.cos().unbind(-1)
    rows = [
        cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy,
        sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy,
        -cp * sy, sp, cp * cy,
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
