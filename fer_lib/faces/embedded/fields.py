"""Scalar fields on the chart of the head: bumps, ramps and the coordinates they take.

Everything about the embedded head (relief, expressions, identity, texture) is a function of the
chart coordinates `x` and `y` (the front-view position of a point before relief, inter-ocular
distance = 1) and of two flags that tell the upper from the lower rim of the eye and mouth slits.
Nothing depends on the resolution of the grid or of the texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.floating]

FRONT_HALF_WIDTH, CHART_HALF_WIDTH = 2.05, 2.6
CROWN_Y, CHART_TOP, CHART_BOTTOM = 1.96, 1.92, -3.3
EYE_X, EYE_HALF_WIDTH = 0.5, 0.245
MOUTH_Y, MOUTH_HALF_WIDTH = -1.10, 0.40


def bump(x: ArrayLike, y: ArrayLike, width: float, height: float, power: float = 2.0) -> Field:
    """A (super-)Gaussian of height 1 at the origin.

    Args:
        x: horizontal offsets from the centre.
        y: vertical offsets from the centre.
        width: horizontal standard deviation.
        height: vertical standard deviation.
        power: 2 is Gaussian, larger is flatter with steeper flanks.

    Returns:
        exp(-(|x/width|^power + |y/height|^power) / 2).
    """
    horizontal = np.abs(np.asarray(x) / width) ** power
    vertical = np.abs(np.asarray(y) / height) ** power
    return np.exp(-0.5 * (horizontal + vertical))


def ramp(start: float, end: float, x: ArrayLike) -> Field:
    """Smooth step from 0 at `start` to 1 at `end`; `start > end` gives a falling one."""
    t = np.clip((np.asarray(x) - start) / (end - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def logistic(x: ArrayLike) -> Field:
    """1 / (1 + exp(-x)), safe for large arguments."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x)))


@dataclass(frozen=True)
class Chart:
    """Chart coordinates of a set of points (vertices or texels).

    Attributes:
        x: horizontal coordinate, positive on the subject's left.
        y: vertical coordinate, positive up; the eye slits lie at 0.
        upper_eye: +1 above the eye slit, -1 below; decides for points on the slit.
        upper_mouth: +1 above the mouth slit, -1 below.
    """

    x: Field
    y: Field
    upper_eye: Field
    upper_mouth: Field

    @cached_property
    def lateral(self) -> Field:
        """Distance from the midline, |x|."""
        return np.abs(self.x)

    @cached_property
    def side(self) -> Field:
        """Smooth sign of x; a hard one would cut a notch down the chin."""
        return np.tanh(self.x / 0.07)

    @cached_property
    def eye_offset(self) -> Field:
        """Horizontal offset from the centre of the eye, outward positive."""
        return self.lateral - EYE_X

    @cached_property
    def mouth_offset(self) -> Field:
        """Vertical offset from the mouth line."""
        return self.y - MOUTH_Y

    @cached_property
    def lip_taper(self) -> Field:
        """1 at the middle of the mouth, 0 at its corners and beyond."""
        return np.clip(1.0 - (self.lateral / MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0)

    @cached_property
    def upper_lip_height(self) -> Field:
        """Height of the red of the upper lip, with the dip of the Cupid's bow."""
        bow = 1.0 - 0.24 * np.exp(-((self.lateral / 0.055) ** 2))
        return 0.115 * self.lip_taper**0.7 * bow

    @cached_property
    def lower_lip_height(self) -> Field:
        """Height of the red of the lower lip."""
        return 0.150 * self.lip_taper**0.75

    @cached_property
    def subject_left(self) -> Field:
        """Blend that is 1 on the subject's left half and 0 on the right."""
        return ramp(-0.1, 0.1, self.x)
