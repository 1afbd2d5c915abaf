"""Close the lips of a fit where the photograph's lips are closed, and keep open mouths open.

The linear modes of a smile part the lips a little, and landmarks are too coarse to notice: a
closed-mouth smile comes out with a slit that shows teeth. The landmark mesh does tell whether the
inner lips touch. The few modes that move the lips against each other are therefore corrected until
the model's opening is the mesh's, moving the outline of the mouth as little as possible.

Symbols: ψ expression, B faces, J columns across the mouth; lengths in inter-ocular distances (IOD).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

UPPER_POINTS, LOWER_POINTS = (82, 13, 312), (87, 14, 317)
"""Mesh points on the inner edges of the lips, image left, middle and image right."""

CLOSED_IOD = 0.01
"""Gap of the mesh below which lips count as closed."""

_STEMS = {
    "mouthClose": 0.5, "mouthPress": 0.3, "mouthUpperUp": 0.5, "mouthLowerDown": 0.5,
    "mouthRollLower": 0.1, "mouthRollUpper": 0.1, "mouthShrugLower": 0.2, "mouthShrugUpper": 0.2,
    "mouthFunnel": 0.2,
}  # fmt: skip
"""Modes that part or join the lips, and how readily: rolled lips also hide their colour."""

_JAW, _CLOSE = "jawOpen", "mouthClose"
_OUTLINE, _INNER_UPPER, _INNER_LOWER = range(48, 60), range(60, 65), (60, 67, 66, 65, 64)
_COLUMNS, _SHARE, _REACH_Y, _REACH_Z = 9, 0.8, 0.08, 0.08
_JAW_SD, _SEAL_SD, _OPEN_SD, _OUTLINE_SD, _ROUNDS = 0.5, 0.002, 0.02, 0.03, 5
_OPENING, _POINTS_AT = 0.4, (-0.45, 0.0, 0.45)
# The mesh sees open mouths wider than they are: regression on 45 open mouths drawn with ICT-FaceKit
# (correlation .92).
_GAP_SLOPE, _GAP_BIAS = 0.89, 0.016
# Lips that only just meet in the vertices still let pixels of the teeth through.
_PRESS = 0.006


class _Lips(NamedTuple):
    """The lips of one model.

    Attributes:
        rest: (N,) heights of the vertices around the slit in the neutral mean face.
        shape: (n_shape,N) their change with the shape.
        expression: (n_expr,N) with the expression.
        columns: per column, which of them belong to the upper and to the lower lip.
        middle: (J,) place of each column between the mouth's corners, -1 to 1.
        outline: (12,) vertices of the outer contour.
        modes: (n,) expression modes that may move; the first is jawOpen, the second mouthClose.
        freedom: (n,) standard deviation of each mode's change.
    """

    rest: Tensor
    shape: Tensor
    expression: Tensor
    columns: tuple[tuple[Tensor, Tensor], ...]
    middle: np.ndarray
    outline: Tensor
    modes: Tensor
    freedom: np.ndarray

    def height(self, beta: Tensor, psi: Tensor) -> Tensor:
        """(B,N) heights in faces with β (B,n_shape) and ψ (B,n_expr)."""
        return self.rest + beta @ self.shape + psi @ self.expression


def mesh_gap(mesh: Tensor, iod_px: Tensor) -> Tensor:
    """How far the mesh's inner lips are apart.

    Args:
        mesh: (B,478,2 or more) points in pixels.
        iod_px: (B,) inter-ocular distances in pixels.

    Returns:
        (B,3) image left, middle and image right, in IOD.
    """
    apart = mesh[:, list(UPPER_POINTS), :2] - mesh[:, list(LOWER_POINTS), :2]
    return apart.norm(dim=2) / iod_px[:, None]


def lip_opening(model: MorphableModel, beta: Tensor, psi: Tensor) -> Tensor:
    """How far the model's lips are apart.

    Args:
        model: a face with ICT-FaceKit's expression modes.
        beta: (B,n_shape).
        psi: (B,n_expr).

    Returns:
        (B,J) lowest point of the upper minus highest point of the lower lip in columns from image
        left to image right, in IOD; negative where they overlap.
    """
    lips = _lips(model)
    height = lips.height(beta, psi)
    gaps = [height[:, up].amin(1) - height[:, low].amax(1) for up, low in lips.columns]
    return torch.stack(gaps, dim=1)


def seal_lips(model: MorphableModel, params: FaceParams, mesh: Tensor, size: int) -> FaceParams:
    """Correct expressions so that the lips are as far apart as the mesh says.

    Where the mesh's gap is below `CLOSED_IOD`, no column may stay open; elsewhere the middle of the
    mouth opens as far as the mesh's gap means. Only modes that move the lips against each other
    change; mouthClose never exceeds jawOpen, without which it has no meaning.

    Args:
        model: a face with ICT-FaceKit's expression modes.
        params: B faces.
        mesh: (B,478,2 or more) their mesh points in pixels.
        size: side of the image in pixels.

    Returns:
        The same faces with new expressions.

    Raises:
        ValueError: the model has no such modes, or there are not as many meshes as faces.
    """
    if len(mesh) != len(params):
        raise ValueError(f"expected one mesh per face, got {len(mesh)} for {len(params)}")
    gaps = mesh_gap(mesh, params.camera[:, 0] * size)
    psi = [
        _seal(model, params.shape[k : k + 1], params.expression[k], gaps[k])
        for k in range(len(params))
    ]
    return params.replace(expression=torch.stack(psi) if psi else params.expression)


def _seal(model: MorphableModel, beta: Tensor, psi: Tensor, gap: Tensor) -> Tensor:
    lips = _lips(model)
    closed = bool(gap.mean() < CLOSED_IOD)
    wanted, deviation = (np.full(len(lips.middle), value) for value in (-_PRESS, _SEAL_SD))
    if not closed:
        # ICT-FaceKit's modes open the middle of the mouth only.
        seen = np.interp(lips.middle, _POINTS_AT, _numbers(gap))
        wanted = (_GAP_SLOPE * seen - _GAP_BIAS).clip(min=0)
        deviation = np.where(np.abs(lips.middle) < _OPENING, _OPEN_SD, np.inf)
    start = psi
    for _ in range(_ROUNDS):
        missing = wanted - _numbers(lip_opening(model, beta, psi[None])[0])
        # Closed lips may press upon each other.
        missing = np.minimum(missing, 0) if closed else missing
        if np.abs(missing / deviation).max() < 1:
            break
        psi = _step(model, beta, psi, start, missing, deviation)
    return psi


def _step(
    model: MorphableModel,
    beta: Tensor,
    psi: Tensor,
    start: Tensor,
    missing: np.ndarray,
    deviation: np.ndarray,
) -> Tensor:
    """One bounded least-squares step; jawOpen is written as mouthClose + a part of its own."""
    lips = _lips(model)
    height = lips.height(beta, psi[None])[0]
    field = lips.expression[lips.modes]
    touching = [(up[height[up].argmin()], low[height[low].argmax()]) for up, low in lips.columns]
    opens = torch.stack([field[:, up] - field[:, low] for up, low in touching])
    moves = model.expression_basis[lips.modes][:, lips.outline, :2].flatten(1).T
    change = np.eye(len(lips.modes))
    change[0, 1] = 1.0
    opens, moves = (_numbers(rows) @ change for rows in (opens, moves))
    now, first = (_own(_numbers(p[lips.modes])) for p in (psi, start))
    rows = [opens / deviation[:, None], moves / _OUTLINE_SD, np.diag(1 / lips.freedom)]
    right = [(opens @ now + missing) / deviation, moves @ first / _OUTLINE_SD, first / lips.freedom]
    solved = change @ lsq_linear(np.vstack(rows), np.concatenate(right), (0, 1)).x
    return psi.index_copy(0, lips.modes, torch.from_numpy(solved.clip(0, 1)).to(psi))


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _own(psi: np.ndarray) -> np.ndarray:
    """The jaw's opening beyond mouthClose in place of jawOpen."""
    return np.concatenate([[max(psi[0] - psi[1], 0.0)], psi[1:]])


@lru_cache(maxsize=4)
def _lips(model: MorphableModel) -> _Lips:
    names = model.expression_names
    if _JAW not in names or _CLOSE not in names:
        raise ValueError(f"expected the modes {_JAW} and {_CLOSE}, model {model.name} lacks them")
    moving = [(names.index(_JAW), _JAW_SD)]
    moving += [
        (k, sd) for stem, sd in _STEMS.items() for k, n in enumerate(names) if n.startswith(stem)
    ]
    modes, freedom = zip(*moving, strict=True)
    x, y, z = model.template.T
    inner = model.template[model.landmark_vertices]
    slit = (inner[list(_INNER_UPPER)] + inner[list(_INNER_LOWER)]) / 2
    left, right = float(slit[0, 0]), float(slit[-1, 0])
    edges = torch.linspace(left * _SHARE, right * _SHARE, _COLUMNS + 1)
    level, depth = (
        torch.from_numpy(np.interp(x.cpu(), slit[:, 0].cpu(), slit[:, k].cpu())).to(x)
        for k in (1, 2)
    )
    near = torch.nonzero(((y - level).abs() < _REACH_Y) & (z > depth - _REACH_Z))[:, 0]
    # Heights do not tell the lips apart where they press upon each other; the jaw does.
    jaw = model.expression_basis[modes[0], :, 1]
    border = (jaw[model.landmark_vertices[list(_INNER_UPPER)]]
              + jaw[model.landmark_vertices[list(_INNER_LOWER)]]) / 2  # fmt: skip
    parting = torch.from_numpy(np.interp(x.cpu(), slit[:, 0].cpu(), border.cpu())).to(x)
    upper, across = (jaw > parting)[near], x[near]
    columns = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside = (across >= low) & (across <= high)
        columns.append(tuple(torch.nonzero(inside & side)[:, 0] for side in (upper, ~upper)))
    return _Lips(
        rest=y[near],
        shape=model.shape_basis[:, near, 1],
        expression=model.expression_basis[:, near, 1],
        columns=tuple(columns),
        middle=((edges[:-1] + edges[1:]) / (right - left)).numpy(),
        outline=model.landmark_vertices[list(_OUTLINE)],
        modes=torch.tensor(modes, device=x.device),
        freedom=np.array(freedom),
    )
