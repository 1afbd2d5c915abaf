"""Inside the mouth: cavity wall, two rows of teeth, tongue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_lib.faces.embedded import atlas
from fer_lib.faces.embedded.fields import MOUTH_Y, Field
from fer_lib.faces.embedded.grid import Grid
from fer_lib.faces.embedded.parts import Part, sheet_triangles

_JAW_DROP = np.array([0.0, -0.42, -0.10])
_FOLLOWS = ("mouth_height", "face_length")
_ROWS, _COLUMNS = 7, 17


@dataclass(frozen=True)
class _Sheet:
    """A curved sheet; heights are over the mouth line, `depth` gives z from x and height."""

    name: str
    half_width: float
    top: float
    bottom: float
    depth: Callable[[Field, Field], Field]
    patch: atlas.Patch
    jaw: float
    bias: float
    gloss: tuple[float, float]


_SHEETS = (
    _Sheet(
        "cavity", 0.72, 0.22, -0.34, lambda x, _: 1.18 - 1.3 * x**2, atlas.CAVITY, 1.0, 0.10, (0, 9)
    ),
    _Sheet(
        "upper_teeth",
        0.40,
        0.16,
        -0.04,
        lambda x, _: 1.38 - 1.0 * x**2,
        atlas.UPPER_TEETH,
        0.0,
        0.08,
        (0.12, 20.0),
    ),
    _Sheet(
        "lower_teeth",
        0.34,
        -0.02,
        -0.20,
        lambda x, _: 1.34 - 1.05 * x**2,
        atlas.LOWER_TEETH,
        0.95,
        0.08,
        (0.12, 20.0),
    ),
    _Sheet(
        "tongue",
        0.27,
        0.0,
        -0.30,
        lambda x, dm: 1.31 - 0.9 * x**2 - 1.6 * (dm + 0.22) ** 2,
        atlas.TONGUE,
        0.80,
        0.09,
        (0.10, 25.0),
    ),
)


def _build(sheet: _Sheet, grid: Grid) -> Part:
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, _COLUMNS), np.linspace(0, 1, _ROWS)))
    wall = sheet.name == "cavity"
    taper = 1 - 0.5 * v**2 * wall
    lowered = v if wall else np.ones_like(v)
    x, dm = (2 * u - 1) * sheet.half_width * taper, sheet.top + (sheet.bottom - sheet.top) * v
    vertices = np.stack([x, MOUTH_Y + dm, sheet.depth(x, dm)], -1)
    lips = np.concatenate([grid.slits["mouth"].upper, grid.slits["mouth"].lower])
    return Part(
        name=sheet.name,
        vertices=vertices,
        triangles=sheet_triangles(_ROWS, _COLUMNS),
        texel=sheet.patch.texel(u, v),
        hosts=np.broadcast_to(lips, (len(vertices), len(lips))),
        gain=np.array([[0.0, 1.0, 0.0]]).repeat(len(vertices), 0),
        follows=_FOLLOWS,
        own={"au26": sheet.jaw * lowered[:, None] * _JAW_DROP},
        depth_bias=sheet.bias,
        gloss=sheet.gloss,
    )


def oral_parts(grid: Grid) -> tuple[Part, ...]:
    """The four sheets, farthest first.

    Args:
        grid: the face grid, whose lips carry the mouth's height and the face's length.
    """
    return tuple(_build(sheet, grid) for sheet in _SHEETS)
