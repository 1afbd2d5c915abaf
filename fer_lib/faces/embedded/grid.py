"""The graded grid of the face: rows and columns crowd where the face has detail.

The eye openings and the mouth are slits: grid vertices on them exist twice, and the triangles
below a slit use the second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fer_lib.faces.embedded.fields import (
    CHART_BOTTOM,
    CHART_HALF_WIDTH,
    CHART_TOP,
    CROWN_Y,
    EYE_HALF_WIDTH,
    EYE_X,
    MOUTH_HALF_WIDTH,
    MOUTH_Y,
    Chart,
    Field,
)

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Slit:
    """One opening: the two rows of vertices that bound it, corners included in both.

    Attributes:
        upper: vertices of the upper rim from image left to right.
        lower: vertices of the lower rim; the first and last equal those of `upper`.
    """

    upper: Index
    lower: Index


@dataclass(frozen=True)
class Grid:
    """Topology and chart coordinates of the face grid.

    Attributes:
        chart: coordinates of the vertices.
        row: row index of each vertex, top to bottom.
        column: column index of each vertex, image left to right.
        rows: y of every grid row.
        columns: x of every grid column.
        triangles: (F,3), counter-clockwise seen from outside.
        slits: "eye_right", "eye_left" (the subject's) and "mouth".
    """

    chart: Chart
    row: Index
    column: Index
    rows: Field
    columns: Field
    triangles: Index
    slits: dict[str, Slit]


def graded_lines(density: Callable[[Field], Field], forced: Sequence[float]) -> Field:
    """Grid lines of a given density that pass exactly through some values.

    Args:
        density: lines per unit length as a function of position.
        forced: increasing values; the first and last bound the interval.

    Returns:
        Increasing positions that contain every forced value.
    """
    position = np.linspace(forced[0], forced[-1], 4001)
    rate = density(position)
    steps = 0.5 * (rate[1:] + rate[:-1]) * np.diff(position)
    count = np.concatenate([[0.0], np.cumsum(steps)])
    marks = np.interp(forced, position, count)
    lines = [np.array([forced[0]])]
    for low, high in pairwise(marks):
        pieces = max(1, round(float(high - low)))
        lines.append(np.interp(np.linspace(low, high, pieces + 1)[1:], count, position))
    return np.concatenate(lines)


def column_lines() -> Field:
    """The x of the grid columns, mirror-symmetric."""
    inner, outer = EYE_X - EYE_HALF_WIDTH, EYE_X + EYE_HALF_WIDTH
    half = graded_lines(
        lambda x: 31.0 * np.exp(-((x / 0.95) ** 6)) + 11.0,
        (0.0, inner, MOUTH_HALF_WIDTH, outer, CHART_HALF_WIDTH),
    )
    return np.concatenate([-half[:0:-1], half])


def row_lines() -> Field:
    """The y of the grid rows, top to bottom."""

    def density(y: Field) -> Field:
        mouth = 24.0 * np.exp(-(((y + 1.1) / 0.3) ** 4))
        eyes = 22.0 * np.exp(-(((y - 0.05) / 0.36) ** 4))
        nose = 14.0 * np.exp(-(((y + 0.6) / 0.25) ** 4))
        return 8.0 + mouth + eyes + nose + 9.0 * np.exp(-(((y + 1.72) / 0.26) ** 4))

    forced = (CHART_BOTTOM, -2.6, -1.78, MOUTH_Y, 0.0, CHART_TOP)
    return graded_lines(density, forced)[::-1].copy()


def build_grid() -> Grid:
    """Lay out vertices, slits and triangles of the face grid."""
    rows, columns = row_lines(), column_lines()
    height, width = len(rows), len(columns)
    index = np.arange(height * width).reshape(height, width)
    below = index.copy()
    eye_row, mouth_row = (int(np.abs(rows - y).argmin()) for y in (0.0, MOUTH_Y))
    eye_offset = np.abs(np.abs(columns) - EYE_X)
    sites = {
        "eye_right": (eye_row, (eye_offset < EYE_HALF_WIDTH - 1e-9) & (columns < 0)),
        "eye_left": (eye_row, (eye_offset < EYE_HALF_WIDTH - 1e-9) & (columns > 0)),
        "mouth": (mouth_row, np.abs(columns) < MOUTH_HALF_WIDTH - 1e-9),
    }
    row, column = (a.ravel() for a in np.indices((height, width)))
    slits = {}
    for name, (at, open_columns) in sites.items():
        inside = np.flatnonzero(open_columns)
        below[at, inside] = len(row) + np.arange(len(inside))
        row = np.concatenate([row, np.full(len(inside), at)])
        column = np.concatenate([column, inside])
        reach = np.arange(inside[0] - 1, inside[-1] + 2)
        slits[name] = Slit(index[at, reach], below[at, reach])
    copy = np.arange(len(row)) >= height * width
    crown = len(row)
    chart = Chart(
        np.append(columns[column], 0.0),
        np.append(rows[row], CROWN_Y),
        np.append(np.where((row < eye_row) | ((row == eye_row) & ~copy), 1.0, -1.0), 1.0),
        np.append(np.where((row < mouth_row) | ((row == mouth_row) & ~copy), 1.0, -1.0), 1.0),
    )
    fan = np.stack([np.full(width - 1, crown), index[0, :-1], index[0, 1:]], -1)
    triangles = np.concatenate([weave(below[:-1], index[1:], columns), fan])
    row, column = np.append(row, 0), np.append(column, width // 2)
    return Grid(chart, row, column, rows, columns, triangles, slits)


def weave(top: Index, bottom: Index, columns: Field) -> Index:
    """Triangles between successive rows, diagonals mirrored about the midline.

    Args:
        top: (R,C) vertices of the upper edge of each band.
        bottom: (R,C) vertices of the lower edge.
        columns: (C,) x of the columns; the sign of a cell's centre picks the diagonal.

    Returns:
        (2·R·(C-1),3) triangles, counter-clockwise for columns left to right.
    """
    a, b = top[:, :-1], top[:, 1:]
    c, d = bottom[:, :-1], bottom[:, 1:]
    right = np.broadcast_to(columns[:-1] + columns[1:] > 0, a.shape)[..., None]
    first = np.where(right, np.stack([a, c, d], -1), np.stack([a, c, b], -1))
    second = np.where(right, np.stack([a, d, b], -1), np.stack([b, c, d], -1))
    return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
