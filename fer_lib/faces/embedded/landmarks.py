"""The 68 landmarks of the iBUG 300-W scheme as vertices of the face grid.

Source: Sagonas et al. 2016, "300 faces in-the-wild challenge", figure 1: jaw, brows, nose, eyes,
outer lips, inner lips, each from image left to right.
"""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded.fields import EYE_HALF_WIDTH, EYE_X, MOUTH_HALF_WIDTH, MOUTH_Y, Chart
from fer_lib.faces.embedded.grid import Grid, Index

_JAW_X = (1.62, 1.58, 1.52, 1.42, 1.26, 1.02, 0.74, 0.40, 0.0)
_JAW_Y = (-0.05, -0.35, -0.72, -1.08, -1.38, -1.58, -1.70, -1.76, -1.78)
_BROW = ((0.80, 0.33), (0.66, 0.395), (0.50, 0.415), (0.34, 0.395), (0.17, 0.35))
_BRIDGE = (0.02, -0.20, -0.40, -0.58)
_NOSE_BASE = ((0.19, -0.72), (0.10, -0.755), (0.0, -0.775))
_EYE_IN, _EYE_OUT = EYE_X - EYE_HALF_WIDTH, EYE_X + EYE_HALF_WIDTH

Target = tuple[float, float, int]


def _mirrored(half: list[tuple[float, float]]) -> list[Target]:
    """A line of points from image left to right; the last of `half` lies on the midline."""
    right = [(-x, y, 0) for x, y in half]
    return right + [(x, y, 0) for x, y in half[-2::-1]]


def _eye(side: int) -> list[Target]:
    """Corner, two of the upper lid, corner, two of the lower lid (back to the start)."""
    xs = [side * x for x in (_EYE_OUT, 0.58, 0.42, _EYE_IN)]
    if side > 0:
        xs = xs[::-1]
    upper = [(xs[0], 0.0, 1), (xs[1], 0.0, 1), (xs[2], 0.0, 1), (xs[3], 0.0, 1)]
    return [*upper, (xs[2], 0.0, -1), (xs[1], 0.0, -1)]


def _mouth() -> list[Target]:
    """Outer lips clockwise from the image-left corner, then inner lips."""
    chart = Chart(np.array([0.25, 0.09, 0.12, 0.0]), np.zeros(4), np.ones(4), np.ones(4))
    high, low = MOUTH_Y + chart.upper_lip_height, MOUTH_Y - chart.lower_lip_height
    top = [(0.25, high[0]), (0.09, high[1]), (0.0, high[3])]
    bottom = [(0.25, low[0]), (0.12, low[2]), (0.0, low[3])]
    corner = MOUTH_HALF_WIDTH
    outer = [(-corner, MOUTH_Y, 0), *_mirrored(top), (corner, MOUTH_Y, 0)]
    outer += _mirrored(bottom)[::-1]
    inner = [(-0.34, MOUTH_Y, 1), (-0.13, MOUTH_Y, 1), (0.0, MOUTH_Y, 1), (0.13, MOUTH_Y, 1)]
    inner += [(0.34, MOUTH_Y, 1), (0.13, MOUTH_Y, -1), (0.0, MOUTH_Y, -1), (-0.13, MOUTH_Y, -1)]
    return outer + inner


def landmark_targets() -> list[Target]:
    """Chart position and side flag (0 any, +1 upper rim, -1 lower rim) of the 68 landmarks."""
    jaw = _mirrored(list(zip(_JAW_X, _JAW_Y, strict=True)))
    brows = [(-x, y, 0) for x, y in _BROW] + [(x, y, 0) for x, y in _BROW[::-1]]
    bridge = [(0.0, y, 0) for y in _BRIDGE]
    nose = [*bridge, *_mirrored(list(_NOSE_BASE))]
    return [*jaw, *brows, *nose, *_eye(-1), *_eye(1), *_mouth()]


def landmark_vertices(grid: Grid) -> Index:
    """Nearest grid vertex of every landmark, (68,)."""
    chart = grid.chart
    found = []
    for x, y, flag in landmark_targets():
        distance = (chart.x - x) ** 2 + (chart.y - y) ** 2
        rim = chart.upper_mouth if y < -0.5 else chart.upper_eye
        found.append(int((distance + 9.0 * ((flag != 0) & (rim != flag))).argmin()))
    return np.array(found, dtype=np.int64)
