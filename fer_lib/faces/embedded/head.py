"""Assembly of the embedded head: grid, parts, modes and texture into one `MorphableModel`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from fer_lib.faces.embedded import atlas
from fer_lib.faces.embedded.colours import ALBEDO_NAMES
from fer_lib.faces.embedded.expression_modes import EXPRESSION_NAMES, expression_fields
from fer_lib.faces.embedded.fields import CHART_HALF_WIDTH, Chart, Field, bump, ramp
from fer_lib.faces.embedded.grid import Grid, Index, build_grid
from fer_lib.faces.embedded.groom import Groom
from fer_lib.faces.embedded.hair import Hair, comb, hair_lift, strands
from fer_lib.faces.embedded.landmarks import landmark_vertices
from fer_lib.faces.embedded.lids import EYE_CENTRE_Y, OPEN_LOWER, OPEN_UPPER, set_lids
from fer_lib.faces.embedded.locks import locks, locks_vertices
from fer_lib.faces.embedded.oral import oral_parts
from fer_lib.faces.embedded.parts import Part, eyeball, slit_rim
from fer_lib.faces.embedded.relief import resting_surface
from fer_lib.faces.embedded.shape_modes import SHAPE_NAMES, shape_fields
from fer_lib.faces.embedded.skin import lip_mask
from fer_lib.faces.embedded.surroundings import ear, torso
from fer_lib.faces.embedded.texture import Canvas, albedo_mix, paint, prepare_canvas
from fer_lib.faces.embedded.wrinkles import wrinkle_maps
from fer_lib.faces.morphable import MorphableModel

_UNIT_MM = 63.0
_SKIN_GLOSS, _LIP_GLOSS = (0.06, 18.0), (0.16, 40.0)


@dataclass(frozen=True)
class Anatomy:
    """Everything about the embedded head that no groom changes.

    Attributes:
        grid: topology and chart of the face.
        face: (n,3) resting face without hair, eyes open.
        normals: (n,3) its unit normals.
        parts: everything else, in the order of its vertices.
        tensors: the fields of `MorphableModel` that all grooms share.
        wrinkles: (n_w,HEIGHT,WIDTH) wrinkle maps of bare skin.
        canvas: what is painted under any groom.
    """

    grid: Grid
    face: Field
    normals: Field
    parts: tuple[Part, ...]
    tensors: dict[str, torch.Tensor]
    wrinkles: torch.Tensor
    canvas: Canvas


def vertex_normals(points: Field, triangles: Index) -> Field:
    """Area-weighted unit normals, (n,3)."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, triangles[:, k], across)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def _rims(grid: Grid, face: Field) -> list[Part]:
    """Thickness of the lids and lips."""
    parts = []
    for name, slit in grid.slits.items():
        mouth = name == "mouth"
        for rim, up in ((slit.upper, True), (slit.lower, False)):
            patch = atlas.INNER_LIP if mouth else atlas.LASH_RIM if up else atlas.LID_RIM
            u = np.broadcast_to(np.linspace(0, 1, len(rim)), (2, len(rim)))
            v = np.broadcast_to([[0.2], [0.8]], u.shape)
            lift = 0.02 if up else -0.02
            push = np.array([0.0, lift, -0.10] if mouth else [0.0, 0.0, -0.055])
            label = f"{name}_{'upper' if up else 'lower'}_rim"
            parts.append(slit_rim(label, face, rim, push, patch.texel(u, v), up))
    return parts


def _part_motion(part: Part, names: tuple[str, ...], fields: Field) -> Field:
    """Displacement of a part's vertices for every mode, (len(names),n,3)."""
    motion = np.zeros((len(names), *part.vertices.shape))
    for k, name in enumerate(names):
        if part.follows is None or name in part.follows:
            motion[k] = fields[k][part.hosts].mean(1) * part.gain
        if name in part.own:
            motion[k] += part.own[name]
    return motion


def _gloss(chart: Chart) -> Field:
    """Specular strength and exponent of the face: lips, nose and forehead shine more."""
    oily = bump(chart.lateral, chart.y + 0.5, 0.12, 0.25) + 0.5 * bump(
        chart.lateral, chart.y - 0.8, 0.5, 0.3
    )
    skin = np.stack([0.045 + 0.035 * oily, np.full_like(chart.x, _SKIN_GLOSS[1])], -1)
    lips = lip_mask(chart)[:, None] * ramp(0.0, 0.02, np.abs(chart.mouth_offset))[:, None]
    return skin * (1 - lips) + np.array(_LIP_GLOSS) * lips


def _float(array: Field) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _build_parts(grid: Grid, face: Field) -> tuple[Part, ...]:
    """Every part, in the order of its vertices."""
    return (
        *_rims(grid, face),
        eyeball(-1, grid.slits["eye_right"], atlas.EYE),
        eyeball(1, grid.slits["eye_left"], atlas.EYE),
        *oral_parts(grid),
        ear(-1, grid, face),
        ear(1, grid, face),
        torso(grid),
        locks(grid),
    )


def _mesh_tensors(grid: Grid, parts: tuple[Part, ...]) -> dict[str, torch.Tensor]:
    """Topology, texture positions, depth bias and gloss of grid and parts."""
    n = len(grid.chart.x)
    starts = np.cumsum([n, *(len(part.vertices) for part in parts[:-1])])
    triangles = [grid.triangles, *(p.triangles + at for p, at in zip(parts, starts, strict=True))]
    texels = [atlas.face_texels(grid), *(part.texel for part in parts)]
    bias = [np.zeros(n), *(np.full(len(p.vertices), p.depth_bias) for p in parts)]
    gloss = [_gloss(grid.chart), *(np.tile(p.gloss, (len(p.vertices), 1)) for p in parts)]
    corner = np.array([atlas.WIDTH - 1, atlas.HEIGHT - 1])
    return {
        "triangles": torch.from_numpy(np.concatenate(triangles).astype(np.int64)),
        "uv": _float(np.concatenate(texels) / corner),
        "depth_bias": _float(np.concatenate(bias)),
        "gloss": _float(np.concatenate(gloss)),
        "landmark_vertices": torch.from_numpy(landmark_vertices(grid)),
        "weld": torch.arange(sum(len(b) for b in bias)),
    }


def _full_wrinkles(chart: Chart) -> tuple[torch.Tensor, torch.Tensor]:
    """Wrinkle maps over the whole atlas and the modes they belong to."""
    maps, modes = wrinkle_maps(chart)
    full = torch.zeros(len(maps), atlas.HEIGHT, atlas.WIDTH)
    full[:, : atlas.FACE_HEIGHT] = torch.from_numpy(maps)
    return full, torch.from_numpy(modes)


@lru_cache(maxsize=1)
def anatomy() -> Anatomy:
    """Build the fixed part of the head once."""
    grid = build_grid()
    closed = resting_surface(grid.chart)
    face = set_lids(closed, grid.chart, OPEN_UPPER, OPEN_LOWER)
    parts = _build_parts(grid, face)
    fields = {
        "shape_basis": (SHAPE_NAMES, np.stack(list(shape_fields(grid.chart, face).values()))),
        "expression_basis": (EXPRESSION_NAMES, expression_fields(grid.chart, closed)),
    }
    bases = {
        key: _float(np.concatenate([whole, *(_part_motion(p, names, whole) for p in parts)], 1))
        for key, (names, whole) in fields.items()
    }
    chart = atlas.face_chart(grid)
    wrinkles, modes = _full_wrinkles(chart)
    tensors = bases | _mesh_tensors(grid, parts)
    tensors |= {"albedo_mix": _float(albedo_mix()), "wrinkle_modes": modes}
    normals = vertex_normals(face, grid.triangles)
    behind = grid.chart.lateral > CHART_HALF_WIDTH - 1e-9
    normals[behind, 0] = 0.0
    return Anatomy(grid, face, normals, parts, tensors, wrinkles, prepare_canvas(chart))


def _template(fixed: Anatomy, groom: Groom) -> Field:
    """Neutral mean face with this groom's hair, pupils at y = 0."""
    chart = fixed.grid.chart
    lift = hair_lift(chart, groom, strands(chart, groom))
    face = fixed.face + lift[:, None] * fixed.normals
    parts = {part.name: part.vertices for part in fixed.parts}
    if groom.long_hair and not groom.bald:
        parts["locks"] = locks_vertices(groom)
        for side, name in ((-1, "ear_right"), (1, "ear_left")):
            parts[name] = ear(side, fixed.grid, fixed.face, flare=-0.25).vertices
    points = np.concatenate([face, *parts.values()])
    return points - np.array([0.0, EYE_CENTRE_Y, 0.0])


def _uncovered_wrinkles(fixed: Anatomy, hair: Hair) -> torch.Tensor:
    """Wrinkle maps of one groom: a fringe hides the lines of the forehead."""
    rows = slice(0, int((fixed.canvas.chart.y[:, 0] > 0.3).sum()))
    wrinkles = fixed.wrinkles.clone()
    wrinkles[:, rows] *= torch.from_numpy(1 - hair.cover[rows])
    return wrinkles


@lru_cache(maxsize=4)
def embedded_head(groom: Groom = Groom()) -> MorphableModel:  # noqa: B008
    """The head authored in this package, with one subject's hair, beard and brows.

    Args:
        groom: hair, beard and brows; the model is strictly linear for one groom, and all grooms
            share mesh, modes and landmarks.

    Returns:
        The model; the last four grooms are kept.
    """
    fixed = anatomy()
    hair = comb(fixed.canvas.chart, groom)
    mean, maps = paint(fixed.canvas, groom, hair)
    return MorphableModel(
        name="embedded",
        licence="same as this repository",
        template=_float(_template(fixed, groom)),
        shape_names=SHAPE_NAMES,
        expression_names=EXPRESSION_NAMES,
        albedo_mean=torch.from_numpy(mean),
        albedo_maps=torch.from_numpy(maps),
        albedo_names=ALBEDO_NAMES,
        wrinkles=_uncovered_wrinkles(fixed, hair),
        unit_mm=_UNIT_MM,
        **fixed.tensors,
    )
