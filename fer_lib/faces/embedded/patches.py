"""Texture patches of the parts: eye, ear, locks, teeth, mouth, shirt."""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded import atlas
from fer_lib.faces.embedded.fields import Field, bump, ramp
from fer_lib.faces.embedded.relief import ear_relief

IRIS_DEG, PUPIL_DEG = 30.5, 11.5
_SCLERA = np.array([0.70, 0.66, 0.63])
_CANTHUS = np.array([0.42, 0.19, 0.16])
_PUPIL = np.array([0.008, 0.007, 0.007])
_TOOTH = np.array([0.72, 0.67, 0.58])
_GUM = np.array([0.38, 0.13, 0.12])
_CAVITY = np.array([0.045, 0.012, 0.011])
_TONGUE = np.array([0.36, 0.12, 0.11])


def _eye(rng: np.random.Generator) -> tuple[Field, Field]:
    """Fixed colour and iris weight of the eye patch."""
    u, v = atlas.EYE.coordinates()
    x, y = 2 * u - 1, 1 - 2 * v
    angle = np.hypot(x, y) ** (1 / atlas.EYE_PATCH_POWER) * atlas.EYE_PATCH_DEG
    turn = np.arctan2(y, x)
    pupil = ramp(PUPIL_DEG + 1.2, PUPIL_DEG - 1.2, angle)
    iris = ramp(IRIS_DEG + 2.0, IRIS_DEG - 1.5, angle)
    phase = rng.uniform(0, 2 * np.pi, 3)
    fibres = sum(np.cos(k * turn + p) for k, p in zip((17, 29, 43), phase, strict=True))
    depth = (angle - PUPIL_DEG) / (IRIS_DEG - PUPIL_DEG)
    glow = 0.75 + 0.10 * np.asarray(fibres) + 0.5 * bump(depth - 0.35, 0 * depth, 0.25, 1.0)
    limbus = 1 - 0.75 * ramp(0.72, 1.05, depth)
    lit = glow * limbus * (1 - 0.35 * ramp(-0.05, 0.45, y))
    sclera = _SCLERA * (1 - 0.35 * ramp(0.15, 0.75, y))[..., None]
    pink = ramp(48, 66, angle)[..., None]
    sclera = sclera * (1 - pink) + _CANTHUS * pink
    fixed = sclera * (1 - iris)[..., None] + _PUPIL * (iris * pupil)[..., None]
    weight = np.broadcast_to((iris * (1 - pupil) * lit)[..., None], fixed.shape)
    return fixed, weight


def _teeth(patch: atlas.Patch, upper: bool) -> Field:
    """A row of teeth with gums."""
    u, v = patch.coordinates()
    if not upper:
        v = 1 - v
    x = np.abs(2 * u - 1)
    edges = np.array([0.0, 0.26, 0.47, 0.68, 0.86, 1.02]) if upper else np.linspace(0, 1, 7)
    gap = np.min(np.abs(x[..., None] - edges), -1)
    tooth = _TOOTH * (1 - 0.55 * np.exp(-((gap / 0.022) ** 2)))[..., None]
    tooth = tooth * (1 - 0.75 * x**2.0)[..., None].clip(0.2)
    scallop = 0.36 + 0.10 * np.cos(gap / 0.11 * np.pi / 2)
    gum = ramp(scallop + 0.05, scallop - 0.05, v)[..., None]
    bite = 1 - 0.3 * ramp(0.88, 1.0, v)[..., None]
    return (tooth * (1 - gum) + _GUM * gum) * bite


def _ear() -> Field:
    """Shading of the ear's folds."""
    u, v = atlas.EAR.coordinates()
    u, v = 2 * u - 1, 1 - 2 * v
    shade = 0.92 + 2.0 * np.clip(ear_relief(u, v), -0.15, 0.04)
    shade = shade - 0.25 * bump(u + 0.35, v + 0.12, 0.16, 0.2)
    return shade[..., None] * np.array([1.0, 0.90, 0.90])


def _locks(rng: np.random.Generator) -> Field:
    """Strands of long hair, running down the patch."""
    u, v = atlas.LOCKS.coordinates()
    total = 0 * u
    for frequency, weight in ((9, 0.10), (23, 0.12), (51, 0.12), (83, 0.10)):
        a, b = rng.uniform(0, 2 * np.pi, 2)
        sway = 0.6 * np.sin(4 * v + b)
        total = total + weight * np.sin(2 * np.pi * frequency * u + a + sway)
    total = np.where(u < 0.14, -0.62, total)
    return np.broadcast_to((0.9 + total)[..., None], (*u.shape, 3))


def paint_patches(rng: np.random.Generator) -> dict[str, Field]:
    """Weights of the regions on the parts' patches, and their fixed colour under "free".

    Args:
        rng: fixed texture noise.

    Returns:
        Region name to (HEIGHT,WIDTH,3).
    """
    names = ("skin", "lip", "hair", "iris", "shirt", "free")
    maps = {name: np.zeros((atlas.HEIGHT, atlas.WIDTH, 3), np.float32) for name in names}
    eye, iris = _eye(rng)
    maps["free"][atlas.EYE.where], maps["iris"][atlas.EYE.where] = eye, iris
    maps["skin"][atlas.EAR.where] = _ear()
    maps["hair"][atlas.LOCKS.where] = _locks(rng)
    maps["free"][atlas.UPPER_TEETH.where] = _teeth(atlas.UPPER_TEETH, upper=True)
    maps["free"][atlas.LOWER_TEETH.where] = 0.8 * _teeth(atlas.LOWER_TEETH, upper=False)
    maps["free"][atlas.CAVITY.where] = _CAVITY
    maps["free"][atlas.TONGUE.where] = _TONGUE
    maps["shirt"][atlas.SHIRT.where] = 1.0
    maps["lip"][atlas.INNER_LIP.where] = 0.6
    maps["skin"][atlas.LID_RIM.where] = np.array([0.70, 0.48, 0.45])
    u, _ = atlas.LASH_RIM.coordinates()
    lash = (4 * u * (1 - u)).clip(0, 1)[..., None]
    maps["skin"][atlas.LASH_RIM.where] = np.array([0.70, 0.48, 0.45]) * (1 - 0.8 * lash)
    return maps
