"""Where the ICT head lies on the chart of the embedded head, on which skin and hair are painted.

The face's texture sheet is already a flat face with closed lids and lips, so a thin-plate spline
through the landmarks (Bookstein, "Principal warps", 1989) carries it to that chart; the rest of
the head gets its chart position from the place on the skull, and the spline meets it at the seam.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator, RBFInterpolator

from fer_lib.faces.embedded.atlas import Patch
from fer_lib.faces.embedded.fields import CHART_HALF_WIDTH, CROWN_Y, MOUTH_Y, Chart, Field, ramp
from fer_lib.faces.embedded.landmarks import landmark_targets
from fer_lib.faces.embedded.relief import sweep_angle
from fer_lib.faces.ict.atlas import HEAD, HEIGHT, WIDTH, Bare, part, sheet_uv, sheets

_SKULL = np.array([1.27, 1.78])  # half width, and depth in front of the axis
_SKULL_AXIS_Z, _SKULL_TOP = -0.28, 1.76
_EAR_DROP = 0.14  # this head's ears sit lower than those of the embedded one
_STEP = 4  # every so many vertices of a seam or rim
_BROW_DROP = 0.11  # hairs grow below the ridge that the landmarks mark
_LIP_ROLL = 0.02  # the lips meet behind their inner landmarks
_ANCHORS = np.r_[6:11, 17:68]  # the two heads' jaw points lie at different places up to the ear
_NOSTRILS = {4713: (-0.095, -0.728), 5178: (0.095, -0.728)}  # deepest vertex: place on the chart


def _skull_chart(points: Field) -> Field:
    """Chart position by the angle round the skull and the height, (…,2)."""
    x, y, z = np.moveaxis(points, -1, 0)
    angle = np.arctan2(x / _SKULL[0], (z - _SKULL_AXIS_Z) / _SKULL[1])
    at = np.linspace(-CHART_HALF_WIDTH, CHART_HALF_WIDTH, 257)
    x = np.interp(angle, sweep_angle(at, np.full_like(at, 0.5)), at)
    height = np.where(y > 0, y * CROWN_Y / _SKULL_TOP, y)
    return np.stack([x, height + _EAR_DROP * ramp(1.2, 1.5, np.abs(x))], -1)


def make_chart(position: Field) -> Chart:
    """Chart of points, from their (…,2) positions on it."""
    x, y = np.moveaxis(position.astype(np.float32), -1, 0)
    return Chart(x, y, np.where(y >= 0, 1.0, -1.0), np.where(y >= MOUTH_Y, 1.0, -1.0))


def _facial_anchors(bare: Bare, front: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Field]:
    """Landmarks, nostrils and the mouth's inner rim: vertices and their places on the chart."""
    places = np.array([place[:2] for place in landmark_targets()])
    places[17:27, 1] += _BROW_DROP
    places[61:64, 1] += _LIP_ROLL
    places[65:68, 1] -= _LIP_ROLL
    # A landmark on a rim has copies on the islands; the spline needs the one on the face.
    copies = {int(bare.source[v]): v for v in np.flatnonzero(front)}
    inner = [*bare.source[bare.landmarks[_ANCHORS]], *_NOSTRILS]
    mouth = bare.source[part(bare, "cavity")]
    rim = np.flatnonzero(front & np.isin(bare.source, mouth))[::_STEP]
    line = bare.rest[rim, :2] * [1, 0] + [0, MOUTH_Y]
    vertices = np.concatenate([[copies[int(number)] for number in inner], rim])
    return vertices, np.concatenate([places[_ANCHORS], [*_NOSTRILS.values()], line])


def chart_positions(bare: Bare) -> Field:
    """Position of every vertex on the embedded head's chart, (V,2)."""
    position = _skull_chart(bare.rest)
    (_, front), (_, behind) = sheets(bare)
    seam = np.flatnonzero(front & np.isin(bare.source, bare.source[behind]))[::_STEP]
    vertices, places = _facial_anchors(bare, front)
    spline = RBFInterpolator(
        np.concatenate([bare.uv[vertices], bare.uv[seam]]),
        np.concatenate([places, position[seam]]),
    )
    position[front] = spline(bare.uv[front])
    return position


def _interpolate(at: Field, values: Field, patch: Patch) -> Field:
    """Values between vertices of a sheet at the texels of its patch; beyond, the nearest's."""
    u, v = patch.coordinates()
    texels = LinearNDInterpolator(at, values)(u, v)
    outside = np.isnan(texels[..., 0])
    texels[outside] = NearestNDInterpolator(at, values)(u[outside], v[outside])
    return texels


def texel_places(bare: Bare, position: Field) -> tuple[Chart, Field]:
    """Where the texels lie on the chart and in space.

    Args:
        bare: the head.
        position: (V,2) from `chart_positions`.

    Returns:
        The chart of the (HEIGHT,WIDTH) texels and their (HEIGHT,WIDTH,3) positions; both go on
        past the edges of the sheets, so that nothing bleeds in.
    """
    grid = np.zeros((HEIGHT, WIDTH, 5))
    known = np.concatenate([bare.rest, position], -1)
    for patch, sheet in sheets(bare):
        grid[patch.where] = _interpolate(sheet_uv(bare.uv[sheet]), known[sheet], patch)
    # Charts join behind the head, where nothing may be interpolated between their two ends.
    grid[HEAD.where][..., 3:] = _skull_chart(grid[HEAD.where][..., :3])
    return make_chart(grid[..., 3:]), grid[..., :3]
