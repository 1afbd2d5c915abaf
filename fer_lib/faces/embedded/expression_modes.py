"""Expression modes: one displacement field per facial action unit, plus gaze and one-sided units.

Action units are those of the Facial Action Coding System (Ekman, Friesen & Hager 2002). A field is
the displacement of the skin in inter-ocular distances at intensity 1. Symbols: dm height over the
mouth line, s smooth sign of x.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fer_lib.faces.embedded.fields import Chart, Field, bump, ramp
from fer_lib.faces.embedded.lids import OPEN_LOWER, OPEN_UPPER, set_lids

ONE_SIDED = ("au02", "au10", "au12", "au14")


class Motion:
    """What the fields need: the chart, the closed surface and a few shared weights."""

    def __init__(self, chart: Chart, closed: Field) -> None:
        """Prepare the shared weights.

        Args:
            chart: n points.
            closed: (n,3) the surface before the lids are opened.
        """
        self.chart, self.closed = chart, closed
        self.x, self.y, self.s = chart.lateral, chart.y, chart.side
        self.dm, self.lip = chart.mouth_offset, np.sqrt(chart.lip_taper)
        self.template = set_lids(closed, chart, OPEN_UPPER, OPEN_LOWER)
        self.brow = ramp(0.10, 0.26, self.y)
        self.corner = bump(self.x - 0.43, self.dm, 0.17, 0.19)
        self.off_centre = ramp(0.02, 0.36, self.x)
        reach = np.exp(-((np.abs(self.dm) / 0.22) ** 2))
        self.upper_lip = reach * (chart.upper_mouth > 0)
        self.lower_lip = reach * (chart.upper_mouth < 0)

    def lids(self, upper: float, lower: float, crease: float = 0.016) -> Field:
        """Displacement from the resting lids to others."""
        return set_lids(self.closed, self.chart, upper, lower, crease) - self.template

    def stack(self, dx: Field | float, dy: Field | float, dz: Field | float) -> Field:
        """(n,3) displacement from its components."""
        shape = self.x.shape
        return np.stack([np.broadcast_to(d, shape) for d in (dx, dy, dz)], -1)


def _au01(m: Motion) -> Field:
    dy = 0.15 * bump(m.x - 0.17, m.y - 0.42, 0.17, 0.18) * m.brow
    dx = -0.02 * m.s * bump(m.x - 0.2, m.y - 0.38, 0.15, 0.14)
    return m.stack(dx, dy, 0.0)


def _au02(m: Motion) -> Field:
    lift = 0.14 * bump(m.x - 0.64, m.y - 0.42, 0.24, 0.20)
    lift = lift + 0.03 * bump(m.x - 0.25, m.y - 0.42, 0.2, 0.2)
    return m.stack(0.0, lift * m.brow, 0.0)


def _au04(m: Motion) -> Field:
    dx = -0.075 * m.s * bump(m.x - 0.25, m.y - 0.36, 0.17, 0.13) * m.brow * ramp(0, 0.12, m.x)
    lower = 0.115 * bump(m.x - 0.20, m.y - 0.36, 0.19, 0.15)
    lower = lower + 0.06 * bump(m.x - 0.5, m.y - 0.36, 0.18, 0.13)
    dz = 0.03 * bump(m.x - 0.15, m.y - 0.34, 0.12, 0.10)
    return m.stack(dx, -lower * ramp(0.04, 0.20, m.y), dz)


def _au05(m: Motion) -> Field:
    return m.lids(0.185, OPEN_LOWER)


def _lower_lid_up(m: Motion) -> Field:
    return m.lids(OPEN_UPPER, 0.0)


def _au06(m: Motion) -> Field:
    dy = 0.085 * bump(m.x - 0.58, m.y + 0.42, 0.24, 0.17)
    dz = 0.045 * bump(m.x - 0.58, m.y + 0.36, 0.22, 0.14)
    return 0.55 * _lower_lid_up(m) + m.stack(0.0, dy, dz)


def _au07(m: Motion) -> Field:
    return 0.30 * _au43(m) + 0.75 * _lower_lid_up(m)


def _au09(m: Motion) -> Field:
    wing = 0.085 * bump(m.x - 0.17, m.y + 0.60, 0.12, 0.14)
    bridge = 0.05 * bump(m.x - 0.1, m.y + 0.2, 0.14, 0.2) * ramp(0.3, 0.1, m.y)
    brow = -0.075 * bump(m.x - 0.16, m.y - 0.34, 0.16, 0.12) * ramp(0.04, 0.2, m.y)
    lip = 0.055 * m.upper_lip * m.lip * bump(m.x, 0, 0.25, 1)
    dz = 0.04 * bump(m.x - 0.17, m.y + 0.4, 0.10, 0.14)
    dz = dz + 0.03 * bump(m.x - 0.2, m.y + 0.62, 0.08, 0.08)
    return 0.3 * _lower_lid_up(m) + m.stack(0.0, wing + bridge + brow + lip, dz)


def _au10(m: Motion) -> Field:
    lip = 0.135 * m.upper_lip * m.lip * bump(m.x - 0.17, 0, 0.19, 1)
    cheek = 0.05 * bump(m.x - 0.34, m.y + 0.75, 0.14, 0.17)
    wing = 0.03 * bump(m.x - 0.19, m.y + 0.64, 0.09, 0.09)
    dz = 0.03 * bump(m.x - 0.36, m.y + 0.72, 0.12, 0.15)
    return m.stack(0.0, lip + cheek + wing, dz)


def _au12(m: Motion) -> Field:
    pull = m.corner * m.off_centre
    middle = m.lip * np.exp(-((m.dm / 0.2) ** 2))
    dy = 0.165 * pull + 0.06 * bump(m.x - 0.58, m.y + 0.55, 0.2, 0.17) - 0.012 * middle
    dz = -0.075 * pull + 0.06 * bump(m.x - 0.58, m.y + 0.52, 0.18, 0.15) - 0.02 * middle
    return m.stack(0.145 * m.s * pull, dy, dz)


def _au14(m: Motion) -> Field:
    pull = bump(m.x - 0.44, m.dm, 0.13, 0.12) * m.off_centre
    dz = 0.02 * bump(m.x - 0.58, m.dm, 0.08, 0.12) - 0.09 * bump(m.x - 0.46, m.dm, 0.10, 0.12)
    return m.stack(0.07 * m.s * pull, 0.02 * pull, dz)


def _au15(m: Motion) -> Field:
    drop = -0.135 * bump(m.x - 0.42, m.dm + 0.02, 0.14, 0.17) * m.off_centre
    middle = 0.025 * m.lip * np.exp(-((m.dm / 0.15) ** 2)) * bump(m.x, 0, 0.2, 1)
    return m.stack(0.02 * m.s * m.corner * m.off_centre, drop + middle, -0.02 * m.corner)


def _au17(m: Motion) -> Field:
    lips = m.upper_lip + m.lower_lip
    dy = 0.10 * bump(m.x, m.y + 1.52, 0.24, 0.14) + 0.05 * lips * bump(m.x, 0, 0.25, 1)
    dz = 0.05 * bump(m.x, m.y + 1.5, 0.2, 0.10) + 0.015 * lips * bump(m.x, 0, 0.2, 1)
    return m.stack(0.0, dy, dz)


def _au18(m: Motion) -> Field:
    dx = -0.11 * m.s * m.corner * m.off_centre
    dx = dx - 0.05 * m.s * bump(m.x - 0.2, m.dm, 0.15, 0.15)
    return m.stack(dx, 0.0, 0.10 * np.exp(-((m.dm / 0.16) ** 2)) * bump(m.x, 0, 0.22, 1))


def _au20(m: Motion) -> Field:
    pull = m.corner * m.off_centre
    return m.stack(0.15 * m.s * pull, -0.035 * pull, -0.055 * pull)


def _au23(m: Motion) -> Field:
    squeeze = np.clip(m.dm, -0.2, 0.2) * np.exp(-((m.dm / 0.17) ** 4)) * ramp(0.52, 0.30, m.x)
    dz = -0.05 * np.exp(-((m.dm / 0.13) ** 2)) * ramp(0.50, 0.25, m.x)
    return m.stack(-0.035 * m.s * m.corner * m.off_centre, -0.55 * squeeze, dz)


def _au25(m: Motion) -> Field:
    return m.stack(0.0, 0.045 * m.upper_lip * m.lip - 0.085 * m.lower_lip * m.lip**1.4, 0.0)


def _au26(m: Motion) -> Field:
    corner = 0.22 * bump(m.x - 0.43, m.dm, 0.16, 0.20)
    opening = 1 - (1 - m.chart.lip_taper**0.6) * np.exp(-((m.dm / 0.2) ** 2))
    opening = np.where(m.chart.upper_mouth < 0, opening, 0.0)
    lateral = np.exp(-0.5 * (np.maximum(m.x - 0.25, 0) / 0.42) ** 2)
    jaw = np.clip(corner + opening * (1 - corner) * lateral, 0, 1) * ramp(-2.5, -1.95, m.y)
    dx = -0.05 * m.s * bump(m.x - 0.45, m.y + 1.15, 0.2, 0.3)
    return m.stack(dx, -0.42 * jaw, -0.10 * jaw)


def _au43(m: Motion) -> Field:
    return m.lids(-0.045, -0.052, 0.004)


_FIELDS: dict[str, Callable[[Motion], Field]] = {
    "au01": _au01,
    "au02": _au02,
    "au04": _au04,
    "au05": _au05,
    "au06": _au06,
    "au07": _au07,
    "au09": _au09,
    "au10": _au10,
    "au12": _au12,
    "au14": _au14,
    "au15": _au15,
    "au17": _au17,
    "au18": _au18,
    "au20": _au20,
    "au23": _au23,
    "au25": _au25,
    "au26": _au26,
    "au43": _au43,
}
GAZE = ("gaze_x", "gaze_y")
EXPRESSION_NAMES = (
    *_FIELDS,
    *GAZE,
    *(f"{unit}_{side}" for unit in ONE_SIDED for side in ("left", "right")),
)


def expression_fields(chart: Chart, closed: Field) -> Field:
    """Displacements of the face grid for every expression mode.

    Args:
        chart: n points.
        closed: (n,3) the surface before the lids are opened.

    Returns:
        (len(EXPRESSION_NAMES),n,3); gaze moves no skin and is 0 here.
    """
    motion = Motion(chart, closed)
    whole = {name: field(motion) for name, field in _FIELDS.items()}
    fields = [*whole.values(), *(np.zeros_like(closed) for _ in GAZE)]
    left = chart.subject_left[:, None]
    for unit in ONE_SIDED:
        fields += [whole[unit] * left, whole[unit] * (1.0 - left)]
    return np.stack(fields)
