"""What a data set itself says about where its faces are, beside its sample table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Annotations:
    """Landmarks of a data set, row i for row i of its sample table; NaN where it has none.

    Attributes:
        five: `(N, 5, 2)` float32 eyes, nose tip, mouth corners, image-left first, pixels of the
            source image (pixel centres at integers).
        landmarks: `(N, K, 2)` float32, every landmark of the data set, same pixels.
        scheme: name of the landmark order, e.g. `rafdb37`.
        notes: by row, why landmarks or points are NaN or were put in order; None for nothing.

    Raises:
        ValueError: the arrays do not have these shapes.
    """

    five: np.ndarray
    landmarks: np.ndarray
    scheme: str
    notes: tuple[str | None, ...]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n = len(self.five)
        if self.five.shape != (n, 5, 2) or self.landmarks.ndim != 3 or len(self.landmarks) != n:
            raise ValueError(
                f"expected five points (N, 5, 2) and landmarks (N, K, 2), got {self.five.shape} "
                f"and {self.landmarks.shape}"
            )
        if len(self.notes) != n:
            raise ValueError(f"expected {n} notes, one per row, got {len(self.notes)}")
