"""Face detection: facenet-pytorch's MTCNN, one face per image.

Source: Zhang et al., Joint Face Detection and Alignment using Multitask Cascaded Convolutional
Networks, 2016; weights of the package facenet-pytorch (MIT).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from facenet_pytorch import MTCNN
from PIL import Image

_SMALLEST_FACE_PX = 20
# The smallest face looked for is a share of the image, and the last network sees faces at 48 px:
# beyond this side (here of the shorter side) pixels add nothing but gigabytes and minutes.
_ENOUGH_PX = 700
# The package cuts a candidate that leaves the image at the border and stretches what is left, which
# shifts the points of a face that fills its photograph (by over a fifth of the inter-ocular
# distance in 27 % of them). Every image is therefore seen with black around it; the margin is a
# share of its longer side. Where nothing is found, the next margin is tried.
_MARGINS = (0.25, 0.45, 0.1)


@dataclass(frozen=True)
class Detection:
    """One found face.

    Attributes:
        box: `(left, top, right, bottom)` in pixels, inside the image and not empty.
        probability: the last network's confidence in [0, 1].
        points: `(5, 2)` float32 pixels: eyes, nose tip, mouth corners, image-left first; they may
            lie outside the image.
    """

    box: tuple[float, float, float, float]
    probability: float
    points: np.ndarray


class FaceDetector:
    """MTCNN that keeps the largest face of every image.

    Args:
        device: where the networks run.
        min_face_frac: smallest face looked for, as a share of the image's shorter side (never under
            20 px). It keeps the time per image nearly independent of the resolution.
        batch_size: images of equal size that go through the networks together. With 1 a result is
            exactly independent of its neighbours; in larger batches points differ in the fourth
            decimal, and where two candidates tie in confidence another one may win. On a CPU
            batches are no faster (35 faces per second alone, 32 in batches of 32).
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        min_face_frac: float = 0.1,
        batch_size: int = 1,
    ) -> None:
        if not 0 < min_face_frac <= 1 or batch_size < 1:
            raise ValueError(
                "expected min_face_frac in (0, 1] and batch_size of 1 or more, "
                f"got {min_face_frac} and {batch_size}"
            )
        self._min_face_frac = min_face_frac
        self._batch_size = batch_size
        self._cascade = MTCNN(keep_all=True, device=torch.device(device)).eval()

    def detect(self, images: Sequence[np.ndarray]) -> list[Detection | None]:
        """Find the largest face of every image.

        Args:
            images: `(H, W, 3)` uint8 RGB, of any sizes.

        Returns:
            One entry per image, in order; None where no face was found.

        Raises:
            ValueError: an image has another shape or type.
        """
        for image in images:
            _check_image(image)
        factors = [max(1, min(image.shape[:2]) // _ENOUGH_PX) for image in images]
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        images = [_reduced(*pair) for pair in zip(images, factors, strict=True)]
        found: list[Detection | None] = [None] * len(images)
        for margin_frac in _MARGINS:
            open_positions = [i for i, face in enumerate(found) if face is None]
            for positions in self._equal_batches(images, open_positions):
                batch = np.stack([images[position] for position in positions])
                for position, face in zip(
                    positions, self._detect_batch(batch, margin_frac), strict=True
                ):
                    found[position] = face
        return [_enlarged(*each) for each in zip(found, factors, sizes, strict=True)]

    def _equal_batches(
        self, images: Sequence[np.ndarray], positions: Sequence[int]
    ) -> Iterator[list[int]]:
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position in positions:
            by_shape[images[position].shape].append(position)
        for equal in by_shape.values():
            for start in range(0, len(equal), self._batch_size):
                yield equal[start : start + self._batch_size]

    def _detect_batch(self, batch: np.ndarray, margin_frac: float) -> list[Detection | None]:
        height, width = batch.shape[1:3]
        shorter = min(height, width)
        if shorter < _SMALLEST_FACE_PX:
            return [None] * len(batch)
        self._cascade.min_face_size = max(_SMALLEST_FACE_PX, self._min_face_frac * shorter)
        margin = round(margin_frac * max(height, width))
        padded = np.pad(batch, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        try:
            boxes, probabilities, points = self._cascade.detect(padded, landmarks=True)
        # The package fails on candidates that lie wholly outside the image: it drops their crops
        # but not their rows. In a batch that must not cost the neighbours their faces.
        except (IndexError, RuntimeError, ValueError) as error:
            if not _is_candidate_fault(error):
                raise
            if len(batch) == 1:
                return [None]
            return [self._detect_batch(image[None], margin_frac)[0] for image in batch]
        return [
            _largest_face(*found, width=width, height=height, margin=margin)
            for found in zip(boxes, probabilities, points, strict=True)
        ]


def pad_box(
    image: np.ndarray, box: tuple[float, float, float, float], margin_frac: float = 0.0
) -> np.ndarray:
    """Cut a square around a box; what lies outside the image is black, the square stays whole.

    Args:
        image: `(H, W, 3)` uint8.
        box: `(left, top, right, bottom)` in pixels; it may leave the image.
        margin_frac: how much is added on every side, as a share of the box's longer side.

    Returns:
        `(S, S, 3)` uint8, S at least 1.

    Raises:
        ValueError: the box is not finite or empty.
    """
    left, top, right, bottom = box
    if not np.isfinite(box).all() or right <= left or bottom <= top:
        raise ValueError(f"expected a finite box with left < right and top < bottom, got {box}")
    side = max(1, round(max(right - left, bottom - top) * (1 + 2 * margin_frac)))
    x0, y0 = round((left + right - side) / 2), round((top + bottom - side) / 2)
    square = np.zeros((side, side, 3), dtype=np.uint8)
    height, width = image.shape[:2]
    inside_x, inside_y = _overlap(x0, side, width), _overlap(y0, side, height)
    if inside_x.start < inside_x.stop and inside_y.start < inside_y.stop:
        square[_shifted(inside_y, -y0), _shifted(inside_x, -x0)] = image[inside_y, inside_x]
    return square


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor x factor pixels."""
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _enlarged(
    face: Detection | None, factor: int, size: tuple[int, int]
) -> Detection | None:
    """Bring a detection back to the pixels of the image before `_reduced`."""
    if face is None or factor == 1:
        return face
    width, height = size
    left, top, right, bottom = (side * factor for side in face.box)
    box = (left, top, min(right, float(width)), min(bottom, float(height)))
    return Detection(box, face.probability, (face.points + 0.5) * factor - 0.5)


def _overlap(start: int, length: int, limit: int) -> slice:
    return slice(max(start, 0), min(start + length, limit))


def _shifted(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"expected (H, W, 3) uint8 images, got {image.shape} {image.dtype}; read them with "
            "fer_lib.media.images.read_image"
        )


def _is_candidate_fault(error: Exception) -> bool:
    return isinstance(error, IndexError) or "non-empty" in str(error)


def _largest_face(
    boxes: np.ndarray | None,
    probabilities: np.ndarray,
    points: np.ndarray | None,
    *,
    width: int,
    height: int,
    margin: int,
) -> Detection | None:
    if boxes is None or len(boxes) == 0:
        return None
    # The package returns arrays of objects where images hold unequal numbers of faces.
    corners = np.asarray(boxes, dtype=np.float64) - margin
    limits = np.array([width, height, width, height], dtype=np.float64)
    corners = np.clip(corners, 0, limits)
    sides = corners[:, 2:] - corners[:, :2]
    areas = np.where((sides >= 1).all(axis=1), sides.prod(axis=1), 0.0)
    best = int(np.argmax(np.nan_to_num(areas)))
    landmarks = np.asarray(points[best], dtype=np.float32) - margin
    if not areas[best] > 0 or not np.isfinite(landmarks).all():
        return None
    left, top, right, bottom = (float(value) for value in corners[best])
    return Detection((left, top, right, bottom), float(probabilities[best]), landmarks)
