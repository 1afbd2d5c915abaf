"""What the short-range face detector of the mesh bundle says: anchors, boxes, key points.

Source: BlazeFace (Bazarevsky et al., 2019) as configured in the MediaPipe Face Landmarker: 128 px
input, 896 anchors, box centre, box size and six key points relative to each anchor's centre.
"""

from __future__ import annotations

import numpy as np

INPUT_PX = 128
_GRIDS = ((16, 2), (8, 6))
_MIN_SCORE = 0.5
_OVERLAP = 0.3
_LOGIT_LIMIT = 100.0


def anchor_centres() -> np.ndarray:
    """Give the anchors: two per cell of a 16 x 16 grid, then six per cell of an 8 x 8 grid.

    Returns:
        `(896, 2)` float32 x, y in [0, 1] of the input.
    """
    return np.concatenate([_grid(side, copies) for side, copies in _GRIDS]).astype(np.float32)


def decode_faces(regressors: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the network's two outputs into faces, each blended from the anchors that overlap.

    Args:
        regressors: `(896, 16)` centre x, y, width, height and six points x, y, in input pixels.
        logits: `(896,)`.

    Returns:
        boxes `(F, 4)` left, top, right, bottom and points `(F, 6, 2)` (eye, eye, nose tip, mouth,
        ear, ear; image-left first), both in [0, 1] of the input, in the order of their scores; a
        face that touches the border may leave that range. Faces have a score of at least 0.5.
    """
    limited = np.clip(logits.astype(np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    scores = 1 / (1 + np.exp(-limited))
    kept = np.flatnonzero(scores >= _MIN_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    raw = regressors[kept].reshape(-1, 8, 2) / INPUT_PX
    centres = anchor_centres()[kept]
    middle, half = raw[:, 0] + centres, raw[:, 1] / 2
    shapes = np.concatenate((middle - half, middle + half), axis=1)
    points = raw[:, 2:] + centres[:, None]
    values = np.concatenate((shapes, points.reshape(-1, 12)), axis=1)
    blended = _blend_overlapping(values, scores[kept])
    return blended[:, :4], blended[:, 4:].reshape(-1, 6, 2)


def _grid(side: int, copies: int) -> np.ndarray:
    axis = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(axis, axis)
    return np.repeat(np.stack((x.ravel(), y.ravel()), axis=1), copies, axis=0)


def _blend_overlapping(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Weighted non-maximum suppression: a face is the score-weighted mean of what overlaps it."""
    faces = []
    while len(values):
        same = _overlap_with_first(values[:, :4]) > _OVERLAP
        same[0] = True
        faces.append(np.average(values[same], axis=0, weights=scores[same]))
        values, scores = values[~same], scores[~same]
    return np.array(faces, dtype=np.float64).reshape(-1, values.shape[1])


def _overlap_with_first(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every box with the first."""
    low = np.maximum(boxes[:, :2], boxes[0, :2])
    high = np.minimum(boxes[:, 2:], boxes[0, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    return shared / np.maximum(areas + areas[0] - shared, 1e-12)
