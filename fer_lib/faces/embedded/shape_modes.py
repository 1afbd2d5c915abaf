"""Identity modes: displacement of the face per unit coefficient, and how to draw identities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fer_lib.faces.embedded.fields import Chart, Field, bump, ramp
from fer_lib.faces.embedded.lids import EYE_CENTRE_Y, wrap
from fer_lib.faces.embedded.relief import nose_ridge

Components = tuple[Field | float, Field | float, Field | float]

SPREAD, LIMIT = 0.85, 2.0
_NARROW = {
    "head_width": 0.7,
    "face_length": 0.7,
    "nose_width": 0.75,
    "nose_protrusion": 0.7,
    "nose_length": 0.7,
    "nose_bridge": 0.7,
    "nose_tip": 0.7,
    "brow_slope": 0.55,
}
_MALE = {
    "jaw_width": 0.55,
    "brow_ridge": 0.65,
    "lip_upper": -0.3,
    "lip_lower": -0.3,
    "neck_width": 0.7,
    "chin_width": 0.4,
    "head_width": 0.25,
    "brow_height": -0.4,
    "nose_width": 0.2,
}
_FEMALE = {
    "jaw_width": -0.9,
    "brow_ridge": -0.7,
    "lip_upper": 0.35,
    "lip_lower": 0.35,
    "neck_width": -0.9,
    "chin_width": -0.6,
    "chin_length": -0.3,
    "eye_size": 0.5,
    "brow_height": 0.3,
    "nose_width": -0.4,
    "nose_protrusion": -0.4,
}


def _head(c: Chart, points: Field) -> dict[str, Components]:
    x, y, s = c.lateral, c.y, c.side
    return {
        "head_width": (points[..., 0] * 0.055, 0.0, 0.0),
        "head_height": (0.0, 0.075 * np.maximum(y - 0.4, 0), 0.0),
        "face_length": (0.0, 0.06 * np.minimum(y + 0.15, 0) * ramp(-2.4, -1.9, y), 0.0),
        "forehead": (0.0, 0.0, 0.07 * bump(x, y - 0.95, 0.8, 0.3)),
        "neck_width": (points[..., 0] * 0.09 * ramp(-1.85, -2.1, y), 0.0, 0.0),
        "cheek_fullness": (
            s * 0.05 * bump(x - 0.85, y + 0.95, 0.3, 0.35),
            0.0,
            0.06 * bump(x - 0.70, y + 0.9, 0.25, 0.3),
        ),
        "cheekbone": (s * 0.05 * bump(x - 0.9, y + 0.35, 0.25, 0.2), 0.0, 0.0),
    }


def _jaw(c: Chart, points: Field) -> dict[str, Components]:
    x, y, s = c.lateral, c.y, c.side
    jaw = 0.095 * bump(0 * x, y + 1.45, 1, 0.38) * ramp(0.25, 0.7, x)
    return {
        "jaw_width": (points[..., 0] * jaw, 0.0, 0.0),
        "chin_length": (0.0, -0.09 * bump(x, y + 1.72, 0.5, 0.22), 0.0),
        "chin_width": (s * 0.07 * bump(x - 0.33, y + 1.65, 0.2, 0.22), 0.0, 0.0),
        "chin_protrusion": (0.0, 0.0, 0.07 * bump(x, y + 1.65, 0.35, 0.2)),
    }


def _nose(c: Chart, points: Field) -> dict[str, Components]:
    x, y, s = c.lateral, c.y, c.side
    wide = 0.055 * bump(x - 0.2, y + 0.63, 0.12, 0.16) + 0.02 * bump(x - 0.1, y + 0.2, 0.08, 0.2)
    forward = 0.28 * nose_ridge(c) * bump(0 * x, y + 0.5, 1, 0.3)
    return {
        "nose_length": (0.0, -0.06 * bump(x, y + 0.62, 0.28, 0.22), 0.0),
        "nose_width": (s * wide, 0.0, 0.0),
        "nose_protrusion": (0.0, 0.0, forward),
        "nose_bridge": (0.0, 0.0, 0.07 * bump(x, y + 0.18, 0.09, 0.16)),
        "nose_tip": (0.0, 0.045 * bump(x, y + 0.62, 0.10, 0.08), 0.0),
    }


def _eyes(c: Chart, points: Field) -> dict[str, Components]:
    x, y, s, ex = c.lateral, c.y, c.side, c.eye_offset
    around = bump(ex, y, 0.3, 0.2, 4)
    brow = ramp(0.10, 0.26, y)
    height = 0.16 * (points[..., 1] - EYE_CENTRE_Y)
    return {
        "eye_spacing": (s * 0.045 * bump(ex, y, 0.33, 0.26, 4), 0.0, 0.0),
        "eye_size": (0.10 * s * ex * around, height * around, 0.0),
        "eye_tilt": (0.0, 0.11 * ex * around, 0.0),
        "eye_height": (0.0, 0.04 * bump(ex, y, 0.33, 0.26, 4), 0.0),
        "brow_height": (0.0, 0.05 * bump(x - 0.45, y - 0.38, 0.42, 0.14) * brow, 0.0),
        "brow_ridge": (0.0, 0.0, 0.05 * bump(x - 0.4, y - 0.34, 0.4, 0.1)),
        "brow_slope": (
            0.0,
            0.09 * (x - 0.45) * bump(x - 0.45, y - 0.38, 0.5, 0.15, 4) * brow,
            0.0,
        ),
    }


def _mouth(c: Chart, points: Field) -> dict[str, Components]:
    x, s, dm = c.lateral, c.side, c.mouth_offset
    upper = np.abs(dm) * np.exp(-((dm / 0.13) ** 4)) * (c.upper_mouth > 0)
    lower = np.abs(dm) * np.exp(-((dm / 0.16) ** 4)) * (c.upper_mouth < 0)
    taper = ramp(0.44, 0.2, x)
    return {
        "mouth_width": (s * 0.055 * bump(x - 0.40, dm, 0.2, 0.25), 0.0, 0.0),
        "mouth_height": (0.0, 0.045 * bump(x, dm, 0.55, 0.30, 4), 0.0),
        "lip_upper": (0.0, 0.30 * upper * taper, 0.20 * upper * taper),
        "lip_lower": (0.0, -0.30 * lower * taper, 0.20 * lower * taper),
    }


_GROUPS: tuple[Callable[[Chart, Field], dict[str, Components]], ...] = (
    _head,
    _jaw,
    _nose,
    _eyes,
    _mouth,
)
_WRAPPED = ("eye_size", "eye_tilt")


def shape_fields(chart: Chart, points: Field) -> dict[str, Field]:
    """Displacements of the face grid for every identity mode.

    Args:
        chart: n points.
        points: (n,3) the resting face.

    Returns:
        Mode name to (n,3) displacement per unit coefficient.
    """
    fields = {}
    for group in _GROUPS:
        for name, components in group(chart, points).items():
            shape = chart.x.shape
            field = np.stack([np.broadcast_to(part, shape) for part in components], -1)
            if name in _WRAPPED:
                field[..., 2] += 0.5 * (wrap(points + field) - wrap(points - field))
            fields[name] = field
    return fields


_POINT = np.zeros(1)
SHAPE_NAMES = tuple(shape_fields(Chart(_POINT, _POINT, _POINT, _POINT), np.zeros((1, 3))))


def sample_shape(generator: torch.Generator, n: int, male: bool) -> Tensor:
    """Draw plausible identities.

    Args:
        generator: source of randomness.
        n: number of identities.
        male: which of the two overlapping populations to draw from.

    Returns:
        (n,n_shape) float32 coefficients in [-2,2], in the order of `SHAPE_NAMES`.
    """
    spread = torch.tensor([_NARROW.get(name, SPREAD) for name in SHAPE_NAMES])
    centre = torch.tensor([(_MALE if male else _FEMALE).get(name, 0.0) for name in SHAPE_NAMES])
    draw = torch.randn(n, len(SHAPE_NAMES), generator=generator)
    return (centre + spread * draw).clamp(-LIMIT, LIMIT)
