"""RAF-DB's annotations beside its sample table: landmarks, manual points, attributes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.rafdb_files import (
    ATTRIBUTES,
    FIVE,
    LANDMARKS,
    parse_attributes,
    parse_five,
    parse_landmarks,
    read_annotation,
)
from fer_lib.datasets.rafdb_folder import SITE, RafdbFolder, find_rafdb
from fer_lib.faces.align import MIN_TRIANGLE_RATIO
from fer_lib.progress import track

SCHEME = "rafdb37"


def read_rafdb_landmarks(root: Path | str, samples: pd.DataFrame) -> Annotations:
    """Read the landmarks of the samples, in pixels of the original images.

    A file that is not there, too short or not purely numbers makes the row NaN and is noted. So is
    a row whose image is the aligned one: its landmarks lie in an image that is not here. Eyes and
    mouth corners are put image-left first (`order_five`), which is noted where it changes them.

    Args:
        root: as for `read_rafdb`.
        samples: the sample table that `read_rafdb` gave, or rows of it.

    Returns:
        `five` of the manual file, `landmarks` `(N, 37, 2)` of the automatic one in the order of
        the file (which RAF-DB does not document), and notes by row.

    Raises:
        ValueError: the copy has no landmarks, or no images that they belong to.
    """
    folder = _annotated(root)
    five = np.full((len(samples), FIVE, 2), np.nan, dtype=np.float32)
    landmarks = np.full((len(samples), LANDMARKS, 2), np.nan, dtype=np.float32)
    notes: list[list[str]] = [[] for _ in range(len(samples))]
    columns = zip(samples["sample_id"], samples["source_path"], strict=True)
    for row, (name, path) in enumerate(track(columns, "landmark files", len(samples))):
        if not pd.isna(path) and PurePosixPath(path).parent.name == "aligned":
            notes[row].append("landmarks are in the original image, which is not there")
            continue
        _fill(five, row, read_annotation(folder, "manual", name, parse_five), notes[row])
        _fill(landmarks, row, read_annotation(folder, "auto", name, parse_landmarks), notes[row])
    five, exchanged = order_five(five)
    for row in np.flatnonzero(exchanged):
        notes[row].append("manual: points exchanged to stand image-left first")
    return Annotations(five, landmarks, SCHEME, tuple("; ".join(n) or None for n in notes))


def read_rafdb_attributes(root: Path | str, samples: pd.DataFrame) -> pd.DataFrame:
    """Read the manual attributes of the samples.

    Args:
        root: as for `read_rafdb`.
        samples: the sample table that `read_rafdb` gave, or rows of it.

    Returns:
        Row i for row i of `samples`: `sample_id`, the categories `gender`, `race` and `age`
        (years; ordered) with the names of `ATTRIBUTES`, NA where unknown, and `reason` for that.
        `unsure` is what the annotators said, not NA.

    Raises:
        ValueError: the copy has no annotations.
    """
    folder = _annotated(root)
    read = [read_annotation(folder, "manual", n, parse_attributes) for n in samples["sample_id"]]
    table = pd.DataFrame({"sample_id": samples["sample_id"].to_numpy()})
    for position, (column, names) in enumerate(ATTRIBUTES.items()):
        values = [None if found is None else found[position] for found, _ in read]
        kind = pd.CategoricalDtype(names, ordered=column == "age")
        table[column] = pd.Series(values, dtype="object").astype(kind)
    table["reason"] = pd.Series([reason for _, reason in read], dtype="str")
    return table


def order_five(five: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put eyes and mouth corners image-left first, as seen with the face upright.

    Sorting by x would take a face apart that lies on its side. Eyes are exchanged where the
    triangle of eyes and mouth is clearly mirrored, mouth corners where they run against the eyes;
    both hold for any rotation of the picture.

    Args:
        five: `(N, 5, 2)` pixels; NaN stays NaN.

    Returns:
        The points in order and the mask `(N,)` of faces that were changed.
    """
    across, down = five[:, 1] - five[:, 0], five[:, 3:].mean(axis=1) - five[:, 0]
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    longest = (np.stack([across, down, across - down]) ** 2).sum(axis=2).max(axis=0)
    mirrored = area < -MIN_TRIANGLE_RATIO * longest
    ordered = five.copy()
    ordered[mirrored, :2] = five[mirrored][:, [1, 0]]
    along = (ordered[:, 1] - ordered[:, 0]) * (five[:, 4] - five[:, 3])
    against = along.sum(axis=1) < 0
    ordered[against, 3:] = five[against][:, [4, 3]]
    return ordered, mirrored | against


def _annotated(root: Path | str) -> RafdbFolder:
    folder = find_rafdb(root)
    if folder.label_list is None:
        found = "a re-pack of the aligned images, which has none"
    elif not folder.images("original").is_dir():
        found = "no Image/original, whose pixels the landmarks are in"
    elif not (folder.annotations("auto").is_dir() or folder.annotations("manual").is_dir()):
        found = "no Annotation/auto and no Annotation/manual"
    else:
        return folder
    raise ValueError(
        f"expected RAF-DB with its landmarks at {folder.base}, got {found}; take landmarks from "
        f"the mesh, or request the full set from {SITE}"
    )


def _fill(
    values: np.ndarray, row: int, read: tuple[np.ndarray | None, str | None], notes: list[str]
) -> None:
    found, reason = read
    if found is not None:
        values[row] = found
    if reason is not None:
        notes.append(reason)
