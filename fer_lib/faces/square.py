"""Upright squares around faces, for networks that were trained on detectors' boxes.

A square is placed by the eyes and the mouth, so that it is the same whichever detector found the
face. Its unit is the distance from an eye to the mouth's centre (mean of both).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.align import usable_points


class Square(NamedTuple):
    """How a square lies about a face.

    ``side`` and ``drop``, the shift of its centre down from the mean of eyes and mouth, are in
    eye-to-mouth distances.
    """

    side: float
    drop: float


def square_affine(five: Tensor, square: Square, size: int) -> tuple[Tensor, Tensor]:
    """Place a square around faces; a face keeps its roll.

    Args:
        five: (B, 5, 2) eyes, nose tip and mouth corners in source pixels, NaN unknown.
        square: how it lies.
        size: side of the output in px.

    Returns:
        Matrices (B, 2, 3) float32 from source to output pixels, and (B,) bool, whose points can
        align a face; the others get the identity.

    Source: face-api.js, ``FaceLandmarks.alignDlib`` (side 1 / 0.45, drop 0.07 / 0.45).
    """
    valid = usable_points(five)
    eyes, mouth = five[:, :2], five[:, 3:].mean(dim=1)
    unit = (eyes - mouth[:, None]).norm(dim=2).mean(dim=1)
    centre = (eyes.sum(dim=1) + mouth) / 3
    centre = centre + torch.stack((torch.zeros_like(unit), square.drop * unit), dim=1)
    scale = size / (square.side * unit)
    shift = (size - 1) / 2 - scale[:, None] * centre
    matrices = torch.cat((scale[:, None, None] * torch.eye(2).to(scale), shift[:, :, None]), dim=2)
    return torch.where(valid[:, None, None], matrices, torch.eye(2, 3).to(matrices)), valid


SQUARES = {"square": Square(2.1, -0.05), "wide_square": Square(2.8, 0.05)}
"""Squares by the names of crop rules: about Viola and Jones's face box, and about a box around the
whole head's outline."""
