"""Turn stored video frames upright, as the display matrix of their file says (ISO/IEC 14496-12)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fer_lib.media.images import MediaError

_DEGREES = {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}


class Orientation(NamedTuple):
    """Where a stored pixel is shown: x' = a x + c y, y' = b x + d y; x to the right, y down.

    Two of the four are 0, the others 1 or -1: a quarter turn, mirrored or not.
    """

    a: int
    b: int
    c: int
    d: int

    @property
    def rotation_deg(self) -> int:
        """The clockwise turn that makes a stored frame upright, before it is mirrored sideways."""
        mirrored = self.a * self.d - self.b * self.c < 0
        return _DEGREES[-self.a if mirrored else self.a, self.b]


UPRIGHT = Orientation(1, 0, 0, 1)
"""Frames are stored as they are shown."""


def read_orientation(display_matrix: bytes) -> Orientation:
    """Read a display matrix: nine int32, row by row, each row two numbers of 16.16 and one of 2.30.

    Its offsets and scales are not used: they place a frame on a screen.

    Raises:
        MediaError: the matrix turns by something else than quarter turns.
    """
    terms = np.frombuffer(display_matrix, np.int32)[[0, 1, 3, 4]].astype(np.int64)
    # Writers that compute the matrix from an angle leave rounding where zeros belong.
    terms[np.abs(terms) * 100 < np.abs(terms).max()] = 0
    signs = Orientation(*np.sign(terms).tolist())
    if tuple(abs(sign) for sign in signs) not in ((1, 0, 0, 1), (0, 1, 1, 0)):
        raise MediaError("its frames are turned by an angle that is no quarter turn")
    return signs


def upright(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turn a stored frame upright.

    Args:
        image: `(H, W, 3)`, any dtype.
        orientation: of its file.

    Returns:
        `(H, W, 3)`, or `(W, H, 3)` for a turn by 90 or 270 degrees; contiguous.
    """
    a, b, c, d = orientation
    if a == 0:
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[::d, ::a])
