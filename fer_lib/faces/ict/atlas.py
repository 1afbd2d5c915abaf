"""One texture for the ICT head: the file's tiles side by side, small patches below the second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_lib.faces.embedded.atlas import EYE_PATCH_DEG, Patch, eye_patch_radius
from fer_lib.faces.embedded.fields import Field, ramp
from fer_lib.faces.embedded.patches import IRIS_DEG

WIDTH, HEIGHT = 512, 320
FACE, HEAD = Patch(0, 0, 320, 320), Patch(320, 0, 192, 224)
EYE = Patch(320, 224, 80, 80)
_INSIDE_ROWS = 16
INSIDE = {
    name: Patch(416, 224 + _INSIDE_ROWS * k, 64, _INSIDE_ROWS)
    for k, name in enumerate(("cavity", "gums", "teeth", "socket"))
}
"""Patches whose columns run from the depth of the mouth, or the orbit, to the front."""

_RANGES = {"cavity": 11248, "socket": 13294, "gums": 14062, "teeth": 17039, "eye": 21451}
_END = 24591
_IRISES = ((22221, 23021), (23791, 24591))
_IRIS_RADIUS = 0.097  # 6 mm where the eyes are 62 mm apart
_DEPTHS = (0.8, 1.5)  # z at the first and last column of the inside patches


@dataclass(frozen=True)
class Bare:
    """The ICT head before it is painted; all positions in inter-ocular distances, pupils at y = 0.

    Attributes:
        rest: (V,3) neutral mean head; vertices are split wherever the file's texture is cut.
        uv: (V,2) texture position in the file, in UDIM tiles, v up.
        source: (V,) int64 number of the vertex in the file.
        landmarks: (68,) int64 vertices of the landmarks in iBUG order.
        normals: (V,3) unit normals without seams.
    """

    rest: Field
    uv: Field
    source: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    normals: Field


def is_drawn(source: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether vertices of the file are drawn.

    Left out are the irises inside the eyeballs, which are painted on the cornea, and sheets that
    need transparency: tear fluid, blend and occlusion sheets, lash cards.

    Args:
        source: numbers of vertices in the file.

    Returns:
        A flag for each.
    """
    drawn = source < _END
    for start, end in _IRISES:
        drawn &= (source < start) | (source >= end)
    return drawn


def part(bare: Bare, name: str) -> NDArray[np.bool_]:
    """Which vertices belong to a part: "skin", "eye" or a key of `INSIDE`.

    The rims of lids and lips belong to the skin, their copies on the islands of orbit and mouth
    in the second tile to the inside.
    """
    edges = [0, *_RANGES.values(), _END]
    k = ["skin", *_RANGES].index(name)
    inside = (bare.source >= edges[k]) & (bare.source < edges[k + 1])
    x, y, z = bare.rest.T
    rim = (bare.source < edges[1]) & (bare.uv[:, 0] > 1) & (z > 0.7) & (np.abs(x) < 1)
    islands = {"cavity": rim & (y < -0.4) & (y > -0.8), "socket": rim & (np.abs(y) < 0.3)}
    if name == "skin":
        return inside & ~islands["cavity"] & ~islands["socket"]
    return inside | islands.get(name, False)


def sheets(bare: Bare) -> tuple[tuple[Patch, NDArray[np.bool_]], ...]:
    """The patches of face and head with the vertices that lie on them."""
    skin, face = part(bare, "skin"), bare.uv[:, 0] < 1
    return (FACE, skin & face), (HEAD, skin & ~face)


def sheet_uv(uv: Field) -> Field:
    """Position in its tile, v down."""
    return np.stack([uv[:, 0] - (uv[:, 0] >= 1), 1 - uv[:, 1]], -1)


def _eye_texels(ball: Field) -> Field:
    """Polar view of one eyeball round its cornea, drawn to the embedded eye's measure."""
    centre = 0.5 * (ball.min(0) + ball.max(0))
    x, y = (ball - centre)[:, :2].T
    radius = np.hypot(x, y)
    angle = np.where(ball[:, 2] > centre[2], radius / _IRIS_RADIUS * IRIS_DEG, EYE_PATCH_DEG)
    r = 0.5 * eye_patch_radius(angle) / np.maximum(radius, 1e-9)
    return EYE.texel(0.5 + r * x * np.sign(centre[0]), 0.5 - r * y)


def texture_positions(bare: Bare) -> Field:
    """Texture positions in [0,1]², u right and v down, as `MorphableModel.uv`, (V,2)."""
    texel = np.zeros((len(bare.uv), 2))
    for patch, sheet in sheets(bare):
        texel[sheet] = patch.texel(*sheet_uv(bare.uv[sheet]).T)
    eye = part(bare, "eye")
    for ball in (eye & (bare.rest[:, 0] > 0), eye & (bare.rest[:, 0] < 0)):
        texel[ball] = _eye_texels(bare.rest[ball])
    for name, patch in INSIDE.items():
        inside = part(bare, name)
        front = ramp(*_DEPTHS, bare.rest[inside, 2])
        texel[inside] = patch.texel(front, np.full_like(front, 0.5))
    return texel / np.array([WIDTH - 1, HEIGHT - 1])
