"""Colours: albedo modes that are linear in light, and natural combinations of them.

A region (skin, lip, brow, hair, iris, beard, shirt) has a mean colour and three directions that
span RGB; its colour is their linear combination, so any colour has exact coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fer_lib.faces.embedded.fields import Field
from fer_lib.faces.embedded.groom import Groom


def linear_light(srgb: ArrayLike) -> Field:
    """Display colour in [0,1] to linear light, with the plain 2.2 power law."""
    return np.asarray(srgb, float) ** 2.2


@dataclass(frozen=True)
class Region:
    """A part of the head with one colour.

    Attributes:
        name: which.
        mean: (3,) linear RGB at coefficient 0.
        axes: names of the three directions.
        directions: (3,3) linear RGB change per unit of each.
    """

    name: str
    mean: Field
    axes: tuple[str, str, str]
    directions: Field

    def coefficients(self, colour: Field) -> Field:
        """Coefficients that give a linear colour, (3,)."""
        return np.linalg.solve(self.directions.T, colour - self.mean)


_SKIN_KEYS = linear_light(
    [
        (0.93, 0.77, 0.68),
        (0.88, 0.69, 0.57),
        (0.78, 0.56, 0.43),
        (0.60, 0.40, 0.29),
        (0.42, 0.28, 0.21),
    ]
)
_HAIR_KEYS = linear_light(
    [
        (0.09, 0.075, 0.07),
        (0.20, 0.13, 0.09),
        (0.33, 0.21, 0.13),
        (0.50, 0.32, 0.18),
        (0.76, 0.60, 0.36),
        (0.50, 0.25, 0.13),
        (0.62, 0.60, 0.58),
    ]
)
_HAIR_ODDS_LIGHT_SKIN = (0.12, 0.24, 0.24, 0.14, 0.14, 0.07, 0.05)
_HAIR_ODDS_DARK_SKIN = (0.62, 0.30, 0.03, 0.0, 0.0, 0.0, 0.05)
_IRIS_KEYS = linear_light(
    [
        (0.25, 0.15, 0.09),
        (0.38, 0.24, 0.12),
        (0.45, 0.42, 0.24),
        (0.40, 0.55, 0.68),
        (0.48, 0.55, 0.56),
    ]
)
_SHIRT_KEYS = linear_light(
    [
        (0.20, 0.24, 0.34),
        (0.86, 0.86, 0.84),
        (0.16, 0.16, 0.17),
        (0.50, 0.18, 0.18),
        (0.25, 0.38, 0.30),
        (0.45, 0.55, 0.70),
        (0.72, 0.66, 0.56),
        (0.42, 0.42, 0.44),
    ]
)
_NEUTRAL_AXES = ("lightness", "warmth", "tint")
_NEUTRAL = np.array([(1.0, 1.0, 1.0), (0.5, 0.0, -0.5), (0.25, -0.35, 0.25)])
_SKIN_DIRECTIONS = np.array([(-0.20, -0.145, -0.11), (0.06, -0.03, -0.03), (0.02, 0.015, -0.05)])


def _region(name: str, mean: Field, scale: float) -> Region:
    return Region(name, mean, _NEUTRAL_AXES, scale * _NEUTRAL)


REGIONS = (
    Region("skin", _SKIN_KEYS[1], ("melanin", "haemoglobin", "carotene"), _SKIN_DIRECTIONS),
    _region("lip", linear_light((0.76, 0.45, 0.41)), 0.12),
    _region("brow", linear_light((0.27, 0.18, 0.13)), 0.08),
    _region("hair", linear_light((0.33, 0.21, 0.13)), 0.15),
    _region("iris", linear_light((0.38, 0.30, 0.20)), 0.12),
    _region("beard", np.zeros(3), 0.15),
    _region("shirt", linear_light((0.42, 0.44, 0.50)), 0.25),
)
OVERLAYS = ("blush", "freckles", "eye_shadow")
ALBEDO_NAMES = (*(f"{r.name}_{axis}" for r in REGIONS for axis in r.axes), *OVERLAYS)


def skin_colour(melanin: float) -> Field:
    """Linear skin colour for melanin 0 (pale) to 1 (dark)."""
    at = np.linspace(0, 1, len(_SKIN_KEYS))
    return np.stack([np.interp(melanin, at, _SKIN_KEYS[:, c]) for c in range(3)])


def _choose(keys: Field, odds: tuple[float, ...] | None, u: float) -> Field:
    weights = np.full(len(keys), 1 / len(keys)) if odds is None else np.asarray(odds)
    pick = int(np.searchsorted(np.cumsum(weights / weights.sum()), u))
    return keys[min(pick, len(keys) - 1)]


def _subject_colours(u: list[float], n: list[float], groom: Groom) -> dict[str, Field]:
    """Colour of every region of one subject from uniform and normal draws."""
    melanin = u[0] ** 1.25
    flush = 1 + 0.045 * n[0] * np.array([1.0, -0.5, -0.6])
    skin = skin_colour(melanin) * flush * (1 + 0.05 * n[1])
    lip = skin * np.array([0.86, 0.50, 0.50]) + np.array([0.05, 0.006, 0.011])
    lipstick = linear_light((0.62 + 0.15 * n[2], 0.16, 0.22)).clip(0, 1)
    made_up = groom.beard == "none" and u[1] < 0.35
    lip = lip + (0.6 * u[2] * (lipstick - lip) if made_up else 0.0)
    odds = _HAIR_ODDS_DARK_SKIN if melanin > 0.55 else _HAIR_ODDS_LIGHT_SKIN
    hair = _choose(_HAIR_KEYS, odds, u[3]) * np.exp(0.15 * n[3])
    iris = _choose(_IRIS_KEYS[: 1 if melanin > 0.55 else 5], None, u[4]) * np.exp(0.12 * n[4])
    opacity = {"none": 0.0, "stubble": 0.30 + 0.15 * u[5]}.get(groom.beard, 0.75 + 0.2 * u[5])
    return {
        "skin": skin,
        "lip": lip,
        "brow": 0.55 * hair + 0.12 * skin,
        "hair": hair,
        "iris": iris,
        "beard": opacity * (0.9 * hair - skin),
        "shirt": _choose(_SHIRT_KEYS, None, u[6]) * np.exp(0.2 * n[5]),
    }


def sample_albedo(generator: torch.Generator, n: int, groom: Groom) -> Tensor:
    """Draw natural colourings: dark hair and eyes with dark skin, lips after the skin, and so on.

    Args:
        generator: source of randomness.
        n: number of subjects.
        groom: decides whether there is a beard to colour.

    Returns:
        (n,n_albedo) float32 coefficients in the order of `ALBEDO_NAMES`.
    """
    rows = []
    for _ in range(n):
        u = torch.rand(10, generator=generator).tolist()
        normal = torch.randn(6, generator=generator).tolist()
        colours = _subject_colours(u, normal, groom)
        row = [region.coefficients(colours[region.name]) for region in REGIONS]
        shadow = u[9] if groom.beard == "none" and u[1] < 0.35 else 0.0
        lightness = float(colours["skin"].mean()) / 0.5
        freckles = max(0.0, 2.0 * u[8] - 1.2) * (u[0] < 0.35)
        overlays = [1.2 * u[7] * lightness, freckles, shadow * lightness]
        rows.append(np.concatenate([*row, overlays]))
    return torch.tensor(np.stack(rows), dtype=torch.float32)
