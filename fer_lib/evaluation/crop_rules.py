"""The one place where faces are cut for judges: a table of rules, for photographs and for stores.

A judge's specification names its rule. The same face cut by the same rule is the same crop, whether
it comes from a photograph, a clip or a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.evaluation.emonet_crop import emonet_affine
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.faces.align import seed_affine, usable_points
from fer_lib.faces.locate import Box, Location
from fer_lib.faces.mesh_points import mesh_to_ibug68
from fer_lib.faces.square import SQUARES, Square, square_affine
from fer_lib.faces.warp import invert_affine, to_uint8, transform_points, warp

# Bilinear samples reach one pixel beyond the crop's outline; the rest is for rounding.
_SPARE_PX = 3


class FacePlace(NamedTuple):
    """Where a face is in its picture, in px; what is unknown is NaN or None.

    ``five`` (5, 2) float32 eyes, nose tip, mouth corners, image-left first; ``box`` left, top,
    right, bottom; ``landmarks`` (68, 2) float32 in iBUG order.
    """

    five: np.ndarray
    box: Box | None
    landmarks: np.ndarray | None = None

    @classmethod
    def of(cls, location: Location) -> FacePlace:
        """Take over what the locator found; only the mesh gives 68 landmarks."""
        mesh = location.mesh
        landmarks = None if mesh is None else mesh_to_ibug68(mesh.points)
        return cls(location.five, location.box, landmarks)


CutRule = Callable[[np.ndarray, FacePlace, int], np.ndarray | None]
"""Picture (H, W, 3) uint8 RGB, place of its face, side of the judge's input → crop (h, w, 3) uint8,
or None where the place does not say enough. What lies outside the picture is black."""


def cut_faces(
    pictures: Iterable[np.ndarray | None], places: Iterable[FacePlace | None], spec: JudgeSpec
) -> list[np.ndarray | None]:
    """Cut a face out of each picture as a judge wants it.

    Args:
        pictures: N arrays (H, W, 3) uint8 RGB of any sizes; not looked at without a place.
        places: of their faces; None where there is no face.
        spec: of the judge.

    Returns:
        N crops (h, w, 3) uint8; None without a face, and where the rule needs points that are
        unknown or cannot align a face.

    Raises:
        ValueError: the judge cuts by a rule that is not in ``CUTS``.
    """
    if spec.crop not in CUTS:
        raise ValueError(
            f"expected a judge that cuts by one of {sorted(CUTS)}, {spec.name!r} cuts by "
            f"{spec.crop!r}; add its rule"
        )
    cut = CUTS[spec.crop]
    return [
        None if place is None else cut(picture, place, spec.image_size)
        for picture, place in zip(pictures, places, strict=True)
    ]


def cut_store_faces(
    store: Store, positions: Sequence[int] | np.ndarray, spec: JudgeSpec
) -> list[np.ndarray | None]:
    """Cut faces of a store as a judge wants them; the same faces for every judge.

    Args:
        store: its loose crops are the pictures.
        positions: rows, repeats allowed.
        spec: of the judge.

    Returns:
        As ``cut_faces``; None also for a row without a face.

    Raises:
        ValueError: as ``cut_faces``, or the rule needs 68 landmarks and the store knows neither
            them nor the mesh.
    """
    places = store_places(store, positions)
    if spec.crop == "tight":
        crops = cut_tight_crops(store, positions, spec.image_size)
        cut = zip(crops.faces.numpy(), crops.valid.tolist(), places, strict=True)
        return [face if valid and place is not None else None for face, valid, place in cut]
    if spec.crop == "emonet" and all(place is None or place.landmarks is None for place in places):
        raise ValueError(
            f"expected 68 landmarks or a mesh for {spec.name!r}, the store {store.path.name} has "
            f"{store.landmarks.shape[1]} landmarks; write it with LANDMARKS=mesh"
        )
    return cut_faces((np.array(store.faces[row]) for row in positions), places, spec)


def store_places(store: Store, positions: Sequence[int] | np.ndarray) -> list[FacePlace | None]:
    """Say where faces of a store are in their loose crops.

    The box is that of the mesh, as in photographs, else of the landmarks.

    Args:
        store: the store.
        positions: rows, repeats allowed.

    Returns:
        One place per row, None where the row has no face.
    """
    found = (store.index["status"] == "ok").to_numpy()
    return [_store_place(store, int(row)) if found[row] else None for row in positions]


def cut_box(picture: np.ndarray, box: Box) -> np.ndarray | None:
    """Cut a box as HSEmotion does: whole pixels, no margin; what lies outside is black.

    Args:
        picture: (H, W, 3) uint8.
        box: left, top, right, bottom in px.

    Returns:
        (h, w, 3) uint8; None where the box is not finite or holds no pixel of the picture.
    """
    if not np.isfinite(box).all():
        return None
    height, width = picture.shape[:2]
    left, top, right, bottom = map(int, box)
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not inside.size:
        return None
    before = (max(-top, 0), max(-left, 0))
    after = (max(bottom - height, 0), max(right - width, 0))
    return np.pad(inside, (*zip(before, after, strict=True), (0, 0)))


def _store_place(store: Store, row: int) -> FacePlace:
    landmarks = np.array(store.landmarks[row])
    outline = landmarks
    if "mesh" in store.extras and np.isfinite(store.extras["mesh"][row]).all():
        outline = np.array(store.extras["mesh"][row, :, :2])
    known = np.isfinite(outline).all()
    box = (*map(float, outline.min(axis=0)), *map(float, outline.max(axis=0))) if known else None
    if len(landmarks) != 68:
        landmarks = mesh_to_ibug68(outline) if outline is not landmarks else None
    return FacePlace(np.array(store.five[row]), box, landmarks)


def _tight(picture: np.ndarray, place: FacePlace, side: int) -> np.ndarray | None:
    """Seed 001's three-point frame, as ``datasets.crops`` cuts it for training."""
    five = torch.from_numpy(place.five)[None]
    if not usable_points(five).all():
        return None
    return _warped(picture, seed_affine(five, side)[0], side)


def _box(picture: np.ndarray, place: FacePlace, side: int) -> np.ndarray | None:
    return None if place.box is None else cut_box(picture, place.box)


def _emonet(picture: np.ndarray, place: FacePlace, side: int) -> np.ndarray | None:
    if place.landmarks is None:
        return None
    matrix, valid = emonet_affine(torch.from_numpy(place.landmarks)[None])
    return _warped(picture, matrix, side) if valid.all() else None


def _square(picture: np.ndarray, place: FacePlace, side: int, square: Square) -> np.ndarray | None:
    matrix, valid = square_affine(torch.from_numpy(place.five)[None], square, side)
    return _warped(picture, matrix, side) if valid.all() else None


def _warped(picture: np.ndarray, matrix: Tensor, side: int) -> np.ndarray:
    """Warp only the part of the picture that the crop can see: photographs can be large."""
    ends = torch.tensor([[-0.5, -0.5], [-0.5, side - 0.5], [side - 0.5, -0.5], [side - 0.5] * 2])
    seen = transform_points(ends[None], invert_affine(matrix))[0].numpy()
    limits = np.array([picture.shape[1], picture.shape[0]])
    low = np.clip(np.floor(seen.min(axis=0)) - _SPARE_PX, 0, limits - 1).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + _SPARE_PX, low + 1, limits).astype(int)
    part = np.array(picture[low[1] : high[1], low[0] : high[0]])
    corner = torch.from_numpy(low).to(matrix)[None, None]
    moved = torch.cat((matrix[..., :2], transform_points(corner, matrix).mT), dim=2)
    return to_uint8(warp(torch.from_numpy(part)[None], moved, side))[0].numpy()


CUTS: dict[str, CutRule] = {
    "tight": _tight,
    "box": _box,
    "emonet": _emonet,
    **{name: partial(_square, square=square) for name, square in SQUARES.items()},
}
"""Crop rules by the names that judges' specifications use."""
