"""The texture of the head: mean albedo and albedo modes for one groom.

A texel's colour is the sum over regions of weight × region colour, plus a fixed part; that sum is
linear in the region colours, which are linear in the albedo coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lib.faces.embedded import atlas
from fer_lib.faces.embedded.colours import OVERLAYS, REGIONS
from fer_lib.faces.embedded.fields import Chart, Field, bump
from fer_lib.faces.embedded.groom import Groom
from fer_lib.faces.embedded.hair import Hair, hair_shadow
from fer_lib.faces.embedded.patches import paint_patches
from fer_lib.faces.embedded.skin import (
    beard_mask,
    brow_mask,
    freckle_mask,
    ink,
    lip_mask,
    skin_tint,
)

_INK_COLOUR = np.array([0.016, 0.010, 0.008], np.float32)
_FRECKLE = np.array([-0.10, -0.12, -0.11])
_BLUSH = np.array([0.035, -0.045, -0.035])
_EYE_SHADOW = np.array([-0.14, -0.16, -0.12])


@dataclass(frozen=True)
class Canvas:
    """What no groom changes, computed once; all in single precision.

    Attributes:
        chart: (FACE_HEIGHT,WIDTH) texels of the face.
        tint: (…,3) shading and tint of bare skin.
        lips: (…) opacity of the red of the lips.
        lip_shade: (…) light on the lips.
        ink: (…) opacity of lashes, nostrils and the line between the lips.
        overlays: name to (…,3) colour added to bare skin at coefficient 1.
        patches: region name, or "free", to its (HEIGHT,WIDTH,3) weights on the parts.
    """

    chart: Chart
    tint: Field
    lips: Field
    lip_shade: Field
    ink: Field
    overlays: dict[str, Field]
    patches: dict[str, Field]


def prepare_canvas(chart: Chart) -> Canvas:
    """Paint everything that does not depend on the groom.

    Args:
        chart: texels of the face.
    """
    rng = np.random.default_rng(68)
    tint, lips, lines = skin_tint(chart, rng), lip_mask(chart), ink(chart)
    bare = ((1 - lips) * (1 - lines))[..., None]
    overlays = {name: bare * field for name, field in _overlays(chart, rng).items()}
    layers = (tint, lips, _lip_shade(chart), lines)
    return Canvas(
        chart,
        *(layer.astype(np.float32) for layer in layers),
        {name: field.astype(np.float32) for name, field in overlays.items()},
        paint_patches(rng),
    )


def _lip_shade(chart: Chart) -> Field:
    """The upper lip looks down and is darker; the lower one catches the light; fine lines."""
    dm = chart.mouth_offset
    shade = 0.96 - 0.14 * np.tanh(dm / 0.02) - 0.25 * np.exp(-((dm / 0.02) ** 2))
    return shade * (1 + 0.06 * np.cos(95 * chart.x + 2 * np.sin(30 * chart.x)))


def _overlays(chart: Chart, rng: np.random.Generator) -> dict[str, Field]:
    """Colour added by the overlay modes, on the face without hair."""
    cheek = bump(chart.lateral - 0.64, chart.y + 0.56, 0.17, 0.15)[..., None]
    lid = bump(chart.eye_offset - 0.03, chart.y - 0.075, 0.19, 0.05, 3)[..., None]
    return {
        "blush": cheek * _BLUSH,
        "freckles": freckle_mask(chart, rng)[..., None] * _FRECKLE,
        "eye_shadow": lid * _EYE_SHADOW,
    }


def face_weights(canvas: Canvas, groom: Groom, hair: Hair) -> dict[str, Field]:
    """Weight of every region and overlay on the face, (FACE_HEIGHT,WIDTH,3) or (…,1) each."""
    chart, rng = canvas.chart, np.random.default_rng(groom.seed)
    brow, uncovered = brow_mask(chart, groom, rng), 1 - hair.cover
    bare = uncovered * (1 - canvas.ink) * (1 - canvas.lips)
    lit = bare * hair_shadow(chart, groom)
    weights = {
        "skin": (lit * (1 - brow))[..., None] * canvas.tint,
        "lip": (uncovered * (1 - canvas.ink) * canvas.lips * canvas.lip_shade)[..., None],
        "brow": (lit * brow)[..., None] * canvas.tint,
        "hair": (hair.cover * (1 + 0.22 * np.clip(hair.strand, -2, 2)))[..., None],
        "free": (canvas.ink * uncovered)[..., None] * _INK_COLOUR,
    }
    if groom.beard != "none":
        weights["beard"] = (lit * beard_mask(chart, groom, rng))[..., None] * canvas.tint
    return weights | {n: uncovered[..., None] * field for n, field in canvas.overlays.items()}


def paint(canvas: Canvas, groom: Groom, hair: Hair) -> tuple[Field, Field]:
    """Mean albedo and the maps of the albedo modes of one groom.

    Args:
        canvas: the fixed part.
        groom: hair, beard and brows.
        hair: its hair on the canvas.

    Returns:
        (HEIGHT,WIDTH,3) mean and (M,HEIGHT,WIDTH,3) maps, float32, linear light; the maps are
        the weights of `REGIONS`, then `OVERLAYS`.
    """
    face = face_weights(canvas, groom, hair)
    where = atlas.FACE.where
    mean = canvas.patches["free"].copy()
    mean[where] = face["free"]
    names = (*(region.name for region in REGIONS), *OVERLAYS)
    maps = np.zeros((len(names), *mean.shape), np.float32)
    for name, layer in zip(names, maps, strict=True):
        if name in canvas.patches:
            layer[:] = canvas.patches[name]
        if name in face:
            layer[where] = face[name]
    for region, layer in zip(REGIONS, maps, strict=False):
        if region.mean.any():
            mean += layer * region.mean.astype(np.float32)
    return mean, maps


def albedo_mix() -> Field:
    """Share of every map and channel in every albedo mode, (n_albedo,M,3)."""
    mix = np.zeros((3 * len(REGIONS) + len(OVERLAYS), len(REGIONS) + len(OVERLAYS), 3))
    for r, region in enumerate(REGIONS):
        mix[3 * r : 3 * r + 3, r] = region.directions
    for k in range(len(OVERLAYS)):
        mix[3 * len(REGIONS) + k, len(REGIONS) + k] = 1.0
    return mix
