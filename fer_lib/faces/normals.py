"""Vertex normals of a batch of shaped heads, the same bits every time."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Fans(NamedTuple):
    """The triangles around every vertex, listed once per mesh.

    Attributes:
        corners: ``(3, F)`` int64, the triangles with welded vertices as one.
        around: ``(3 F,)`` int64, triangles in the order of the vertices that they touch.
        starts: ``(V,)`` int64, where each vertex's triangles start in ``around``.
        weld: ``(V,)`` int64, the vertex that stands for all at the same place; None where no
            vertices are welded.
    """

    corners: Tensor
    around: Tensor
    starts: Tensor
    weld: Tensor | None


def list_fans(triangles: Tensor, weld: Tensor) -> Fans:
    """List the triangles around every vertex.

    Args:
        triangles: ``(F, 3)`` int64, counter-clockwise from outside.
        weld: ``(V,)`` int64, the vertex that stands for all at the same place, else itself.
    """
    welded = weld[triangles]
    order = torch.argsort(welded.flatten(), stable=True)
    counts = torch.bincount(welded.flatten(), minlength=len(weld))
    apart = bool((weld == torch.arange(len(weld), device=weld.device)).all())
    around = torch.div(order, 3, rounding_mode="floor")
    return Fans(welded.T.contiguous(), around, counts.cumsum(0) - counts, None if apart else weld)


def fan_normals(points: Tensor, fans: Fans) -> Tensor:
    """Average the normals of the triangles around every vertex, weighted by their area.

    Args:
        points: ``(B, V, 3)``.
        fans: the triangles around every vertex.

    Returns:
        Unit vectors ``(3, B, V)``; zero where a vertex has no triangle, equal where welded.
    """
    batch, vertices, _ = points.shape
    rows = points.permute(1, 2, 0).reshape(vertices, 3 * batch)
    first, second, third = (rows.index_select(0, c).view(-1, 3, batch) for c in fans.corners)
    across = _cross(second - first, third - first)
    # Sums over lists of neighbours: the same rounding every time, unlike scattered additions.
    summed = F.embedding_bag(fans.around, across, fans.starts, mode="sum")
    if fans.weld is not None:
        summed = summed.index_select(0, fans.weld)
    return unit(summed.view(vertices, 3, batch).permute(1, 2, 0).contiguous())


def _cross(a: Tensor, b: Tensor) -> Tensor:
    ax, ay, az = a.unbind(1)
    bx, by, bz = b.unbind(1)
    return torch.cat([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=1)


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors ``(3, …)`` to length one; zero stays zero."""
    x, y, z = vectors
    return vectors / (x * x + y * y + z * z).clamp_min(1e-24).sqrt()
