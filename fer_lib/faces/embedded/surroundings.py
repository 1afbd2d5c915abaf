"""Ears and torso."""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded.atlas import EAR, SHIRT
from fer_lib.faces.embedded.fields import Field, ramp
from fer_lib.faces.embedded.grid import Grid, weave
from fer_lib.faces.embedded.parts import Part, disc_triangles
from fer_lib.faces.embedded.relief import ear_relief

_EAR_X, EAR_CENTRE = 1.70, (0.0, -0.20, -0.06)
_EAR_RINGS, _EAR_SPOKES = 12, 32
# half width x, half depth z, height y, centre z
_TORSO_RINGS = np.array(
    [
        (0.60, 0.42, -2.55, -0.20),
        (0.86, 0.70, -2.86, -0.22),
        (1.02, 0.82, -2.90, -0.22),
        (1.35, 0.90, -3.00, -0.25),
        (1.90, 0.98, -3.14, -0.25),
        (2.50, 1.04, -3.36, -0.25),
        (2.90, 1.08, -3.70, -0.25),
        (3.05, 1.10, -4.30, -0.25),
        (3.10, 1.10, -6.50, -0.25),
    ]
)


def _side_of_head(grid: Grid, face: Field, y: Field) -> Field:
    """Distance from the midline of the skin at the ears, by height."""
    column = int(np.abs(grid.columns - _EAR_X).argmin())
    line = np.flatnonzero(grid.column == column)
    line = line[np.abs(face[line, 1]) < 1.0]
    order = np.argsort(face[line, 1])
    return np.interp(y, face[line, 1][order], face[line, 0][order])


def ear(side: int, grid: Grid, face: Field, flare: float = 0.42) -> Part:
    """An outer ear: helix, antihelix, concha, tragus and lobe on an egg-shaped disc.

    Args:
        side: +1 the subject's left, -1 the right.
        grid: the face grid, whose motion at the ear's root is followed.
        face: (n,3) resting face grid.
        flare: angle in radians by which it stands off the head; small under long hair.
    """
    radius = np.repeat(np.linspace(0, 1, _EAR_RINGS)[1:], _EAR_SPOKES)
    phi = np.tile(np.arange(_EAR_SPOKES) * 2 * np.pi / _EAR_SPOKES, _EAR_RINGS - 1)
    u = np.concatenate([[0.0], radius * np.cos(phi)])
    v = np.concatenate([[0.0], radius * np.sin(phi)])
    height = ear_relief(u, v) - 0.05 * ramp(0.93, 1.0, np.hypot(u, v))
    width = 0.23 * (1 + 0.18 * v)
    back = (u + 1) * width
    y = EAR_CENTRE[1] + 0.42 * v + 0.03 * u
    x = _side_of_head(grid, face, y) - 0.03 + np.sin(flare) * back + np.cos(flare) * height
    z = EAR_CENTRE[2] + 0.16 - np.cos(flare) * back + np.sin(flare) * height + 0.06 * v * -1
    triangles = disc_triangles(_EAR_RINGS, _EAR_SPOKES)
    if side < 0:
        triangles = triangles[:, ::-1].copy()
    root = (grid.chart.x - side * 1.75) ** 2 + (grid.chart.y + 0.2) ** 2
    return Part(
        name="ear_left" if side > 0 else "ear_right",
        vertices=np.stack([side * x, y, z], -1),
        triangles=triangles,
        texel=EAR.texel(0.5 + 0.5 * u, 0.5 - 0.5 * v),
        hosts=np.full((len(u), 1), int(root.argmin())),
        gain=np.ones((len(u), 3)),
        gloss=(0.05, 18.0),
    )


def torso(grid: Grid) -> Part:
    """Shoulders in a shirt, open below the picture."""
    spokes = 40
    turn = np.linspace(-np.pi, np.pi, spokes + 1)
    half_x, half_z, y, centre = (a[:, None] for a in _TORSO_RINGS.T)
    lift = np.cos(2 * turn) * np.clip((half_x - 0.8) / 2.2, 0, 1) * 0.10
    vertices = np.stack(
        np.broadcast_arrays(half_x * np.sin(turn), y - lift, centre + half_z * np.cos(turn)), -1
    )
    index = np.arange(vertices[..., 0].size).reshape(vertices.shape[:2])
    u, v = np.meshgrid(np.linspace(0, 1, spokes + 1), np.linspace(0, 1, len(_TORSO_RINGS)))
    flat = vertices.reshape(-1, 3)
    return Part(
        name="torso",
        vertices=flat,
        triangles=weave(index[:-1], index[1:], turn),
        texel=SHIRT.texel(u, v).reshape(-1, 2),
        hosts=np.full((len(flat), 1), int(grid.chart.y.argmin())),
        gain=np.zeros_like(flat),
        follows=(),
    )
