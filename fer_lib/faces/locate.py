"""Where a face is: the data set's own points, else the mesh, else the detector's five.

The first of the three that has an answer aligns the face, and its name is recorded. The mesh
itself is looked for in every image: near the data set's points where there are some, else where
its own detector finds the largest face, else where MTCNN does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fer_lib.faces.align import five_points
from fer_lib.faces.detect import Detection, FaceDetector
from fer_lib.faces.mesh import FaceMesh, MeshFace
from fer_lib.faces.mesh_points import mesh_to_ibug68

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Location:
    """Where the face of one image is.

    Attributes:
        five: `(5, 2)` float32 eyes, nose tip and mouth corners, image-left first, in pixels.
        source: who says so: `dataset`, `mesh` or `mtcnn`.
        box: left, top, right, bottom in pixels, of the mesh, else of MTCNN; None where only the
            data set knows the face.
        mesh: the mesh, or None where it was not found or not asked for.
    """

    five: np.ndarray
    source: str
    box: Box | None
    mesh: MeshFace | None


class FaceLocator:
    """Locates the face of each image by the chain data set, mesh, MTCNN.

    Args:
        detector: MTCNN.
        mesh: the landmark mesh; None leaves it out.
    """

    def __init__(self, detector: FaceDetector, mesh: FaceMesh | None = None) -> None:
        self._detector = detector
        self._mesh = mesh

    @property
    def has_mesh(self) -> bool:
        """Whether the mesh is looked for."""
        return self._mesh is not None

    def locate(
        self, images: Sequence[np.ndarray], given: Sequence[np.ndarray] | None = None
    ) -> list[Location | None]:
        """Locate one face per image; the answer for an image does not depend on the others.

        Args:
            images: `(H, W, 3)` uint8 RGB each.
            given: the data set's five points `(5, 2)` per image, NaN where it has none.

        Returns:
            One location per image, None where nobody found a face.
        """
        if given is None:
            given = [np.full((5, 2), np.nan, dtype=np.float32)] * len(images)
        meshes = [self._find_mesh(*pair) for pair in zip(images, given, strict=True)]
        unknown = [row for row, mesh in enumerate(meshes) if mesh is None]
        detections: list[Detection | None] = [None] * len(images)
        for row, found in zip(
            unknown, self._detector.detect([images[row] for row in unknown]), strict=True
        ):
            detections[row] = found
            if found is not None:
                meshes[row] = self._find_mesh(images[row], found.points)
        return [_choose(*each) for each in zip(given, meshes, detections, strict=True)]

    def _find_mesh(self, image: np.ndarray, near: np.ndarray) -> MeshFace | None:
        if self._mesh is None:
            return None
        return self._mesh.find(image, near if np.isfinite(near).all() else None)


def _choose(
    given: np.ndarray, mesh: MeshFace | None, detection: Detection | None
) -> Location | None:
    """Take the first link of the chain that has an answer."""
    seen = mesh or detection
    box = seen.box if seen else None
    if np.isfinite(given).all():
        return Location(given.astype(np.float32), "dataset", box, mesh)
    if mesh is not None:
        landmarks = torch.from_numpy(mesh_to_ibug68(mesh.points))[None]
        return Location(five_points(landmarks)[0].numpy(), "mesh", box, mesh)
    return Location(detection.points, "mtcnn", box, None) if detection else None
