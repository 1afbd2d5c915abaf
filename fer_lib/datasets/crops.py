"""From a store to what networks train on: the seed's tight crop and the landmarks in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fer_lib.datasets.store import Store
from fer_lib.faces.align import seed_affine, usable_points
from fer_lib.faces.warp import to_uint8, transform_points, warp
from fer_lib.progress import track

_CHUNK = 256


@dataclass(frozen=True)
class TightCrops:
    """Faces in the seed's frame.

    Attributes:
        faces: `(N, S, S, 3)` uint8 RGB.
        landmarks: `(N, K, 2)` float32 pixels of the tight crop, NaN unknown (their heat map is
            empty).
        valid: `(N,)` bool; False where the five points are unusable: the face is then the loose
            crop resized and every landmark NaN.
        degenerate: `(N,)` bool; True where the three-point affine was replaced (by a similarity, or
            where `valid` is False by the resize).
    """

    faces: Tensor
    landmarks: Tensor
    valid: Tensor
    degenerate: Tensor

    def __len__(self) -> int:
        return len(self.faces)


def cut_tight_crops(
    store: Store,
    positions: Sequence[int] | np.ndarray,
    size: int,
    *,
    device: torch.device | str = "cpu",
) -> TightCrops:
    """Warp faces of a store into the seed's frame.

    The rows are read and warped in chunks, so only the result itself takes memory; call it with the
    positions of one training batch to warp on the fly. A row's crop does not depend on the others.

    Args:
        store: the store.
        positions: row positions, repeats allowed.
        size: side of the tight crop in pixels.
        device: where the warp runs; the result is on the CPU.

    Returns:
        The crops, in the order of the positions.
    """
    positions = np.asarray(positions, dtype=np.int64)
    n, k = len(positions), store.landmarks.shape[1]
    crops = TightCrops(
        faces=torch.empty((n, size, size, 3), dtype=torch.uint8),
        landmarks=torch.empty((n, k, 2)),
        valid=torch.empty(n, dtype=torch.bool),
        degenerate=torch.empty(n, dtype=torch.bool),
    )
    for start in track(range(0, n, _CHUNK), "tight crops"):
        rows = slice(start, start + _CHUNK)
        faces = torch.from_numpy(store.faces[positions[rows]]).to(device)
        landmarks = torch.from_numpy(store.landmarks[positions[rows]]).to(device)
        five = torch.from_numpy(store.five[positions[rows]]).to(device)
        matrices, degenerate, valid = _tight_affines(five, store.size, size)
        crops.faces[rows] = to_uint8(warp(faces, matrices, size)).cpu()
        moved = transform_points(landmarks, matrices)
        crops.landmarks[rows] = torch.where(valid[:, None, None], moved, torch.nan).cpu()
        crops.degenerate[rows], crops.valid[rows] = degenerate.cpu(), valid.cpu()
    return crops


def _tight_affines(five: Tensor, source: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices, degenerate and valid; unusable points get the resize of the whole crop."""
    valid = usable_points(five)
    matrices, degenerate = seed_affine(five, size)
    scale = size / source
    resize = torch.tensor([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
    matrices = torch.where(valid[:, None, None], matrices, resize.to(matrices))
    return matrices, degenerate, valid
