"""Sheets of faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from fer_lib.plots.style import INK


def contact_sheet(
    images: Sequence[np.ndarray | None],
    columns: int,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    landmarks_px: np.ndarray | None = None,
    inches_per_image: float = 1.2,
) -> Figure:
    """Lay images out in a grid, row by row.

    Args:
        images: N images ``(H, W, 3)`` uint8 RGB; None leaves a place empty.
        columns: images in a row.
        column_titles: a title for each column, or none.
        row_titles: a title for each row, or none.
        landmarks_px: ``(N, K, 2)`` points to draw, in pixels of the images; NaN is left out.
        inches_per_image: side of one image on paper.

    Returns:
        The figure.
    """
    rows = -(-len(images) // columns)
    left = 0.9 if row_titles else 0.0
    top = 0.3 if column_titles else 0.0
    width, height = columns * inches_per_image + left, rows * inches_per_image + top
    figure = Figure(figsize=(width, height), dpi=120)
    grid = figure.add_gridspec(
        rows, columns, left=left / width, right=1, bottom=0, top=1 - top / height,
        wspace=0.03, hspace=0.03,
    )
    for index, image in enumerate(images):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if image is not None:
            axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
        if image is not None and landmarks_px is not None:
            points = landmarks_px[index]
            area = 9 if len(points) <= 5 else 2.5 if len(points) <= 68 else 0.6
            axes.scatter(*points.T, s=area, c="#39ff14", linewidths=0)
            # A landmark may lie outside its crop; the picture keeps its size all the same.
            axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
        if index < len(column_titles):
            axes.set_title(column_titles[index], fontsize=8, color=INK, pad=3)
        if index % columns == 0 and index // columns < len(row_titles):
            axes.set_ylabel(
                row_titles[index // columns], fontsize=8, rotation=0, ha="right", va="center"
            )
    return figure
