"""The resting surface of the head: a profile swept round the skull, and the relief of the face."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from fer_lib.faces.embedded.fields import (
    CHART_HALF_WIDTH,
    FRONT_HALF_WIDTH,
    MOUTH_HALF_WIDTH,
    Chart,
    Field,
    bump,
    ramp,
)

SWEEP = 2.15  # radians from the midline to where the back of the head begins

# y, front depth, half width, y at the side of the head, centre depth
_PROFILE = np.array(
    [
        (1.96, -0.10, 0.02, 1.92, -0.10),
        (1.92, 0.20, 0.30, 1.90, -0.10),
        (1.84, 0.62, 0.58, 1.84, -0.08),
        (1.62, 1.02, 0.86, 1.62, -0.05),
        (1.25, 1.33, 1.04, 1.25, 0.0),
        (0.90, 1.46, 1.12, 0.90, 0.0),
        (0.50, 1.51, 1.14, 0.50, 0.0),
        (0.25, 1.50, 1.13, 0.25, 0.0),
        (0.00, 1.43, 1.12, 0.00, 0.0),
        (-0.40, 1.43, 1.09, -0.34, 0.0),
        (-0.75, 1.45, 1.03, -0.58, 0.0),
        (-1.10, 1.44, 0.96, -0.80, 0.05),
        (-1.35, 1.40, 0.90, -0.95, 0.08),
        (-1.60, 1.41, 0.85, -1.06, 0.10),
        (-1.78, 1.33, 0.82, -1.16, 0.10),
        (-1.90, 1.12, 0.80, -1.30, 0.05),
        (-1.98, 0.86, 0.77, -1.45, -0.05),
        (-2.15, 0.70, 0.74, -1.75, -0.15),
        (-2.60, 0.64, 0.75, -2.45, -0.20),
        (-3.30, 0.62, 0.95, -3.30, -0.25),
    ]
)[::-1]
_PROFILE_CURVES = PchipInterpolator(_PROFILE[:, 0], _PROFILE[:, 1:], axis=0)


def sweep_angle(x: Field, y: Field) -> Field:
    """Angle round the vertical axis of a chart point; 0 at the midline, ±π behind."""
    half_width = _PROFILE_CURVES(y)[..., 1]
    q = np.clip(x / FRONT_HALF_WIDTH, -1.0, 1.0)
    # A steeper start would make the angle turn back before the end of the front.
    slope = np.minimum(FRONT_HALF_WIDTH / half_width, 1.35 * SWEEP)
    behind = np.abs(x) - FRONT_HALF_WIDTH
    rest = np.clip(behind / (CHART_HALF_WIDTH - FRONT_HALF_WIDTH), 0.0, 1.0) * (np.pi - SWEEP)
    return slope * q + (SWEEP - slope) * q**3 + np.sign(x) * rest


def skull(angle: Field, y: Field) -> Field:
    """The smooth head without a face.

    Args:
        angle: angle round the vertical axis in radians.
        y: chart height.

    Returns:
        (…,3) positions.
    """
    front, half_width, side_y, centre = np.moveaxis(_PROFILE_CURVES(y), -1, 0)
    half_width = half_width * np.interp(
        y, [-3.3, -1.9, -1.3, 0.0, 1.9], [1.0, 1.03, 1.06, 1.07, 1.07]
    )
    cosine = np.cos(angle)
    drop = np.clip(1.0 - cosine, 0.0, 1.0)
    return np.stack(
        [
            half_width * np.sin(angle),
            y + (side_y - y) * drop,
            centre + (front - centre) * cosine,
        ],
        -1,
    )


def nose_ridge(chart: Chart) -> Field:
    """Height of the nose above the face; 0 away from it."""
    y = chart.y
    t = np.clip((0.16 - y) / 0.76, 0.0, 1.0)
    bridge = 0.06 * ramp(0.30, 0.05, y) + 0.32 * t**1.2
    under = 0.38 * np.maximum(np.cos(np.clip((-0.60 - y) / 0.19, 0, 1) * np.pi / 2), 0) ** 0.9
    ridge = np.where(y > -0.60, bridge, np.where(y > -0.79, under, 0.0))
    width = (0.09 + 0.045 * t) * (1 - 0.30 * np.clip((-0.60 - y) / 0.19, 0, 1))
    core = 0.65 * np.exp(-0.5 * (chart.lateral / width) ** 2)
    return ridge * (core + 0.35 * np.exp(-0.5 * (chart.lateral / (2 * width)) ** 2))


def nose_relief(chart: Chart) -> Field:
    """Ridge, tip and wings of the nose."""
    x, y = chart.lateral, chart.y
    wings = bump(x - 0.195, y + 0.66, 0.075, 0.078, 2.3) * (1 - 0.3 * np.exp(-0.5 * (x / 0.1) ** 2))
    ball = 0.07 * bump(x, y + 0.60, 0.135, 0.09)
    nostril = 0.035 * bump(x - 0.095, y + 0.735, 0.05, 0.03)
    return nose_ridge(chart) + ball + 0.155 * wings - nostril


def bone_relief(chart: Chart) -> Field:
    """Sockets, brow ridge, cheekbones, muzzle, chin and the folds between them."""
    x, y = chart.lateral, chart.y
    fold_x = 0.30 + 0.22 * np.clip((-0.6 - y) / 0.5, 0, 1)
    return (
        -0.12 * bump(chart.eye_offset + 0.02, y - 0.03, 0.27, 0.20, 2.6)
        + 0.055 * bump(x - 0.42, y - 0.36, 0.34, 0.10)
        - 0.03 * bump(x, y - 0.42, 0.12, 0.12)
        + 0.085 * bump(x - 0.66, y + 0.42, 0.26, 0.24)
        - 0.03 * bump(x - 0.80, y + 1.0, 0.18, 0.28)
        + 0.075 * bump(x, y + 1.12, 0.40, 0.30)
        + 0.085 * bump(x, y + 1.63, 0.26, 0.15)
        - 0.03 * bump(x, y + 1.37, 0.25, 0.07)
        - 0.022 * bump(x, y + 0.90, 0.045, 0.09)
        + 0.012 * bump(x - 0.07, y + 0.90, 0.03, 0.09)
        - 0.035 * bump(x - fold_x, 0 * y, 0.05, 1.0) * bump(0 * x, y + 0.86, 1.0, 0.17)
    )


def lip_relief(chart: Chart) -> Field:
    """Fullness of the lips and the groove between them.

    The two copies of a slit vertex get the same depth, so a closed mouth has no crack.
    """
    dm, taper = chart.mouth_offset, chart.lip_taper
    upper_h, lower_h = chart.upper_lip_height, chart.lower_lip_height
    tu = np.clip(dm / np.maximum(upper_h, 1e-6), 0, 1.6)
    tl = np.clip(-dm / np.maximum(lower_h, 1e-6), 0, 1.6)
    roll = 0.03 * np.sin(np.pi * np.minimum(tu, 1)).clip(0) ** 0.8
    upper = (roll + 0.055 * np.exp(-(((tu - 0.75) / 0.5) ** 2))) * np.clip(upper_h / 0.08, 0, 1)
    lower = 0.085 * np.exp(-(((tl - 0.55) / 0.42) ** 2)) * np.clip(lower_h / 0.1, 0, 1)
    fullness = np.where(chart.upper_mouth > 0, upper, lower)
    groove = 0.035 * np.exp(-((dm / 0.035) ** 2)) * ramp(0.50, 0.35, chart.lateral)
    corner = 0.03 * bump(chart.lateral - MOUTH_HALF_WIDTH - 0.04, dm, 0.05, 0.06)
    return fullness * taper**0.3 * (1 - np.exp(-((dm / 0.018) ** 2))) - groove - corner


def resting_surface(chart: Chart) -> Field:
    """The face with its eye slits still closed and flat.

    Args:
        chart: n points.

    Returns:
        (n,3) positions.
    """
    angle = sweep_angle(chart.x, chart.y)
    points = skull(angle, chart.y)
    front = ramp(0.0, 0.5, np.cos(angle))
    points[..., 2] += front * (nose_relief(chart) + bone_relief(chart) + lip_relief(chart))
    overhang = nose_ridge(chart) / 0.38 * bump(chart.lateral, chart.y + 0.66, 0.2, 0.10)
    points[..., 1] -= 0.055 * front * overhang
    return points


def ear_relief(u: Field, v: Field) -> Field:
    """Height of the outer ear over its plane.

    Args:
        u: -1 at the cheek, 1 at the back edge.
        v: -1 at the lobe, 1 at the top.
    """
    radius = np.hypot(u, v)
    helix = 0.10 * np.exp(-0.5 * ((radius - 0.86) / 0.09) ** 2) * ramp(-0.75, 0.2, v + 0.6 * u)
    antihelix = 0.07 * np.exp(-0.5 * ((np.hypot(u + 0.25, v - 0.05) - 0.55) / 0.12) ** 2)
    concha = -0.08 * bump(u + 0.25, v + 0.05, 0.26, 0.30)
    tragus = 0.06 * bump(u + 0.72, v + 0.10, 0.14, 0.16)
    lobe = 0.05 * bump(u + 0.2, v + 0.85, 0.30, 0.18)
    return helix + antihelix * ramp(-0.3, 0.2, u + 0.4) + concha + tragus + lobe
