"""Long hair: a curtain that leaves the skull above the ears and falls round the neck.

Its section is a thick letter C, open to the face: an outer and an inner wall joined at the front
edges. Without long hair the curtain is folded away inside the neck.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from fer_lib.faces.embedded.atlas import LOCKS
from fer_lib.faces.embedded.fields import Field, ramp
from fer_lib.faces.embedded.grid import Grid, weave
from fer_lib.faces.embedded.groom import Groom
from fer_lib.faces.embedded.hair import lift_depth, smooth_noise
from fer_lib.faces.embedded.parts import Part

_ROWS, _COLUMNS = 30, 40
_DARK_STRIP = 0.12
# height, half width, depth to the front, depth to the back, opening half angle in degrees
_SECTIONS = np.array(
    [
        (1.75, 0.76, 0.80, 0.80, 80.0),
        (1.62, 0.92, 1.02, 1.02, 76.0),
        (1.25, 1.11, 1.32, 1.32, 70.0),
        (0.90, 1.20, 1.40, 1.46, 67.0),
        (0.50, 1.24, 1.28, 1.52, 66.0),
        (0.20, 1.29, 1.17, 1.54, 65.0),
        (-0.20, 1.36, 1.10, 1.52, 63.0),
        (-0.80, 1.37, 1.04, 1.46, 62.0),
        (-1.40, 1.34, 0.96, 1.38, 62.0),
        (-2.00, 1.34, 0.95, 1.30, 60.0),
        (-2.60, 1.42, 1.02, 1.26, 55.0),
        (-3.40, 1.62, 1.10, 1.24, 52.0),
    ]
)[::-1]
_SECTION_CURVES = PchipInterpolator(_SECTIONS[:, 0], _SECTIONS[:, 1:], axis=0)
_TOP, _BOB_END, _LONG_END = 1.68, -1.25, -2.9
_HIDDEN = np.array([0.0, -2.3, -0.25])


def _wall(turn: Field, y: Field, groom: Groom, inward: float, ripple: Field) -> Field:
    """One wall of the curtain; `turn` runs from -1 at the right edge to 1 at the left."""
    half, front, back, opening = np.moveaxis(_SECTION_CURVES(y), -1, 0)
    opening = np.deg2rad(opening)
    angle = np.pi + turn * (np.pi - opening)
    # Angles are measured from the front (0) round the back (pi).
    forward = -np.cos(angle)
    depth = np.where(forward < 0, front, back)
    wave = 0.05 * groom.wave * np.sin(4.5 * y + 2.0 * np.cos(angle)) * np.clip(0.4 - y, 0, 1)
    swell = 1.0 + 0.06 * (groom.volume - 0.5) + 0.018 * ripple * ramp(0.5, -0.2, y) + wave - inward
    # Above the ears the curtain slips out from under the hair on the skull at a grazing angle.
    cap = lift_depth(y, groom) * ramp(-0.3, 0.4, y) + 0.03 - 0.08 * ramp(0.7, 1.6, y)
    x = -(half * swell + cap) * np.sin(angle)
    z = -(depth * swell + cap) * forward - 0.04 * ramp(0.6, 0.0, y)
    return np.stack([x, y - 0.04 * ripple * (y < -0.8), z], -1)


def locks_vertices(groom: Groom) -> Field:
    """Vertices of the curtain for one groom, (_ROWS·(2·_COLUMNS+1),3)."""
    count = _ROWS * (2 * _COLUMNS + 1)
    if not groom.long_hair or groom.bald:
        return np.broadcast_to(_HIDDEN, (count, 3)).copy()
    rng = np.random.default_rng(groom.seed + 1)
    end = _BOB_END + (_LONG_END - _BOB_END) * groom.length
    y = np.linspace(_TOP, end, _ROWS)[:, None]
    turn = np.linspace(-1.0, 1.0, _COLUMNS)[None, :]
    ripple = np.broadcast_to(smooth_noise(rng, _COLUMNS, 14), (_ROWS, _COLUMNS))
    y, turn = np.broadcast_arrays(y, turn)
    outer = _wall(turn, y, groom, 0.0, ripple)
    inner = _wall(turn[:, ::-1], y, groom, 0.10, 0 * ripple)
    return np.concatenate([outer, inner, outer[:, :1]], 1).reshape(-1, 3)


def locks(grid: Grid) -> Part:
    """The curtain, folded away.

    Args:
        grid: the face grid.
    """
    width = 2 * _COLUMNS + 1
    index = np.arange(_ROWS * width).reshape(_ROWS, width)
    outer = np.linspace(_DARK_STRIP + 0.04, 1, _COLUMNS)
    dark = np.full(_COLUMNS + 1, _DARK_STRIP / 3)
    u, v = np.meshgrid(np.concatenate([outer, dark]), np.linspace(0, 1, _ROWS))
    full = locks_vertices(Groom(long_hair=True))
    still = np.zeros_like(full)
    wider = full * np.array([0.055, 0.0, 0.0])
    higher = np.zeros_like(full)
    higher[:, 1] = 0.075 * np.maximum(full[:, 1] - 0.4, 0)
    return Part(
        name="locks",
        vertices=locks_vertices(Groom()),
        triangles=weave(index[:-1], index[1:], np.linspace(-1, 1, width))[:, ::-1].copy(),
        texel=LOCKS.texel(u, v).reshape(-1, 2),
        hosts=np.full((len(full), 1), int(grid.chart.y.argmax())),
        gain=still,
        follows=(),
        own={"head_width": wider, "head_height": higher},
        gloss=(0.035, 12.0),
    )
