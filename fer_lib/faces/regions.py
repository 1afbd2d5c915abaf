"""Regions of a face as soft masks, from its landmarks: face, outside, mouth, eyes.

Every region is a convex polygon moved outwards by a margin. Coordinates are pixels with pixel
centres at integers. Lengths are fractions of the face's size: the root of its polygon's area, which
unlike the distance of the eyes hardly shrinks when the head turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from fer_lib.faces.mesh_points import IBUG68, MESH_POINTS

REGIONS = ("face", "outside", "mouth", "eyes")
# The band between face and outside belongs to neither: an edit may redraw the outline.
MARGINS = MappingProxyType({"face": 0.0, "outside": 0.1, "mouth": 0.05, "eyes": 0.06})
# The 68 points end at the brows. Above them a forehead is arched, at its middle as high as this
# share of the way from them down to the base of the nose: the face of the mesh has no better fit.
FOREHEAD = 0.5
_BROWS, _NOSE_BASE = slice(17, 27), 33
_PARTS = {"mouth": (slice(48, 60),), "eyes": (slice(36, 42), slice(42, 48))}
_SURFACE = 468

Polygon = list[tuple[float, float]]


def region_masks(
    landmarks: Tensor, size: int | tuple[int, int], *, feather: float = 0.0
) -> dict[str, Tensor]:
    """Draw the regions of faces.

    ``face`` is the hull of the points (of 68 points: and of a forehead above the brows),
    ``outside`` what is further from it than a margin, ``mouth`` the hull of the outer lips and
    ``eyes`` that of each eye, both with a margin (``MARGINS``). A face whose points are not all
    known, or lie on one line, has empty regions, ``outside`` included.

    Args:
        landmarks: `(B, 68, 2)` in iBUG order or `(B, 478, 2 or 3)` mesh points, in pixels.
        size: side of the image in pixels, or its height and width.
        feather: width of the ramp from 1 at a region's border (with its margin) to 0 further out
            (of ``outside``: from 0 to 1), a fraction of the face's size; 0 for hard borders.

    Returns:
        Region → `(B, H, W)` float32 in [0, 1].

    Raises:
        ValueError: the landmarks are of another kind or shape, or a length is negative.
    """
    _check(landmarks, feather)
    height, width = (size, size) if isinstance(size, int) else size
    hulls = [_hulls(face) for face in landmarks[..., :2].detach().double().cpu()]
    areas = torch.tensor([_area(parts["face"][0]) for parts in hulls], device=landmarks.device)
    known, scale = (values[:, None, None] for values in (areas > 0, areas.sqrt()))
    masks = {}
    for part in ("face", "mouth", "eyes"):
        polygons = zip(*(parts[part] for parts in hulls), strict=True)
        away = [_distance(group, height, width, landmarks.device) for group in polygons]
        masks[part] = torch.stack(away).amin(dim=0)
    masks["outside"] = masks["face"]
    masks = {name: _ramp(masks[name] - MARGINS[name] * scale, feather * scale) for name in REGIONS}
    masks["outside"] = 1 - masks["outside"]
    return {name: mask * known for name, mask in masks.items()}


def join_regions(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the regions of an edit and its source together: in either, but outside of both.

    A mouth that opens covers other pixels than before; the mask of one image would miss them. Where
    one of the two has no known region, the other's holds.

    Args:
        first: from ``region_masks``.
        second: the same faces, before or after.

    Returns:
        Region → `(B, H, W)` float32 in [0, 1].
    """
    joined = {name: torch.maximum(first[name], second[name]) for name in REGIONS}
    known = [masks["face"].amax(dim=(1, 2)) > 0 for masks in (first, second)]
    both = (known[0] & known[1])[:, None, None]
    nearer = torch.minimum(first["outside"], second["outside"])
    return joined | {"outside": torch.where(both, nearer, joined["outside"])}


def _check(landmarks: Tensor, feather: float) -> None:
    kinds = {(68, 2), (MESH_POINTS, 2), (MESH_POINTS, 3)}
    if landmarks.ndim != 3 or tuple(landmarks.shape[1:]) not in kinds or not len(landmarks):
        raise ValueError(
            f"expected landmarks (B, 68, 2) or (B, {MESH_POINTS}, 2 or 3), B not 0, got "
            f"{tuple(landmarks.shape)}; convert them first"
        )
    if not landmarks.is_floating_point():
        raise ValueError(f"expected floating-point landmarks in px, got {landmarks.dtype}")
    if not feather >= 0:
        raise ValueError(f"expected a feather of 0 or more, got {feather}; do not negate it")


def _hulls(points: Tensor) -> dict[str, list[Polygon]]:
    """Give every part's polygons for one face; single points at 0 where a point is unknown."""
    mesh = len(points) == MESH_POINTS
    points = points[:_SURFACE]
    points = points if points.isfinite().all() else torch.zeros_like(points)
    named = points[torch.from_numpy(IBUG68)] if mesh else points
    face = points if mesh else torch.cat((points, _forehead(points)))
    parts = {name: [_hull(named[part]) for part in _PARTS[name]] for name in _PARTS}
    return {"face": [_hull(face)], **parts}


def _forehead(points: Tensor) -> Tensor:
    brows = points[_BROWS]
    arch = torch.linspace(0, torch.pi, len(brows) + 2, dtype=points.dtype)[1:-1].sin()
    return brows + FOREHEAD * arch[:, None] * (brows.mean(dim=0) - points[_NOSE_BASE])


def _hull(points: Tensor) -> Polygon:
    """Give the corners of the convex hull in turn (monotone chain, Andrew 1979)."""
    ordered = sorted(set(map(tuple, points.tolist())))
    if len(ordered) < 3:
        return ordered
    return _chain(ordered)[:-1] + _chain(ordered[::-1])[:-1]


def _chain(ordered: Sequence[tuple[float, float]]) -> Polygon:
    chain: Polygon = []
    for x, y in ordered:
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _ramp(beyond: Tensor, width: Tensor) -> Tensor:
    """Fall from 1 where a pixel is not beyond the border to 0 at the ramp's width beyond it."""
    return (1 - beyond.clamp_min(0) / width.clamp_min(1e-6)).clamp_min(0)


def _area(polygon: Polygon) -> float:
    corners = torch.tensor(polygon, dtype=torch.float64)
    (x, y), (u, v) = corners.T, corners.roll(-1, dims=0).T
    return float((x * v - u * y).sum()) / 2


def _distance(polygons: Sequence[Polygon], height: int, width: int, device: torch.device) -> Tensor:
    """Give every pixel's distance from one convex polygon per image, 0 inside: `(B, H, W)` px."""
    # Shorter polygons repeat their last corner: an edge without length changes nothing.
    corners = max(len(polygon) for polygon in polygons)
    padded = [polygon + polygon[-1:] * (corners - len(polygon)) for polygon in polygons]
    start = torch.tensor(padded, dtype=torch.float32, device=device)[..., None, None]
    y = torch.arange(height, dtype=torch.float32, device=device)[:, None]
    x = torch.arange(width, dtype=torch.float32, device=device)
    nearest = torch.full((len(polygons), height, width), torch.inf, device=device)
    # A point or a line has no inside, though nothing lies to the wrong side of its edges.
    areas = torch.tensor([len(polygon) > 2 for polygon in polygons], device=device)
    inside = areas[:, None, None].expand_as(nearest).clone()
    for a, b in zip(start.unbind(1), start.roll(-1, dims=1).unbind(1), strict=True):
        (edge_x, edge_y), (to_x, to_y) = (b - a).unbind(1), (x - a[:, 0], y - a[:, 1])
        length = (edge_x.square() + edge_y.square()).clamp_min(1e-12)
        share = ((to_x * edge_x + to_y * edge_y) / length).clamp(0, 1)
        gap = (to_x - share * edge_x).square() + (to_y - share * edge_y).square()
        nearest = torch.minimum(nearest, gap)
        inside &= edge_x * to_y >= edge_y * to_x
    return torch.where(inside, 0.0, nearest.sqrt())
