"""The landmark mesh: 478 points and 52 expression scores of one face, by OpenCV's dnn.

The bundle is Google's `face_landmarker.task` (Apache-2.0): a face detector, the mesh network and
the network of the scores (names and tables: `mesh_points`). Order of work, as in MediaPipe: a
square around the face with level eyes, the mesh in it, the scores from the mesh. A square guessed
from five points is rough, so the mesh is then looked for once more in its own square; after the
bundle's detector a second pass gains nothing (1.4 % of the pupil distance either way).

Coordinates are pixels with pixel centres at integers; z has the scale of x and y, and is smaller
towards the camera.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fer_lib.faces.blaze import INPUT_PX, decode_faces
from fer_lib.faces.mesh_points import (
    LEFT_EYE_CORNER,
    MESH_POINTS,
    RIGHT_EYE_CORNER,
    SCORE_INPUT,
)

_PARTS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")
_CROP_PX = 256
_ROOM = 1.5
_MIN_PRESENCE = 0.5
# A face is about this many eye distances high, and its middle this far from the eyes to the mouth.
_FACE_PER_EYES, _MIDDLE = 2.7, 0.4


@dataclass(frozen=True)
class MeshFace:
    """One face as the mesh sees it.

    Attributes:
        points: `(478, 3)` float32, x and y in pixels of the image, z at their scale.
        scores: `(52,)` float32 in [0, 1], in the order of `mesh_points.ARKIT_NAMES`.
        presence: probability that the square held a face, [0, 1].
    """

    points: np.ndarray
    scores: np.ndarray
    presence: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the points."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


class _Square(NamedTuple):
    """A rotated square of the image: centre, side in pixels, direction of its x axis in radians."""

    x: float
    y: float
    side: float
    angle: float


class FaceMesh:
    """Finds the mesh of the largest face of an image.

    Args:
        bundle: the file `face_landmarker.task`.

    Raises:
        ValueError: the file is not the bundle.
    """

    def __init__(self, bundle: Path | str) -> None:
        parts = _read_parts(Path(bundle))
        self._detector, self._mesh, self._scores = (
            cv2.dnn.readNetFromTFLite(np.frombuffer(parts[name], np.uint8)) for name in _PARTS
        )
        self._presence_row, self._presence_bias = _presence_from_points(self._mesh)

    def find(self, image: np.ndarray, near: np.ndarray | None = None) -> MeshFace | None:
        """Find the mesh of one face.

        The answer depends on this image alone.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            near: `(5, 2)` eyes, nose tip and mouth corners of the face that is meant; without them
                the bundle's detector looks for the largest face.

        Returns:
            The face, or None where there is none.

        Raises:
            ValueError: the image is no RGB image of bytes.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        square = _largest_face(*self.detect(image)) if near is None else _square_of_five(near)
        if square is None:
            return None
        points, presence = self._points_in(image, square)
        if near is not None:
            points, presence = self._points_in(image, _square_of_mesh(points))
        if presence < _MIN_PRESENCE or not np.isfinite(points).all():
            return None
        return MeshFace(points.astype(np.float32), self._expression(points), presence)

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Detect faces alone, without their mesh.

        Args:
            image: `(H, W, 3)` uint8 RGB.

        Returns:
            boxes `(F, 4)` and key points `(F, 6, 2)` as of `blaze.decode_faces`, in pixels.
        """
        height, width = image.shape[:2]
        side = max(height, width)
        square = _Square((width - 1) / 2, (height - 1) / 2, side, 0.0)
        batch = _blob(_cut(image, square, INPUT_PX)) * 2 - 1
        regressors = _forward(self._detector, batch, "regressors")
        logits = _forward(self._detector, batch, "classificators")
        boxes, points = decode_faces(regressors.reshape(-1, 16), logits.ravel())
        corner = np.array([square.x, square.y]) - side / 2
        return boxes * side + np.tile(corner, 2), points * side + corner

    def _points_in(self, image: np.ndarray, square: _Square) -> tuple[np.ndarray, float]:
        """Mesh `(478, 3)` in image pixels and the presence of a face in the square."""
        flat = _forward(self._mesh, _blob(_cut(image, square, _CROP_PX)), "Identity").ravel()
        logit = float(flat.astype(np.float64) @ self._presence_row + self._presence_bias)
        points = flat.reshape(MESH_POINTS, 3).astype(np.float64)
        scale = square.side / _CROP_PX
        points[:, :2] = (points[:, :2] - _CROP_PX / 2) * scale @ _rotation(square.angle).T
        points[:, :2] += square.x, square.y
        points[:, 2] *= scale
        return points, float(1 / (1 + np.exp(-np.clip(logit, -100, 100))))

    def _expression(self, points: np.ndarray) -> np.ndarray:
        seen = points[None, SCORE_INPUT, :2].astype(np.float32)
        return _forward(self._scores, np.ascontiguousarray(seen), None).ravel().copy()


def _read_parts(path: Path) -> Mapping[str, bytes]:
    try:
        with zipfile.ZipFile(path) as bundle:
            return {name: bundle.read(name) for name in _PARTS}
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise ValueError(
            f"expected the bundle face_landmarker.task at {path}, got something else ({error}); "
            "fetch it again"
        ) from error


def _presence_from_points(net: cv2.dnn.Net) -> tuple[np.ndarray, float]:
    """Express the presence logit by the points, both being linear in the last features.

    OpenCV gives one output a pass and reuses the buffer of this one. With points W f + b and
    presence w f + c, presence is w W⁺ (points - b) + c: one pass instead of two.
    """
    (points, b), (presence, c) = (_weights(net, name) for name in ("Identity", "Identity_1"))
    row = (presence @ np.linalg.pinv(points))[0]
    return row, float(c[0] - row @ b)


def _weights(net: cv2.dnn.Net, name: str) -> tuple[np.ndarray, np.ndarray]:
    kernel, bias = net.getLayer(net.getLayerId(name)).blobs
    return kernel.reshape(len(kernel), -1).astype(np.float64), bias.astype(np.float64)


def _forward(net: cv2.dnn.Net, batch: np.ndarray, output: str | None) -> np.ndarray:
    net.setInput(batch)
    return net.forward() if output is None else net.forward(output)


def _blob(crop: np.ndarray) -> np.ndarray:
    """`(S, S, 3)` uint8 to `(1, 3, S, S)` float32 in [0, 1]."""
    return np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32) / 255


def _cut(image: np.ndarray, square: _Square, size: int) -> np.ndarray:
    """Cut a rotated square out of the image, black outside; strong shrinking averages first."""
    image, square = _window(image, square)
    shrink = int(square.side // (2 * size))
    if shrink > 1:
        height, width = (max(1, side // shrink) for side in image.shape[:2])
        ratio = np.array([width / image.shape[1], height / image.shape[0]])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        x, y = (np.array([square.x, square.y]) + 0.5) * ratio - 0.5
        square = _Square(x, y, square.side * float(ratio.mean()), square.angle)
    axes = _rotation(square.angle) * square.side / size
    corner = np.array([square.x, square.y]) - axes @ np.full(2, size / 2 - 0.5)
    matrix = np.column_stack((axes, corner))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags)


def _window(image: np.ndarray, square: _Square) -> tuple[np.ndarray, _Square]:
    """The part of the image that the square can reach: warpAffine takes at most 32,767 px."""
    reach = square.side * np.sqrt(0.5) + 2
    limits = np.array([image.shape[1], image.shape[0]])
    centre = np.array([square.x, square.y])
    low = np.clip(np.floor(centre - reach), 0, limits - 1).astype(int)
    high = np.clip(np.ceil(centre + reach), low + 1, limits).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    return part, square._replace(x=square.x - low[0], y=square.y - low[1])


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _largest_face(boxes: np.ndarray, points: np.ndarray) -> _Square | None:
    if len(boxes) == 0:
        return None
    sides = boxes[:, 2:] - boxes[:, :2]
    best = int(np.argmax(sides.prod(axis=1)))
    x, y = (boxes[best, :2] + boxes[best, 2:]) / 2
    return _Square(x, y, _ROOM * sides[best].max(), _direction(points[best, 0], points[best, 1]))


def _square_of_five(five: np.ndarray) -> _Square | None:
    eyes, mouth = five[:2].mean(axis=0), five[3:5].mean(axis=0)
    # Either alone vanishes in a profile or in a bowed head.
    span = max(np.linalg.norm(five[1] - five[0]), np.linalg.norm(mouth - eyes))
    if not np.isfinite(five).all() or span < 1:
        return None
    x, y = eyes + _MIDDLE * (mouth - eyes)
    return _Square(x, y, _ROOM * _FACE_PER_EYES * span, _direction(five[0], five[1]))


def _square_of_mesh(points: np.ndarray) -> _Square:
    angle = _direction(points[RIGHT_EYE_CORNER], points[LEFT_EYE_CORNER])
    turned = points[:, :2] @ _rotation(angle)
    low, high = turned.min(axis=0), turned.max(axis=0)
    x, y = _rotation(angle) @ ((low + high) / 2)
    return _Square(x, y, _ROOM * max(1.0, (high - low).max()), angle)


def _direction(start: np.ndarray, end: np.ndarray) -> float:
    return float(np.arctan2(end[1] - start[1], end[0] - start[0]))
