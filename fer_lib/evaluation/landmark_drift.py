"""How far an edit moved the head: an expression must not be bought by a turn or a larger face.

Edit and source lie in one crop frame, so their landmarks are compared as they are, without any
alignment. What an expression leaves in place are the corners of the eyes and, less so, the bridge
of the nose, which a wrinkled nose (disgust) shortens; the lids move, so an eye's centre is the
middle of its corners. Two photographs that were each aligned to the eyes and the mouth differ in
scale as soon as the mouth moves: of them only the bridge and the angle say something.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

POINTS = 68
_EYE_CORNERS = [[36, 39], [42, 45]]
_OUTER_CORNERS = [36, 45]
_BRIDGE = slice(27, 31)


def landmark_drift_pct_iod(
    edit_landmarks: NDArray[np.floating], source_landmarks: NDArray[np.floating]
) -> pd.DataFrame:
    """Measure how far each edit moved what an expression leaves in place.

    Args:
        edit_landmarks: `(N, 68, 2)` in iBUG order, pixels; NaN unknown.
        source_landmarks: the same faces before the edit, in the same crop frame.

    Returns:
        N rows, all values 0 or more, NaN where a point is unknown: ``eyes_drift_pct_iod`` and
        ``bridge_drift_pct_iod`` (mean shift of the eyes' centres, and of points 27 to 30, in
        percent of the source's distance of the outer eye corners), ``pose_drift_deg`` (turn of the
        line through the eyes, in the picture's plane) and ``scale_drift_pct`` (change of the
        distance of the eyes).

    Raises:
        ValueError: the landmarks are of another shape or type, or not of as many faces.
    """
    edit, source = _checked(edit_landmarks, source_landmarks)
    eyes, eyes_before = (part[:, _EYE_CORNERS].mean(axis=2) for part in (edit, source))
    with np.errstate(invalid="ignore"):
        # numpy warns when it divides a complex NaN.
        ratio = _line(eyes) / _line(eyes_before)
    return pd.DataFrame(
        {
            "eyes_drift_pct_iod": _shift(eyes, eyes_before, source),
            "bridge_drift_pct_iod": _shift(edit[:, _BRIDGE], source[:, _BRIDGE], source),
            "pose_drift_deg": np.abs(np.angle(ratio, deg=True)),
            "scale_drift_pct": 100 * np.abs(np.abs(ratio) - 1),
        }
    )


def landmark_error_pct_iod(
    edit_landmarks: NDArray[np.floating], true_landmarks: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Measure how far each edit's shape is from that of the true edit.

    Args:
        edit_landmarks: `(N, 68, 2)` in iBUG order, pixels; NaN unknown.
        true_landmarks: of the true edits, in the same crop frame.

    Returns:
        `(N,)` mean distance of the 68 points in percent of the true edit's distance of the outer
        eye corners; NaN where a point is unknown.

    Raises:
        ValueError: as ``landmark_drift_pct_iod``.
    """
    edit, true = _checked(edit_landmarks, true_landmarks)
    return _shift(edit, true, true)


def _checked(*landmarks: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    arrays = [np.asarray(part) for part in landmarks]
    shapes = [part.shape for part in arrays]
    known = all(len(s) == 3 and s[1:] == (POINTS, 2) for s in shapes) and shapes[0] == shapes[1]
    if not known or not all(np.issubdtype(part.dtype, np.floating) for part in arrays):
        told = " and ".join(f"{part.dtype} {part.shape}" for part in arrays)
        raise ValueError(
            f"expected floating-point landmarks (N, {POINTS}, 2) twice, of the same faces, got "
            f"{told}; give all points in iBUG order, NaN where unknown"
        )
    return [part.astype(np.float64) for part in arrays]


def _line(ends: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Give the way between two points as a complex number, NaN where they are one."""
    x, y = (ends[:, 1] - ends[:, 0]).T
    line = x + 1j * y
    return np.where(line == 0, np.nan, line)


def _shift(
    points: NDArray[np.float64], before: NDArray[np.float64], face: NDArray[np.float64]
) -> NDArray[np.float64]:
    across = np.abs(_line(face[:, _OUTER_CORNERS]))
    return 100 * np.linalg.norm(points - before, axis=2).mean(axis=1) / across
