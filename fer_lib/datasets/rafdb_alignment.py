"""Whether our alignment is RAF-DB's: its originals, aligned by us, beside its aligned images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_lib.datasets.rafdb_annotations import read_rafdb_landmarks
from fer_lib.datasets.rafdb_folder import find_rafdb
from fer_lib.faces.align import seed_affine
from fer_lib.faces.warp import to_uint8, warp
from fer_lib.media.images import MediaError, read_image
from fer_lib.progress import track

_SIZE = 100
_LEAST_INSIDE = 0.25
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def realign_ncc(root: Path | str, samples: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Align originals by the seed's three-point affine and compare them to the aligned images.

    Pixels whose source lies outside the original are left out. 1 means the same picture up to
    brightness and contrast; a face a few pixels aside is clearly below.

    Args:
        root: as for `read_rafdb`.
        samples: the sample table that `read_rafdb` gave, or rows of it.
        limit: how many at most; they are spread evenly over the table.

    Returns:
        `sample_id`, `ncc` (-1 to 1) and `reason`, which says why `ncc` is NaN.

    Raises:
        ValueError: the copy has no landmarks or no originals, or `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"expected at least 1 sample to compare, got {limit}")
    folder = find_rafdb(root)
    step = max(len(samples) / limit, 1.0)
    chosen = samples.iloc[np.arange(0, len(samples), step).astype(int)[:limit]]
    found = read_rafdb_landmarks(root, chosen)
    rows = []
    columns = zip(chosen["sample_id"], chosen["source_path"], found.five, found.notes, strict=True)
    for sample_id, path, five, note in track(columns, "originals to align", len(chosen)):
        try:
            ours, inside = _align(Path(root), path, five, note)
            theirs = _luminance(_shipped(folder.images("aligned"), path))
            rows.append((sample_id, cross_correlation(ours[inside], theirs[inside]), None))
        except ValueError as error:
            rows.append((sample_id, np.nan, str(error)))
    table = pd.DataFrame(rows, columns=["sample_id", "ncc", "reason"])
    return table.astype({"sample_id": "str", "ncc": "float64", "reason": "str"})


def cross_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the zero-mean normalised cross-correlation of two pictures.

    Args:
        first: any shape, any range.
        second: the same shape.

    Returns:
        -1 (inverted) to 1 (the same up to brightness and contrast).

    Raises:
        ValueError: the shapes differ, or a picture is of one brightness.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected pictures of one shape, got {first.shape} and {second.shape}")
    a, b = (picture.astype(np.float64) - picture.mean() for picture in (first, second))
    power = float((a * a).sum() * (b * b).sum())
    if not power > 1e-12:
        raise ValueError("expected pictures with contrast, got one of a single brightness")
    return float(np.clip((a * b).sum() / power**0.5, -1, 1))


def _align(
    root: Path, source_path: str | float, five: np.ndarray, note: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the aligned luminance and the mask of its pixels that lie inside the original."""
    if pd.isna(source_path):
        raise ValueError("the row names no file")
    if not np.isfinite(five).all():
        raise ValueError(note or "the five points are unknown")
    matrix, degenerate = seed_affine(torch.from_numpy(five)[None], _SIZE)
    if bool(degenerate):
        raise ValueError("eyes and mouth do not fix an affine")
    image = torch.from_numpy(read_image(root / source_path))[None]
    aligned = to_uint8(warp(image, matrix, _SIZE))[0].numpy()
    inside = warp(torch.full_like(image, 255), matrix, _SIZE)[0, 0].numpy() > 0.999
    if inside.mean() < _LEAST_INSIDE:
        raise ValueError("the aligned face lies mostly outside the original")
    return _luminance(aligned), inside


def _shipped(folder: Path, source_path: str) -> np.ndarray:
    original = Path(source_path)
    image = read_image(folder / f"{original.stem}_aligned{original.suffix}")
    if image.shape[:2] != (_SIZE, _SIZE):
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise MediaError(f"expected an aligned image of {_SIZE} x {_SIZE} pixels, got {size}")
    return image


def _luminance(image: np.ndarray) -> np.ndarray:
    return image @ _LUMINANCE
