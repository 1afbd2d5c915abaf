"""Rendered faces with the landmarks that a finder sees in their pixels instead of the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fer_lib.datasets.synthetic import SubjectFaces
from fer_lib.faces.locate import FaceLocator, Location
from fer_lib.faces.mesh_points import mesh_to_ibug68


class SeenFaces(NamedTuple):
    """Where a locator finds N faces.

    ``landmarks`` (N, 68 or 5, 2) float32 px, NaN unknown; ``extras``, the optional arrays of a
    store; ``landmark_source``, N names or None; ``lost`` (N,) bool, who was not found.
    """

    landmarks: np.ndarray
    extras: dict[str, np.ndarray]
    landmark_source: list[str | None]
    lost: np.ndarray


def locate_faces(images: Sequence[np.ndarray] | np.ndarray, locator: FaceLocator) -> SeenFaces:
    """Find the face of each picture.

    Args:
        images: (H, W, 3) uint8 RGB each.
        locator: who looks; with a mesh the landmarks are its 68, else MTCNN's five.
    """
    locations = locator.locate(list(images))
    extras = _arrays(locations, locator.has_mesh)
    return SeenFaces(
        mesh_to_ibug68(extras["mesh"]) if locator.has_mesh else extras["five"],
        extras,
        [None if one is None else one.source for one in locations],
        np.array([one is None for one in locations], bool),
    )


def as_seen(subject: SubjectFaces, locator: FaceLocator) -> SubjectFaces:
    """Replace the true landmarks of rendered faces by what the locator finds in the pixels.

    It looks at the pictures before they were shrunk where the subject has them, as it looks at
    photographs before they are cut; its points are those of the shrunk ones.
    A face that is not found becomes a row `no_face` without face and landmarks, as a photograph
    would; the true parameters stay.

    Args:
        subject: rendered faces.
        locator: who looks; with a mesh the landmarks are its 68, else MTCNN's five.

    Returns:
        The same rows, with landmarks `(n, 68 or 5, 2)` and the extra arrays of a store.
    """
    seen = locate_faces(subject.faces if subject.fine is None else subject.fine, locator)
    samples = subject.samples.copy()
    samples.loc[seen.lost, "status"] = "no_face"
    samples.loc[seen.lost, "status_reason"] = "neither mesh nor MTCNN found the rendered face"
    samples["landmark_source"] = seen.landmark_source
    landmarks = seen.landmarks
    if subject.fine is not None:
        _shrink(seen.extras, subject.fine.shape[1] / subject.faces.shape[1])
        landmarks = mesh_to_ibug68(seen.extras["mesh"]) if locator.has_mesh else seen.extras["five"]
    faces = np.where(seen.lost[:, None, None, None], np.uint8(0), subject.faces)
    return SubjectFaces(samples, faces, landmarks, subject.params, seen.extras)


def _shrink(extras: dict[str, np.ndarray], finer: float) -> None:
    """Turn points of pictures that are some times finer into those of the shrunk ones."""
    for points in (extras[name] for name in ("five", "mesh") if name in extras):
        points /= finer
        points[..., :2] += 0.5 / finer - 0.5


def _arrays(locations: list[Location | None], has_mesh: bool) -> dict[str, np.ndarray]:
    shapes = {"five": (5, 2), **({"mesh": (478, 3), "arkit": (52,)} if has_mesh else {})}
    arrays = {
        name: np.full((len(locations), *shape), np.nan, dtype=np.float32)
        for name, shape in shapes.items()
    }
    for row, location in enumerate(locations):
        if location is not None:
            arrays["five"][row] = location.five
            if location.mesh is not None:
                arrays["mesh"][row] = location.mesh.points
                arrays["arkit"][row] = location.mesh.scores
    return arrays
