"""What is painted on the skin: lips, brows, lashes, nostrils, beard, shading that never moves."""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded.fields import (
    EYE_HALF_WIDTH,
    MOUTH_HALF_WIDTH,
    Chart,
    Field,
    bump,
    logistic,
    ramp,
)
from fer_lib.faces.embedded.groom import Groom


def lip_mask(chart: Chart) -> Field:
    """Red of the lips in [0,1]."""
    dm = chart.mouth_offset
    inside = np.where(dm >= 0, chart.upper_lip_height - dm, chart.lower_lip_height + dm)
    return logistic(inside / 0.009) * ramp(0.42, 0.37, chart.lateral)


def brow_mask(chart: Chart, groom: Groom, rng: np.random.Generator) -> Field:
    """Eyebrows in [0,1], with hairs."""
    x, y = chart.lateral, chart.y
    along = np.clip((x - 0.17) / 0.67, 0, 1)
    centre = 0.335 + 0.075 * np.clip((x - 0.17) / 0.4, 0, None) ** 0.8
    centre = centre - 0.10 * np.clip((x - 0.57) / 0.28, 0, None) ** 1.6
    thickness = groom.brow_thickness * 0.052 * (1 - 0.6 * along**1.5) * ramp(0.10, 0.22, x)
    hairs = np.sin(90 * (x + 0.9 * (y - centre)) + 2 * np.sin(40 * x + 25 * y))
    edge = (thickness - 0.012 - np.abs(y - centre)) / 0.013 + 0.5 * hairs
    noise = 0.05 * rng.standard_normal(x.shape, np.float32)
    ends = ramp(0.90, 0.80, x) * ramp(0.11, 0.16, x)
    return np.clip(logistic(edge) * (0.88 + noise), 0, 1) * ends


def lash_mask(chart: Chart) -> Field:
    """Dark line of lashes along the lids in [0,1]."""
    outward = chart.eye_offset / EYE_HALF_WIDTH
    within = np.where(outward > 0, ramp(1.12, 0.92, outward), ramp(0.95, 0.65, -outward))
    upper = np.exp(-((chart.y / 0.026) ** 2)) * (chart.y >= 0)
    lower = 0.35 * np.exp(-((chart.y / 0.013) ** 2)) * (chart.y < 0)
    return within * (0.9 * upper + lower)


def occlusion(chart: Chart) -> Field:
    """Share of light that reaches each point of the resting face, a factor per texel."""
    x, y, ex, dm = chart.lateral, chart.y, chart.eye_offset, chart.mouth_offset
    shade = (
        1.0
        - 0.22 * bump(ex + 0.10, y - 0.14, 0.26, 0.09, 2.4)
        - 0.18 * bump(x - 0.17, y - 0.06, 0.07, 0.14)
        - 0.12 * bump(ex, y + 0.16, 0.20, 0.045)
        - 0.30 * bump(x, y + 0.80, 0.15, 0.045)
        - 0.30 * bump(x - 0.275, y + 0.66, 0.028, 0.075)
        - 0.10 * bump(x - 0.33 - 0.25 * np.clip(-0.7 - y, 0, 0.4), y + 0.82, 0.045, 0.13)
        - 0.22 * bump(x, y + 1.32, 0.20, 0.05)
        - 0.15 * bump(x - MOUTH_HALF_WIDTH - 0.02, dm, 0.05, 0.045)
        - 0.45 * ramp(-1.76, -1.92, y) * ramp(-2.9, -2.2, y) * ramp(1.9, 1.2, x)
    )
    crease = 0.25 * bump(ex, y - 0.105, 0.23, 0.016) * ramp(1.1, 0.8, np.abs(ex / 0.27))
    return np.clip(shade - crease, 0.2, 1.2)


def ink(chart: Chart) -> Field:
    """Nearly black lines in [0,1]: lashes, nostrils, the line between the lips."""
    nostril = bump(
        chart.lateral - 0.095, chart.y + 0.728 + 0.25 * (chart.lateral - 0.095), 0.048, 0.022, 2.5
    )
    seam = np.exp(-((chart.mouth_offset / 0.010) ** 2)) * ramp(0.43, 0.36, chart.lateral)
    return np.clip(np.maximum.reduce([lash_mask(chart), 0.85 * nostril, 0.6 * seam]), 0, 1)


def skin_tint(chart: Chart, rng: np.random.Generator) -> Field:
    """Factor per texel and channel: redder cheeks, nose and chin, mottle, shadows; (…,3)."""
    x, y = chart.lateral, chart.y
    red = (
        0.75 * bump(x - 0.62, y + 0.55, 0.22, 0.20)
        + 0.8 * bump(x, y + 0.60, 0.16, 0.12)
        + 0.35 * bump(x, y + 1.6, 0.25, 0.15)
        + 0.35 * bump(chart.eye_offset, y, 0.30, 0.09)
    )
    blotch = np.sin(6 * chart.x + 3 * np.sin(5 * y)) * np.sin(7 * y + 2 * np.sin(4 * chart.x))
    red = np.clip(red + 0.10 * blotch, -0.15, 1)[..., None] * np.array([0.02, -0.15, -0.14])
    under_eye = bump(chart.eye_offset + 0.05, y + 0.17, 0.18, 0.05)[..., None]
    under_eye = under_eye * np.array([-0.10, -0.11, -0.06])
    fade = (ramp(1.2, 0.8, np.abs(y + 0.5) / 1.3) * 0.75 + 0.25)[..., None]
    mottle = 1 + 0.025 * fade * rng.standard_normal((*x.shape, 1))
    return (1 + red + under_eye) * mottle * occlusion(chart)[..., None]


def beard_mask(chart: Chart, groom: Groom, rng: np.random.Generator) -> Field:
    """Where the beard grows in [0,1]."""
    x, y, dm = chart.lateral, chart.y, chart.mouth_offset
    droop = y + 0.905 + 0.55 * np.clip(x - 0.10, 0, 0.4) ** 1.2
    moustache = bump(x, droop, 0.40, 0.068, 4) * (1 - 0.45 * bump(x, y + 0.86, 0.04, 0.06))
    goatee = bump(x, y + 1.62, 0.30, 0.22, 4) + 0.7 * bump(x - 0.42, dm + 0.16, 0.07, 0.22, 4)
    cheek_line = -0.62 - 0.55 * ramp(1.15, 0.55, x)
    full = logistic((cheek_line - y) / 0.05) * ramp(0.36, 0.46, x + 0.25 * ramp(-1.3, -1.45, y))
    full = full * ramp(-2.15, -1.85, y) * ramp(1.62, 1.40, x)
    kinds = {
        "none": 0 * x,
        "moustache": moustache,
        "goatee": np.maximum(moustache, goatee),
        "stubble": np.maximum.reduce([moustache, goatee, full]),
        "full": np.maximum.reduce([moustache, goatee, full]),
    }
    hairs = 1 + (0.30 if groom.beard == "stubble" else 0.18) * rng.standard_normal(
        x.shape, np.float32
    )
    return np.clip(np.clip(kinds[groom.beard], 0, 1) * hairs, 0, 1)


def freckle_mask(chart: Chart, rng: np.random.Generator) -> Field:
    """Freckles over nose and cheeks in [0,1]."""
    spots = (rng.random(chart.x.shape) > 0.965).astype(float)
    soft = sum(np.roll(spots, shift, axis) for shift in (-1, 1) for axis in (0, 1))
    area = bump(chart.lateral - 0.35, chart.y + 0.42, 0.38, 0.20)
    return np.clip(spots + 0.35 * np.asarray(soft), 0, 1) * area
