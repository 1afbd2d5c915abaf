"""Which triangle is seen at which pixel, for a batch of faces, in plain tensor operations.

Triangles are cut into pixel rows and rows into pixels, so only covered pixels are looked at and
triangles may have any size. One integer maximum per pixel picks the nearest triangle; equal
nearness is decided by the triangle's number, so the answer never depends on the order of work.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_EDGE_TOLERANCE = 1e-5
_ID_BITS = 31


class Fragments(NamedTuple):
    """Pixels that show a triangle, ordered by face, row and column.

    Attributes:
        pixel: ``(P,)`` int64, number of the pixel in the flattened ``(B, size, size)`` images.
        face: ``(P,)`` int64, number of the face in the batch.
        corners: ``(3, P)`` int64, vertex numbers of the triangle seen there.
        size: side of the images in pixels.
    """

    pixel: Tensor
    face: Tensor
    corners: Tensor
    size: int


class _Runs(NamedTuple):
    """Neighbouring pixels of one row in one triangle; all ``(N,)``."""

    first_pixel: Tensor
    length: Tensor
    nearness: Tensor
    slope: Tensor
    triangle: Tensor


@torch.no_grad()
def rasterise(
    x_px: Tensor, y_px: Tensor, nearness: Tensor, triangles: Tensor, size: int
) -> Fragments:
    """Find the nearest front-facing triangle at every pixel centre.

    Args:
        x_px: ``(B, V)``, rightwards; the first pixel's centre is 0.
        y_px: ``(B, V)``, downwards.
        nearness: ``(B, V)`` in (0, 1), larger is nearer, affine over the image of a triangle.
        triangles: ``(F, 3)`` int64, counter-clockwise as seen from their front.
        size: side of the square images in pixels.

    Returns:
        The covered pixels.
    """
    planes, visible = _triangle_planes(x_px, y_px, nearness, triangles, size)
    runs = _cut_into_runs(planes, size)
    owner, step = _expand(runs.length)
    depth = runs.nearness.index_select(0, owner) + runs.slope.index_select(0, owner) * step
    key = (depth * 2.0**32).long() << _ID_BITS | runs.triangle.index_select(0, owner)
    image = torch.full((len(x_px) * size * size,), -1, dtype=torch.int64, device=x_px.device)
    image.scatter_reduce_(0, runs.first_pixel.index_select(0, owner) + step, key, "amax")
    pixel = torch.nonzero(image >= 0).squeeze(1)
    seen = visible.index_select(0, image.index_select(0, pixel) & ((1 << _ID_BITS) - 1))
    face = torch.div(pixel, size * size, rounding_mode="floor")
    corners = triangles.T.index_select(1, seen - face * len(triangles))
    return Fragments(pixel, face, corners, size)


def _expand(length: Tensor) -> tuple[Tensor, Tensor]:
    """List the members of groups of the given lengths: their group, and their number in it."""
    owner = torch.repeat_interleave(length)
    first = length.cumsum(0) - length
    return owner, torch.arange(len(owner), device=owner.device) - first.index_select(0, owner)


def _triangle_planes(
    x_px: Tensor, y_px: Tensor, nearness: Tensor, triangles: Tensor, size: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Describe the triangles that may cover a pixel centre, and give their numbers."""
    corners = triangles.T.contiguous()
    x, y = ([t.index_select(1, c) for c in corners] for t in (x_px, y_px))
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    left, right = _pixel_range(x, size)
    top, bottom = _pixel_range(y, size)
    # y runs downwards, so a front side has negative area.
    drawn = (area < 0) & (left <= right) & (top <= bottom)
    visible = torch.nonzero(drawn.flatten()).squeeze(1)
    box = {"left": left, "right": right, "top": top, "bottom": bottom}
    planes = {name: _take(value, visible) for name, value in box.items()}
    face = torch.div(visible, len(triangles), rounding_mode="floor")
    shown = corners.index_select(1, visible - face * len(triangles)) + face * x_px.shape[1]
    x, y, z = ([_take(t, c) for c in shown] for t in (x_px, y_px, nearness))
    planes |= _edges(x, y, z, 1 / _take(area, visible), planes["left"], planes["top"])
    return planes | {"face": face}, visible


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.flatten().index_select(0, index)


def _pixel_range(corners: list[Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Give the first and the last pixel centre that a triangle may cover along one axis."""
    low = torch.minimum(torch.minimum(corners[0], corners[1]), corners[2])
    high = torch.maximum(torch.maximum(corners[0], corners[1]), corners[2])
    return low.ceil_().clamp_(0, size), high.floor_().clamp_(-1, size - 1)


def _edges(
    x: list[Tensor], y: list[Tensor], z: list[Tensor], inverse: Tensor, left: Tensor, top: Tensor
) -> dict[str, Tensor]:
    """Give barycentric coordinates and nearness at a box's first pixel, and their slopes."""
    planes: dict[str, Tensor] = {}
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        across, down = (y[i] - y[j]) * inverse, (x[j] - x[i]) * inverse
        planes[f"across{k}"], planes[f"down{k}"] = across, down
        planes[f"first{k}"] = (left - x[i]) * across + (top - y[i]) * down
    second, third = z[1] - z[0], z[2] - z[0]
    for name in ("across", "down", "first"):
        planes[f"{name}_z"] = planes[f"{name}1"] * second + planes[f"{name}2"] * third
    planes["first_z"] += z[0]
    return planes


def _cut_into_runs(planes: dict[str, Tensor], size: int) -> _Runs:
    """Cut triangles into runs of pixels, one per image row."""
    owner, step = _expand((planes["bottom"] - planes["top"]).long() + 1)
    down = step.float()
    low, high = torch.zeros_like(down), _take(planes["right"] - planes["left"], owner)
    for k in range(3):
        value = _take(planes[f"first{k}"], owner) + _EDGE_TOLERANCE
        value += down * _take(planes[f"down{k}"], owner)
        slope = _take(planes[f"across{k}"], owner)
        bound = -value / slope
        low = torch.where(slope > 0, torch.maximum(low, bound), low)
        high = torch.where(slope < 0, torch.minimum(high, bound), high)
        high = torch.where((slope == 0) & (value < 0), -1.0, high)
    low = low.ceil_()
    length = (high.floor_() - low + 1).clamp_(min=0).long()
    kept = torch.nonzero(length).squeeze(1)
    owner, low, down = (t.index_select(0, kept) for t in (owner, low, down))
    row = _take(planes["face"], owner) * size + (_take(planes["top"], owner) + down).long()
    first_pixel = row * size + (_take(planes["left"], owner) + low).long()
    slope = _take(planes["across_z"], owner)
    nearness = _take(planes["first_z"], owner) + low * slope
    nearness += down * _take(planes["down_z"], owner)
    return _Runs(first_pixel, length.index_select(0, kept), nearness, slope, owner)


def barycentric(fragments: Fragments, x_px: Tensor, y_px: Tensor) -> tuple[Tensor, ...]:
    """Give every covered pixel's barycentric coordinates in the image of its triangle.

    Args:
        fragments: as ``rasterise`` gives them.
        x_px: ``(B, V)``, as given to ``rasterise``; gradients flow to it.
        y_px: ``(B, V)``.

    Returns:
        Three tensors ``(P,)``, summing to one.
    """
    index = fragments.corners + fragments.face * x_px.shape[1]
    row = torch.div(fragments.pixel, fragments.size, rounding_mode="floor")
    column = (fragments.pixel - row * fragments.size).to(x_px.dtype)
    row = (row - fragments.face * fragments.size).to(x_px.dtype)
    x, y = ([_take(t, c) - at for c in index] for t, at in ((x_px, column), (y_px, row)))
    inverse = 1 / ((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    second = (x[2] * y[0] - x[0] * y[2]) * inverse
    third = (x[0] * y[1] - x[1] * y[0]) * inverse
    return 1 - second - third, second, third
