"""Wrinkles: how much light a fold takes away per unit of an action unit.

These maps are the cue that only texture carries: they move no landmark.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fer_lib.faces.embedded.expression_modes import EXPRESSION_NAMES, ONE_SIDED
from fer_lib.faces.embedded.fields import Chart, Field, bump, ramp
from fer_lib.faces.embedded.grid import Index


def _line(distance: Field, width: float) -> Field:
    """A fold: a dark line with a faint bright flank, across `distance`."""
    dark = np.exp(-0.5 * (distance / width) ** 2)
    return dark - 0.35 * np.exp(-0.5 * ((np.abs(distance) - 2.6 * width) / width) ** 2)


def _forehead(c: Chart, centre: float, reach: float) -> Field:
    lines = 0 * c.x
    for k, y in enumerate((0.60, 0.72, 0.84)):
        bend = 0.05 * c.lateral**2 - 0.02 * np.sin(5 * c.lateral + k)
        lines = lines + _line(c.y - y + bend, 0.019)
    return lines * bump(c.lateral - centre, 0 * c.x, reach, 1.0, 3)


def _nasolabial(c: Chart) -> Field:
    down = np.clip((-0.62 - c.y) / 0.5, 0, 1.1)
    line = _line(c.lateral - (0.27 + 0.27 * down**0.85), 0.024)
    return line * ramp(-0.56, -0.72, c.y) * ramp(-1.20, -0.90, c.y)


def _crows_feet(c: Chart) -> Field:
    fan = 0 * c.x
    for angle in (-0.45, -0.05, 0.35):
        across = (c.y - 0.0) - (c.lateral - 0.74) * np.tan(angle)
        fan = fan + _line(across, 0.011)
    return fan * bump(c.lateral - 0.90, c.y, 0.075, 0.14, 3)


def _glabella(c: Chart) -> Field:
    lines = _line(c.lateral - 0.075 - 0.10 * (c.y - 0.36), 0.021)
    return lines * bump(0 * c.x, c.y - 0.38, 1.0, 0.11, 3) * (c.lateral < 0.3)


def _au09(c: Chart) -> Field:
    lines = 0 * c.x
    for y in (0.10, 0.17, 0.24):
        lines = lines + _line(c.y - y + 0.4 * c.lateral**2, 0.013)
    bridge = 0.40 * lines * bump(c.x, c.y - 0.17, 0.11, 0.10, 3)
    side = 0.35 * _line(c.y + 0.18 + 0.9 * (c.lateral - 0.16), 0.015)
    side = side * bump(c.lateral - 0.16, c.y + 0.18, 0.06, 0.10)
    wing = 0.32 * bump(c.lateral - 0.285, c.y + 0.62, 0.028, 0.09)
    return bridge + side + wing + 0.20 * _nasolabial(c)


def _au06(c: Chart) -> Field:
    below = _line(c.y + 0.20 - 0.10 * c.eye_offset, 0.016)
    below = below * bump(c.eye_offset, c.y + 0.2, 0.2, 0.06)
    return 0.34 * _crows_feet(c) + 0.26 * below


def _au14(c: Chart) -> Field:
    bow = c.lateral - 0.475 + 0.6 * (c.mouth_offset) ** 2
    return 0.50 * _line(bow, 0.016) * bump(0 * c.x, c.mouth_offset, 1.0, 0.08, 3)


def _au15(c: Chart) -> Field:
    across = c.lateral - 0.47 + 0.20 * (c.mouth_offset + 0.04)
    shade = np.exp(-0.5 * (across / 0.035) ** 2)
    return 0.22 * shade * bump(0 * c.x, c.mouth_offset + 0.15, 1.0, 0.12, 3)


def _au17(c: Chart) -> Field:
    dimples = np.sin(47 * c.x + 3 * np.sin(31 * c.y)) * np.sin(43 * c.y + 2 * np.sin(37 * c.x))
    ball = 0.20 * np.clip(dimples, -0.2, 1) * bump(c.x, c.y + 1.57, 0.18, 0.10, 3)
    return ball + 0.32 * bump(c.x, c.y + 1.40, 0.22, 0.03)


def _around_lips(c: Chart) -> Field:
    upper = bump(c.x, c.mouth_offset - c.upper_lip_height - 0.025, 0.3, 0.02)
    return upper + bump(c.x, c.mouth_offset + c.lower_lip_height + 0.03, 0.25, 0.025)


def _au23(c: Chart) -> Field:
    pleats = np.cos(70 * c.x) * bump(c.x, c.mouth_offset, 0.25, 0.10, 4)
    return 0.25 * _around_lips(c) + 0.12 * pleats


def _au20(c: Chart) -> Field:
    bow = _line(c.lateral - 0.56 + 0.5 * c.mouth_offset**2, 0.018)
    return 0.25 * bow * bump(0 * c.x, c.mouth_offset, 1.0, 0.14, 3)


_MAPS: dict[str, Callable[[Chart], Field]] = {
    "au01": lambda c: 0.27 * _forehead(c, 0.0, 0.34),
    "au02": lambda c: 0.22 * _forehead(c, 0.52, 0.26),
    "au04": lambda c: 0.50 * _glabella(c),
    "au06": _au06,
    "au09": _au09,
    "au10": lambda c: 0.34 * _nasolabial(c),
    "au12": lambda c: 0.34 * _nasolabial(c),
    "au14": _au14,
    "au15": _au15,
    "au17": _au17,
    "au20": _au20,
    "au23": _au23,
}


def wrinkle_maps(chart: Chart) -> tuple[Field, Index]:
    """Shade lost per unit of each expression mode that has wrinkles.

    Args:
        chart: (H,W) texels of the face.

    Returns:
        (n_w,H,W) maps and the (n_w,) expression modes they belong to.
    """
    maps = {name: field(chart) for name, field in _MAPS.items()}
    for unit in ONE_SIDED:
        maps[f"{unit}_left"] = maps[unit] * chart.subject_left
        maps[f"{unit}_right"] = maps[unit] * (1 - chart.subject_left)
    modes = np.array([EXPRESSION_NAMES.index(name) for name in maps], dtype=np.int64)
    return np.stack(list(maps.values())), modes
