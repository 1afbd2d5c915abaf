"""Signed distances to lines and outlines, from which things before a face are drawn."""

from __future__ import annotations

import torch
from torch import Tensor


def coverage(distance: Tensor, scale_px: float, soft: float = 0.0) -> Tensor:
    """Turn a signed distance into an opacity with a smooth rim.

    Args:
        distance: negative inside, in inter-ocular distances (IOD).
        scale_px: pixels per IOD; the rim is one pixel wide.
        soft: further width of the rim, in IOD.

    Returns:
        Opacity in [0, 1].
    """
    return (0.5 - distance / (1 / scale_px + soft)).clamp(0, 1)


def _offsets(points_px: Tensor, size: int, scale_px: float) -> tuple[Tensor, Tensor]:
    """From every point to every pixel, in IOD: x and y ``(n, size, size)``."""
    line = torch.arange(size, dtype=torch.float32)
    x = (line[None, None, :] - points_px[:, 0, None, None]) / scale_px
    y = (line[None, :, None] - points_px[:, 1, None, None]) / scale_px
    return torch.broadcast_tensors(x, y)


def distance_to_line(points_px: Tensor, size: int, scale_px: float) -> Tensor:
    """Measure how far every pixel is from an open line.

    Args:
        points_px: ``(n, 2)`` corners of the line in pixels.
        size: side of the square image in pixels.
        scale_px: pixels per IOD.

    Returns:
        ``(size, size)`` in IOD.
    """
    x, y = _offsets(points_px[:-1], size, scale_px)
    dx, dy = ((points_px[1:] - points_px[:-1]) / scale_px).T[:, :, None, None]
    along = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp_min(1e-9)).clamp(0, 1)
    return ((x - along * dx).square() + (y - along * dy).square()).amin(dim=0).sqrt()


def distance_to_outline(points_px: Tensor, size: int, scale_px: float) -> Tensor:
    """Measure how far every pixel is from a closed outline, negative inside.

    Args:
        points_px: ``(n, 2)`` corners in pixels, in either sense.
        size: side of the square image in pixels.
        scale_px: pixels per IOD.

    Returns:
        ``(size, size)`` in IOD.
    """
    closed = torch.cat([points_px, points_px[:1]])
    x, y = _offsets(closed, size, scale_px)
    above, next_above = y[:-1] >= 0, y[1:] >= 0
    turn = x[:-1] * y[1:] - x[1:] * y[:-1]
    crossed = (above != next_above) & ((turn > 0) == above)
    inside = crossed.sum(dim=0) % 2 == 1
    distance = distance_to_line(closed, size, scale_px)
    return torch.where(inside, -distance, distance)
