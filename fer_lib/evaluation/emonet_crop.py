"""EmoNet's test crop: a square around 68 landmarks, as its published evaluation cuts it.

Its demonstrations frame faces in two other ways; answers to those are not comparable.

Source: Toisoul et al. 2021, Nature Machine Intelligence 3, and the published evaluation code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_lib.faces.warp import invert_affine, to_uint8, transform_points, warp
from fer_lib.networks.emonet import IMAGE_SIZE

_SIDE = 200 / 220
_MIN_BOX_PX = 4.0


@dataclass(frozen=True)
class EmoNetCrops:
    """Faces as EmoNet's published evaluation cuts them.

    Attributes:
        faces: (N, 256, 256, 3) uint8 RGB.
        landmarks_px: (N, 68, 2) float32 pixels of the crop.
        valid: (N,) bool, False where landmarks are unknown; the face is then black.
        outside: (N,) share of the crop, in [0, 1], that lies outside the picture and is black.
    """

    faces: Tensor
    landmarks_px: Tensor
    valid: Tensor
    outside: Tensor


def emonet_affine(landmarks_px: Tensor) -> tuple[Tensor, Tensor]:
    """Fit EmoNet's square around 68 landmarks: side 0.909 (w + h) of their box, same centre.

    Args:
        landmarks_px: (B, 68, 2) pixels of the picture.

    Returns:
        Matrices (B, 2, 3) from picture to crop pixels, and (B,) bool, whose landmarks are known
        and apart from each other; the others get the identity. The box's centre comes to pixel
        128, as in the published code.

    Raises:
        ValueError: there are not 68 landmarks.
    """
    if landmarks_px.shape[1:] != (68, 2):
        raise ValueError(f"expected 68 landmarks (B, 68, 2), got {tuple(landmarks_px.shape)}")
    low, high = landmarks_px.amin(dim=1), landmarks_px.amax(dim=1)
    extent = (high - low).sum(dim=1)
    # Comparisons with NaN are false, and amin hands NaN on.
    valid = (extent > _MIN_BOX_PX) & extent.isfinite()
    scale = IMAGE_SIZE / (_SIDE * extent)
    shift = IMAGE_SIZE / 2 - scale[:, None] * (low + high) / 2
    matrices = torch.cat((scale[:, None, None] * torch.eye(2).to(scale), shift[:, :, None]), dim=2)
    return torch.where(valid[:, None, None], matrices, torch.eye(2, 3).to(matrices)), valid


def cut_emonet_crops(images: Tensor, landmarks_px: Tensor) -> EmoNetCrops:
    """Cut faces out of pictures by `emonet_affine`, black outside them, in one warp.

    Where the square is larger than 256 px the warp averages; the published code takes four pixels.

    Args:
        images: (B, H, W, 3) uint8 RGB.
        landmarks_px: (B, 68, 2) float in pixels of the images, NaN unknown.

    Returns:
        The crops, each of them its own face's alone.
    """
    matrices, valid = emonet_affine(landmarks_px)
    faces = to_uint8(warp(images, matrices, IMAGE_SIZE)) * valid[:, None, None, None]
    landmarks = torch.where(
        valid[:, None, None], transform_points(landmarks_px, matrices), torch.nan
    )
    outside = torch.where(valid, _share_outside(matrices, images.shape[1:3]), 1.0)
    return EmoNetCrops(faces, landmarks, valid, outside)


def _share_outside(matrices: Tensor, extent: Sequence[int]) -> Tensor:
    """Share of the crop's area that is not covered by the picture; both are upright."""
    ends = torch.tensor([[-0.5, -0.5], [IMAGE_SIZE - 0.5] * 2]).to(matrices)
    corners = transform_points(ends.expand(len(matrices), 2, 2), invert_affine(matrices))
    size = corners.new_tensor([extent[1], extent[0]])
    inside = (corners[:, 1].minimum(size - 0.5) - corners[:, 0].clamp_min(-0.5)).clamp_min(0)
    return 1 - (inside / (corners[:, 1] - corners[:, 0])).prod(dim=1)
