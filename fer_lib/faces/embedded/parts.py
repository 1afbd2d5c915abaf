"""What is not skin of the face: eyeballs, slit rims, mouth, ears, back of the head, torso.

Every part is a small mesh whose vertices hang on vertices of the face grid: a part vertex copies a
share of the mean displacement of its hosts, mode by mode, so the whole head stays linear.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fer_lib.faces.embedded.atlas import Patch, eye_patch_radius
from fer_lib.faces.embedded.fields import EYE_X, Field
from fer_lib.faces.embedded.grid import Index, Slit, weave
from fer_lib.faces.embedded.lids import EYE_CENTRE_Y, EYE_CENTRE_Z, EYE_RADIUS

_EYE_RINGS_DEG = (0.0, 6.0, 11.0, 11.3, 20.0, 27.0, 29.2, 30.4, 42.0, 55.0, 68.0, 78.0)
_EYE_SPOKES = 28
_EYE_TURN = np.arange(_EYE_SPOKES) * 2 * np.pi / _EYE_SPOKES
_FLANGE_RADIUS, _FLANGE_DEG = 0.29, 88.0
_EYE_MODES = ("head_width", "eye_spacing", "eye_height")
_GAZE_DEG = (25.0, 20.0)


@dataclass(frozen=True)
class Part:
    """A mesh that hangs on the face grid.

    Attributes:
        name: which part.
        vertices: (n,3).
        triangles: (f,3) into this part's own vertices.
        texel: (n,2) column and row in the texture atlas.
        hosts: (n,k) grid vertices whose mean displacement is followed.
        gain: (n,3) share of it per axis.
        follows: mode names that are followed; None means all.
        own: further displacement per mode name, (n,3) each.
        depth_bias: pushed back by this in the depth buffer.
        gloss: specular strength and Blinn exponent.
    """

    name: str
    vertices: Field
    triangles: Index
    texel: Field
    hosts: Index
    gain: Field
    follows: tuple[str, ...] | None = None
    own: dict[str, Field] = field(default_factory=dict)
    depth_bias: float = 0.0
    gloss: tuple[float, float] = (0.0, 10.0)


def sheet_triangles(rows: int, columns: int) -> Index:
    """Triangles of a (rows, columns) lattice stored row by row, top left first."""
    index = np.arange(rows * columns).reshape(rows, columns)
    return weave(index[:-1], index[1:], np.linspace(-1, 1, columns))


def disc_triangles(rings: int, spokes: int) -> Index:
    """Triangles of concentric closed rings, counter-clockwise; ring 0 is one vertex."""
    spoke = np.arange(spokes)
    after = (spoke + 1) % spokes
    first = np.stack([np.zeros_like(spoke), 1 + spoke, 1 + after], -1)
    bands = [first]
    for ring in range(1, rings - 1):
        inner, outer = 1 + (ring - 1) * spokes, 1 + ring * spokes
        a, b, c, d = inner + spoke, inner + after, outer + spoke, outer + after
        bands += [np.stack([a, c, d], -1), np.stack([a, d, b], -1)]
    return np.concatenate(bands)


def _sphere_directions() -> Field:
    """Unit vectors of the eyeball's vertices, pole first, ring after ring."""
    turn = np.tile(_EYE_TURN, len(_EYE_RINGS_DEG) - 1)
    polar = np.deg2rad(np.repeat(_EYE_RINGS_DEG[1:], _EYE_SPOKES))
    rings = [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)]
    return np.concatenate([[[0.0, 0.0, 1.0]], np.stack(rings, -1)])


def _gaze_fields(sphere: Field) -> dict[str, Field]:
    """Displacement of an eyeball per unit of gaze, still on its flange."""
    x, y, z = sphere.T * EYE_RADIUS
    still, zero = np.zeros((_EYE_SPOKES, 3)), 0 * x
    reach = dict(zip(("gaze_x", "gaze_y"), np.deg2rad(_GAZE_DEG), strict=True))
    tangent = {"gaze_x": np.stack([z, zero, -x], -1), "gaze_y": np.stack([zero, z, -y], -1)}
    return {name: np.concatenate([reach[name] * tangent[name], still]) for name in reach}


def _eye_texels(side: int, patch: Patch) -> Field:
    """Polar view of the eye; the flange takes the rim of the patch."""
    rings = np.concatenate(
        [np.repeat(_EYE_RINGS_DEG[1:], _EYE_SPOKES), [_FLANGE_DEG] * _EYE_SPOKES]
    )
    radius = eye_patch_radius(np.concatenate([[0.0], rings]))
    angle = np.concatenate([[0.0], np.tile(_EYE_TURN, len(_EYE_RINGS_DEG))])
    u = 0.5 + 0.5 * radius * side * np.cos(angle)
    return patch.texel(u, 0.5 - 0.5 * radius * np.sin(angle))


def eyeball(side: int, slit: Slit, patch: Patch) -> Part:
    """One eyeball with a pink flange behind the lids that fills the corners of the eye.

    Args:
        side: +1 the subject's left eye, -1 the right.
        slit: its opening, whose mean motion the eyeball follows for some identity modes.
        patch: texture patch, a polar view of the eye.
    """
    sphere = _sphere_directions()
    centre = np.array([side * EYE_X, EYE_CENTRE_Y, EYE_CENTRE_Z])
    across, up = np.cos(_EYE_TURN), np.sin(_EYE_TURN)
    rim = [_FLANGE_RADIUS * across, _FLANGE_RADIUS * up, -0.10 - 0.05 * side * across]
    vertices = np.concatenate([centre + EYE_RADIUS * sphere, centre + np.stack(rim, -1)])
    hosts = np.concatenate([slit.upper, slit.lower])
    return Part(
        name="eye_left" if side > 0 else "eye_right",
        vertices=vertices,
        triangles=disc_triangles(len(_EYE_RINGS_DEG) + 1, _EYE_SPOKES),
        texel=_eye_texels(side, patch),
        hosts=np.broadcast_to(hosts, (len(vertices), len(hosts))),
        gain=np.ones_like(vertices),
        follows=_EYE_MODES,
        own=_gaze_fields(sphere),
        depth_bias=0.09,
        gloss=(0.9, 300.0),
    )


def slit_rim(name: str, points: Field, rim: Index, push: Field, texel: Field, up: bool) -> Part:
    """The thickness of a lid or lip: the rim of a slit, extruded into the gap.

    Args:
        name: which rim.
        points: (n,3) resting face grid.
        rim: grid vertices along the rim, image left to right.
        push: (3,) extrusion.
        texel: (2,len(rim),2) texture positions of the rim and of the extruded edge.
        up: True for an upper rim (its surface looks down into the gap).
    """
    edge = points[rim]
    lattice = sheet_triangles(2, len(rim))
    return Part(
        name=name,
        vertices=np.concatenate([edge, edge + push]),
        triangles=lattice if up else lattice[:, ::-1].copy(),
        texel=texel.reshape(-1, 2),
        hosts=np.tile(rim, 2)[:, None],
        gain=np.ones((2 * len(rim), 3)),
        depth_bias=0.03,
        gloss=(0.10, 30.0),
    )
