"""Rendered faces with the landmarks that a finder sees in their pixels instead of the true ones."""

from __future__ import annotations

import numpy as np

from fer_lib.datasets.synthetic import SubjectFaces
from fer_lib.faces.locate import FaceLocator, Location
from fer_lib.faces.mesh_points import mesh_to_ibug68


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
    seen = subject.faces if subject.fine is None else subject.fine
    locations = locator.locate(list(seen))
    lost = np.array([location is None for location in locations])
    samples = subject.samples.copy()
    samples.loc[lost, "status"] = "no_face"
    samples.loc[lost, "status_reason"] = "neither mesh nor MTCNN found the rendered face"
    samples["landmark_source"] = [None if one is None else one.source for one in locations]
    extras = _arrays(locations, locator.has_mesh)
    if subject.fine is not None:
        _shrink(extras, subject.fine.shape[1] / subject.faces.shape[1])
    landmarks = mesh_to_ibug68(extras["mesh"]) if locator.has_mesh else extras["five"]
    faces = np.where(lost[:, None, None, None], np.uint8(0), subject.faces)
    return SubjectFaces(samples, faces, landmarks, subject.params, extras)


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
