"""Where everything lies in the texture: the face on top, a strip of patches for the parts below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_lib.faces.embedded.fields import MOUTH_Y, Chart, Field
from fer_lib.faces.embedded.grid import Grid

WIDTH, FACE_HEIGHT, HEIGHT = 320, 320, 432
EYE_PATCH_DEG, EYE_PATCH_POWER = 90.0, 0.65
_MARGIN = 1.5


@dataclass(frozen=True)
class Patch:
    """A rectangle of texels.

    Attributes:
        left: first column.
        top: first row.
        width: columns.
        height: rows.
    """

    left: int
    top: int
    width: int
    height: int

    def texel(self, u: Field, v: Field) -> Field:
        """Texel positions of points in [0,1]², kept off the border for bilinear lookup.

        Args:
            u: 0 at the left edge, 1 at the right.
            v: 0 at the top edge, 1 at the bottom.

        Returns:
            (…,2) column and row; texel centres are integers.
        """
        inner_w, inner_h = self.width - 1 - 2 * _MARGIN, self.height - 1 - 2 * _MARGIN
        return np.stack([self.left + _MARGIN + u * inner_w, self.top + _MARGIN + v * inner_h], -1)

    def coordinates(self) -> tuple[Field, Field]:
        """The u and v of the patch's texels, inverse of `texel`; each (height,width)."""
        rows, columns = np.indices((self.height, self.width), dtype=float)
        u = (columns - _MARGIN) / (self.width - 1 - 2 * _MARGIN)
        v = (rows - _MARGIN) / (self.height - 1 - 2 * _MARGIN)
        return u, v

    @property
    def where(self) -> tuple[slice, slice]:
        """Index of the patch in an array of texels."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


FACE = Patch(0, 0, WIDTH, FACE_HEIGHT)
EYE = Patch(0, 320, 80, 80)
EAR = Patch(80, 320, 64, 64)
LOCKS = Patch(144, 320, 112, 96)
UPPER_TEETH = Patch(256, 320, 64, 24)
LOWER_TEETH = Patch(256, 344, 64, 24)
CAVITY = Patch(256, 368, 32, 24)
TONGUE = Patch(288, 368, 32, 24)
SHIRT = Patch(0, 400, 80, 32)
INNER_LIP = Patch(80, 384, 64, 12)
LID_RIM, LASH_RIM = Patch(80, 396, 64, 12), Patch(80, 408, 64, 12)


def eye_patch_radius(angle_deg: Field) -> Field:
    """Radius in the eye patch of a polar angle on the eyeball; the iris gets half of it."""
    return np.clip(np.asarray(angle_deg, float) / EYE_PATCH_DEG, 0, 1) ** EYE_PATCH_POWER


def face_texels(grid: Grid) -> Field:
    """Texel positions of the grid vertices: texture density follows mesh density."""
    column = grid.column / (len(grid.columns) - 1) * (WIDTH - 1)
    row = grid.row / (len(grid.rows) - 1) * (FACE_HEIGHT - 1)
    return np.stack([column, row], -1)


def face_chart(grid: Grid) -> Chart:
    """Chart coordinates of the texels of the face, (FACE_HEIGHT,WIDTH) in single precision."""
    rows, columns = np.indices((FACE_HEIGHT, WIDTH), dtype=float)
    step_x, step_y = (len(grid.columns) - 1) / (WIDTH - 1), (len(grid.rows) - 1) / (FACE_HEIGHT - 1)
    x = np.interp(columns * step_x, np.arange(len(grid.columns)), grid.columns)
    y = np.interp(rows * step_y, np.arange(len(grid.rows)), grid.rows)
    eye, mouth = np.where(y >= 0, 1.0, -1.0), np.where(y >= MOUTH_Y, 1.0, -1.0)
    return Chart(*(a.astype(np.float32) for a in (x, y, eye, mouth)))
