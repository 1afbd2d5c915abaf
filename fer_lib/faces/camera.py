"""From head coordinates to pixels: rotation about the pivot, then one of two cameras."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.params import FaceParams, rotation_matrix

PIVOT: tuple[float, float, float] = (0.0, -0.35, 0.45)
"""Point of the head, in inter-ocular distances, that it turns about and that a camera aims at."""

_DEEPEST_IOD = 32.0


class Projection(NamedTuple):
    """Vertices as a camera sees them.

    Attributes:
        x_px: ``(B, V)``, rightwards; the first pixel's centre is 0.
        y_px: ``(B, V)``, downwards.
        nearness: ``(B, V)`` in (0, 1), larger is nearer and affine over the image of a triangle.
        weight: ``(B, V)``, by which barycentric coordinates in the image become those on the
            surface; ones for a weak-perspective camera.
    """

    x_px: Tensor
    y_px: Tensor
    nearness: Tensor
    weight: Tensor


def to_camera(vertices: Tensor, pose: Tensor) -> Tensor:
    """Turn vertices about the pivot.

    Args:
        vertices: ``(B, V, 3)`` in head coordinates.
        pose: ``(B, 3)`` in radians, as in ``FaceParams``.

    Returns:
        ``(B, V, 3)``: origin at the pivot, x to image-right, y up, z to the camera.
    """
    x, y, z = (vertices - vertices.new_tensor(PIVOT)).unbind(-1)
    rotation = rotation_matrix(pose)[..., None]
    # Spelt out: a matrix product may round differently for another number of faces.
    rows = [r[:, 0] * x + r[:, 1] * y + r[:, 2] * z for r in rotation.unbind(1)]
    return torch.stack(rows, dim=-1)


def project(
    points: Tensor, params: FaceParams, size: int, bias: Tensor | None = None
) -> Projection:
    """Project points into an image.

    Args:
        points: ``(B, V, 3)`` as ``to_camera`` gives them.
        params: their cameras.
        size: side of the square image in pixels.
        bias: ``(V,)`` in inter-ocular distances, by which a point's ``nearness`` – and nothing
            else – is pushed away from the camera.

    Returns:
        The projection.
    """
    x, y, z = points.unbind(-1)
    columns = params.camera.unbind(-1)
    scale, shift_x, shift_y = (column[:, None] for column in columns[:3])
    behind = z if bias is None else z - bias
    if params.camera_kind == "perspective":
        distance = columns[3][:, None]
        weight = 1 / (distance - z).clamp_min(1)
        nearness = 1 / (distance - behind).clamp_min(1)
        scale = scale * distance * weight
    else:
        weight = torch.ones_like(z)
        nearness = (behind / _DEEPEST_IOD + 1) / 2
    centre = (size - 1) / 2
    x_px = centre + size * (shift_x + scale * x)
    y_px = centre + size * (shift_y - scale * y)
    return Projection(x_px, y_px, nearness, weight)


def supersample_px(position_px: Tensor, factor: int) -> Tensor:
    """Give pixel positions in an image whose pixels are split ``factor`` times along each side."""
    return (position_px + 0.5) * factor - 0.5
