"""Assembly of the ICT head: units, seams, gaze and paint into one `MorphableModel`.

Expression and shape coefficients mean the same at every level of detail, and the vertices that two
levels share lie at the same places.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_lib.faces.embedded.colours import ALBEDO_NAMES
from fer_lib.faces.embedded.lids import EYE_CENTRE_Z
from fer_lib.faces.ict.archive import Array, IctFiles, Index
from fer_lib.faces.ict.atlas import Bare
from fer_lib.faces.ict.bundle import load_ict
from fer_lib.faces.ict.gaze import add_gaze, eyeball
from fer_lib.faces.ict.groom import IctGroom
from fer_lib.faces.ict.paint import Mannequin, dress, prepare
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.normals import fan_normals, list_fans

DETAILS = ("full", "head", "face")
MAX_BETA = 2.5
_CM_TO_MM = 10.0
_NARROW_FACE = 6706
_PER_VERTEX = ("template", "uv", "depth_bias", "gloss")


@dataclass(frozen=True)
class Bones:
    """Everything about the ICT head that no groom changes.

    Attributes:
        mannequin: the head, ready to be painted.
        source: (V,) int64 number of each vertex in ICT-FaceKit's files.
        front: (V,) bool what a camera in front may see.
        tensors: the fields of `MorphableModel` that all grooms share.
    """

    mannequin: Mannequin
    source: Index
    front: NDArray[np.bool_]
    tensors: dict[str, Tensor | tuple[str, ...] | float]


def _split_seams(files: IctFiles) -> tuple[Index, Index, Index]:
    """One vertex per pair of place and texture position.

    Returns:
        (V,) row of the files' vertex, (V,) row of their texture, (F,3) triangles.
    """
    pairs = np.stack([files.triangles, files.texture_triangles], -1).reshape(-1, 2)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], unique[:, 1], inverse.reshape(-1, 3)


@lru_cache(maxsize=1)
def bones() -> Bones:
    """Bring ICT-FaceKit's files into the project's units and order, once."""
    files = add_gaze(load_ict())
    left, right = (eyeball(files.neutral, files.source, side)[0] for side in ("L", "R"))
    unit_cm = float(left[0] - right[0])
    middle = (left + right) / 2 - [0.0, 0.0, EYE_CENTRE_Z * unit_cm]
    place, texture, triangles = _split_seams(files)
    first = np.unique(place, return_index=True)[1]
    weld = first[np.searchsorted(place[first], place)]
    landmarks = first[np.searchsorted(place[first], files.landmarks)]
    rest = (files.neutral[place] - middle) / unit_cm
    source = files.source[place]
    tensors = {
        "shape_basis": _float(files.shape_basis[:, place] / unit_cm),
        "shape_names": files.shape_names,
        "expression_basis": _float(files.expression_basis[:, place] / unit_cm),
        "expression_names": files.expression_names,
        "triangles": torch.from_numpy(triangles),
        "landmark_vertices": torch.from_numpy(landmarks),
        "weld": torch.from_numpy(weld),
        "unit_mm": _CM_TO_MM * unit_cm,
    }
    fans = list_fans(tensors["triangles"], tensors["weld"])
    normals = fan_normals(_float(rest)[None], fans)[:, 0].T.numpy()
    bare = Bare(rest, files.texture[texture], source, landmarks, normals)
    return Bones(prepare(bare, files.expression_names), source, files.front[place], tensors)


def _float(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


@lru_cache(maxsize=4)
def ict_head(groom: IctGroom = IctGroom(), detail: str = "full") -> MorphableModel:  # noqa: B008
    """ICT-FaceKit with one subject's hair, beard and brows.

    The first use reads the archive (see `bundle.load_ict`).

    Args:
        groom: hair, beard and brows; the model is strictly linear for one groom.
        detail: "full" – all that is drawn; "head" – without what is hidden from any camera in front
            (`sight.seen_in_front`); "face" – the narrow face alone, for fits. Each is a subset of
            the one before.

    Returns:
        The model; the last four are kept.

    Raises:
        ValueError: the detail is unknown.
        fer_lib.assets.AssetError: the archive cannot be had.
    """
    kept, tensors = _part(detail)
    dressed = dict(_dressed(groom))
    dressed |= {name: dressed[name][kept] for name in _PER_VERTEX}
    return MorphableModel(
        name="ict",
        licence="MIT (ICT-FaceKit, USC Institute for Creative Technologies)",
        albedo_names=ALBEDO_NAMES,
        **tensors,
        **dressed,
    )


@lru_cache(maxsize=2)
def _dressed(groom: IctGroom) -> dict[str, Tensor]:
    return dress(bones().mannequin, groom)


@lru_cache(maxsize=len(DETAILS))
def _part(detail: str) -> tuple[Tensor, dict[str, Tensor | tuple[str, ...] | float]]:
    """Which vertices a level of detail has, (V,), and the tensors that all its grooms share."""
    if detail not in DETAILS:
        raise ValueError(f"expected a detail out of {DETAILS}, got {detail!r}")
    fixed = bones()
    tensors, kept = fixed.tensors, torch.from_numpy(_kept(fixed, detail))
    number = kept.cumsum(0) - 1
    inside = kept[tensors["triangles"]].all(1)
    return kept, tensors | {
        "shape_basis": tensors["shape_basis"][:, kept],
        "expression_basis": tensors["expression_basis"][:, kept],
        "triangles": number[tensors["triangles"][inside]],
        "landmark_vertices": number[tensors["landmark_vertices"]],
        "weld": number[tensors["weld"][kept]],
    }


def _kept(fixed: Bones, detail: str) -> NDArray[np.bool_]:
    """(V,) which vertices a level of detail has; twins along a seam stay together."""
    if detail == "full":
        return np.ones(len(fixed.source), dtype=bool)
    kept = fixed.front & (fixed.source < _NARROW_FACE) if detail == "face" else fixed.front
    landmarks = fixed.source[fixed.tensors["landmark_vertices"].numpy()]
    return kept | np.isin(fixed.source, landmarks)


def sample_shape(generator: torch.Generator, count: int) -> Tensor:
    """Draw subjects.

    Args:
        generator: source of randomness.
        count: how many.

    Returns:
        (count,100) float32 β, independent standard normals clipped at ±2.5.
    """
    return torch.randn(count, 100, generator=generator).clamp(-MAX_BETA, MAX_BETA)
