"""Hair on the skull: where it grows, how it lies, and how far it stands off the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lib.faces.embedded.fields import (
    CHART_HALF_WIDTH,
    Chart,
    Field,
    bump,
    logistic,
    ramp,
)
from fer_lib.faces.embedded.groom import Groom


def smooth_noise(rng: np.random.Generator, length: int, knots: int) -> Field:
    """A smooth random curve with values of standard deviation about 1."""
    values = rng.standard_normal(knots + 3)
    at = np.linspace(0, knots, length)
    low = np.floor(at).astype(int)
    t = at - low
    t = t * t * (3 - 2 * t)
    return values[low] * (1 - t) + values[low + 1] * t


def _strand_place(x: Field) -> Field:
    """Position across the head in [0,1], in proportion to the texture's columns.

    Strands of equal width in the texture are nowhere finer than its texels.
    """
    at = np.linspace(-CHART_HALF_WIDTH, CHART_HALF_WIDTH, 513)
    total = np.cumsum(31.0 * np.exp(-((at / 0.95) ** 6)) + 11.0)
    return np.interp(x, at, total / total[-1])


def strands(chart: Chart, groom: Groom) -> Field:
    """Pattern of strands that fall from the crown, of standard deviation about 1."""
    rng = np.random.default_rng(groom.seed)
    sway = groom.wave * 0.008 * np.sin(7.0 * chart.y + 3.0 * np.sin(2.0 * chart.x))
    at = np.clip(_strand_place(chart.x) + sway, 0, 1) * 2047
    samples = np.arange(2048)
    total = np.zeros_like(at)
    for weight, knots in ((0.6, 30), (0.6, 70), (0.6, 130)):
        curve = smooth_noise(rng, 2048, knots)
        # Coarse waves drift as they fall, so that no two heights are alike.
        drift = rng.uniform(-12, 12) * np.sin(1.5 * chart.y + rng.uniform(0, 6))
        total += weight * np.interp(at + drift, samples, curve)
    return total.astype(chart.x.dtype)


def hair_field(chart: Chart, groom: Groom) -> Field:
    """Signed height over the hairline; positive where hair grows."""
    x = chart.lateral
    parted = np.clip(1 - np.abs(chart.x - 0.45 * groom.parting) / 0.5, 0, 1)
    line = groom.hairline - 0.10 * np.minimum(x / 0.6, 1.5) ** 2
    line = line + groom.temple_recession * bump(x - 0.58, 0 * x, 0.20, 1.0)
    line = line - groom.fringe * ramp(1.0, 0.4, x) * (1 - 0.5 * abs(groom.parting) * parted)
    line = line - (groom.hairline - 0.30) * ramp(0.58, 1.10, x)
    if groom.long_hair:
        line = line - 0.75 * ramp(0.98, 1.5, x)
    else:
        sideburn = bump(x - 1.22, 0 * x, 0.13, 1.0, 4)
        line = line - (0.15 + 0.55 * groom.side_length) * sideburn
    line = line - (0.5 if groom.long_hair else 1.25) * ramp(1.78, 2.0, x)
    return chart.y - line


@dataclass(frozen=True)
class Hair:
    """Hair as it is painted on a set of points.

    Attributes:
        strand: pattern of strands, of standard deviation about 1.
        cover: opacity of hair on the skin in [0,1].
    """

    strand: Field
    cover: Field


def comb(chart: Chart, groom: Groom) -> Hair:
    """Hair of one groom on the texels of the face."""
    strand = strands(chart, groom)
    if groom.bald:
        return Hair(strand, np.zeros_like(chart.x))
    return Hair(strand, logistic(24.0 * hair_field(chart, groom) + 0.9 * strand))


def lift_depth(y: Field, groom: Groom) -> Field:
    """Thickness of grown hair by height, in inter-ocular distances."""
    return 0.04 + (0.06 + 0.12 * ramp(0.4, 1.6, y)) * groom.volume


def hair_lift(chart: Chart, groom: Groom, strand: Field) -> Field:
    """How far hair stands off the skin, in inter-ocular distances."""
    if groom.bald:
        return np.zeros_like(chart.x)
    grown = logistic(14.0 * hair_field(chart, groom) - 0.8)
    # The two ends of the grid meet behind the head and must not part there.
    relief = 0.07 * np.clip(strand, -1.5, 1.5) * ramp(CHART_HALF_WIDTH, 2.3, chart.lateral)
    return grown * lift_depth(chart.y, groom) * (1.0 + relief)


def hair_shadow(chart: Chart, groom: Groom) -> Field:
    """Share of light that reaches the skin next to the hair."""
    if groom.bald:
        return np.ones_like(chart.x)
    below = np.minimum(hair_field(chart, groom), 0.0)
    return 1.0 - (0.16 + 0.16 * groom.volume) * np.exp(below / 0.07)
