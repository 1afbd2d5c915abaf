"""Eyelids: a slit opened over an eyeball, never through it.

Lids are wrapped on a sphere a little larger than the eyeball, continued by its tangent cone; plain
bumps would let the white of the eye show through the skin.
"""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded.fields import EYE_HALF_WIDTH, EYE_X, Chart, Field, bump

EYE_RADIUS = 0.205
EYE_CENTRE_Y, EYE_CENTRE_Z = 0.02, 1.085
OPEN_UPPER, OPEN_LOWER = 0.102, -0.062
_LID_RADIUS = EYE_RADIUS + 0.032


def smooth_max(a: Field, b: Field, width: float) -> Field:
    """Maximum with a rounded corner of the given width."""
    h = np.clip(1.0 - np.abs(a - b) / width, 0.0, None)
    return np.maximum(a, b) + 0.25 * width * h * h


def wrap(points: Field) -> Field:
    """Depth of points laid over the eyeballs.

    Args:
        points: (n,3) positions.

    Returns:
        (n,) z, nowhere behind the eyeballs.
    """
    distance = np.hypot(np.abs(points[..., 0]) - EYE_X, points[..., 1] - EYE_CENTRE_Y)
    edge = 0.88 * _LID_RADIUS
    rise = np.sqrt(_LID_RADIUS**2 - np.minimum(distance, edge) ** 2)
    slope = edge / np.sqrt(_LID_RADIUS**2 - edge**2)
    ball = EYE_CENTRE_Z + rise - slope * np.maximum(distance - edge, 0.0)
    in_front = points[..., 2] > 0.5
    return np.where(in_front, smooth_max(points[..., 2], ball, 0.05), points[..., 2])


def set_lids(
    points: Field, chart: Chart, upper: float, lower: float, crease: float = 0.016
) -> Field:
    """Open or close the eyes of a surface with flat slits.

    Args:
        points: (n,3) surface with closed slits.
        chart: the same n points on the chart.
        upper: height of the middle of the upper lid above the slit line.
        lower: height of the middle of the lower lid (negative: below).
        crease: depth of the fold above the upper lid.

    Returns:
        (n,3) surface with lids on the eyeballs.
    """
    eye_x, y = chart.eye_offset, chart.y
    arch = np.clip(1.0 - np.abs(eye_x / EYE_HALF_WIDTH) ** 2.2, 0.0, 1.0) ** 0.75
    reach_up = np.clip(1.0 - np.abs(y) / 0.42, 0.0, 1.0) ** 2
    reach_down = np.clip(1.0 - np.abs(y) / 0.30, 0.0, 1.0) ** 2
    lift = np.where(chart.upper_eye > 0, upper * arch * reach_up, lower * arch * reach_down)
    tilt = 0.02 * np.clip(eye_x / EYE_HALF_WIDTH, -1.3, 1.3) * bump(eye_x, y, 0.3, 0.2, 4)
    moved = points.copy()
    moved[..., 1] += lift + tilt
    moved[..., 2] = wrap(moved)
    fold = crease * bump(eye_x, y - 0.085, 0.22, 0.022) * (chart.upper_eye > 0)
    moved[..., 2] -= fold
    return moved
