"""Reader of the Face Research Lab London Set: one person, two expressions, the same light.

Two layouts: the public archive (`neutral_front/001_03.jpg`, `smiling_front/001_08.jpg`, a `.tem`
of the same stem beside the picture, 1350 x 1350 px), and a resized copy (`neutral/001.jpg`,
`smiling/001.jpg`, and the neutral pictures' points in `tem/001.tem`, still in the 1350-px frame).

A `.tem` holds the 189 hand-set points of the FRL template of Psychomorph and WebMorph: their
number, one `x y` per line, then the lines drawn between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.splits import DEFAULT_FRACTIONS, assign_splits
from fer_lib.media.images import FORMATS
from fer_lib.tables import sample_table

SOURCE = "Face Research Lab London Set (DeBruine & Jones 2017, doi:10.6084/m9.figshare.5047666)"
LICENCE = "CC-BY-4.0, DeBruine & Jones 2017; the persons gave signed consent for research use"
SCHEME = "london189"
LANDMARKS = 189
FRAME_PX = 1350

_LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"neutral": "neutral_front", "happiness": "smiling_front"},
    {"neutral": "neutral", "happiness": "smiling"},
)
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_STEM = re.compile(r"(?P<number>[0-9]{3})(_[0-9]{2})?")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"[0-9]{1,6}")
_MAX_BYTES = 1_000_000
_FARTHEST_PX = 100_000.0
# Lid contours, not the pupils (0, 1): those were set on the catchlight, above the iris, and the
# eye of `five_points` is the mean of its lids. The template has no nose tip; 54 and 60 are the
# sides of the tip where it is widest.
_FIVE = (
    (18, 19, 20, 21, 22, 28, 29, 30), (23, 24, 25, 26, 27, 31, 32, 33), (54, 60), (87,), (93,),
)
# The pictures are framed alike: the eyes are 0.13 to 0.17 of the width apart. Points that were
# resized along with a picture, or stand in another order, fall outside.
_EYES_APART = (0.08, 0.3)


def read_london(
    root: Path | str,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """List the pictures as a sample table: per person one neutral row and one of happiness.

    Subject and pair are the person (`london_001`). A picture that a person does not have keeps its
    row, with the status `missing`. Hidden files and files that are no pictures are left alone.

    Args:
        root: folder of either layout.
        fractions: shares of train, val and test among the persons.
        seed: of the split.

    Returns:
        Sample table by person, neutral first; `source_path` is relative to `root`, NA where the
        person has no such picture.

    Raises:
        ValueError: the folder has neither layout or both, holds no picture, or a picture's name
            does not tell its person or repeats one.
    """
    root = Path(root)
    folders = _find_folders(root)
    pictures = {emotion: _find_pictures(root / folder) for emotion, folder in folders.items()}
    numbers = sorted(set().union(*pictures.values()))
    if not numbers:
        raise ValueError(
            f"expected pictures such as 001.jpg or 001_03.jpg in {' and '.join(folders.values())} "
            f"of {root}, found none; unpack the archives there"
        )
    rows = [
        _sample(root, number, emotion, folder, pictures[emotion].get(number))
        for number in numbers
        for emotion, folder in folders.items()
    ]
    return assign_splits(sample_table(rows), fractions, seed)


def read_london_landmarks(root: Path | str, samples: pd.DataFrame) -> Annotations:
    """Read the hand-set points of the samples, in pixels of the picture that is there.

    A point p of the 1350-px frame lies at `(p + 0.5) * side / 1350 - 0.5`: pixel centres are at
    integers before and after resizing. A row without a `.tem`, or whose `.tem` or picture cannot
    be read, is NaN and noted.

    Args:
        root: as for `read_london`.
        samples: the sample table that `read_london` gave, or rows of it.

    Returns:
        `landmarks` `(N, 189, 2)` in the order of the template, `five` made of them (the eyes are
        the means of their lids, the nose tip is between the tip's two sides), notes by row.

    Raises:
        ValueError: the folder has neither layout or both.
    """
    root = Path(root)
    _find_folders(root)
    landmarks = np.full((len(samples), LANDMARKS, 2), np.nan, dtype=np.float32)
    notes: list[str | None] = [None] * len(samples)
    columns = zip(samples["source_path"], samples["emotion"], strict=True)
    for row, (source_path, emotion) in enumerate(columns):
        try:
            landmarks[row] = _picture_landmarks(root, source_path, emotion)
        except ValueError as error:
            notes[row] = str(error)
    return Annotations(_five(landmarks), landmarks, SCHEME, tuple(notes))


def read_tem(path: Path | str) -> np.ndarray:
    """Read the points of a template file; the line definitions after them are not looked at.

    Args:
        path: a `.tem`: the number of points, then `x y` per line, parted by any white space.

    Returns:
        `(K, 2)` float32 pixels, as written.

    Raises:
        ValueError: the file is missing, no text, too large or short, or a point is not two finite
            numbers within 100,000 px.
    """
    path = Path(path)
    rows = [line.split() for line in _read_text(path).splitlines() if line.strip()]
    first = " ".join(rows[0]) if rows else ""
    count = int(first) if _COUNT.fullmatch(first) else 0
    if count == 0:
        raise ValueError(f"expected a number of points first in {path.name}, got {first[:20]!r}")
    if len(rows) - 1 < count:
        raise ValueError(f"expected {count} points in {path.name}, got {len(rows) - 1} lines")
    return np.array(
        [_point(path.name, index, row) for index, row in enumerate(rows[1 : count + 1])],
        dtype=np.float32,
    )


def _find_folders(root: Path) -> Mapping[str, str]:
    """Give the folder name by emotion."""
    found = [
        layout for layout in _LAYOUTS if all((root / name).is_dir() for name in layout.values())
    ]
    if len(found) != 1:
        raise ValueError(
            "expected either neutral_front/ and smiling_front/ or neutral/ and smiling/ in "
            f"{root}, found {'both' if found else 'neither'}; pass the folder that holds one pair"
        )
    return found[0]


def _find_pictures(folder: Path) -> dict[str, str]:
    """Give the file name of every person's picture by the person's number."""
    names: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        match = _STEM.fullmatch(path.stem)
        if match is None:
            raise ValueError(
                f"expected pictures named like 001.jpg or 001_03.jpg in {folder.name}/, got "
                f"{path.name!r}; rename it or move it away"
            )
        other = names.setdefault(match["number"], path.name)
        if other != path.name:
            raise ValueError(
                f"expected one picture per person in {folder.name}/, got {other} and {path.name}; "
                "move one away"
            )
    return names


def _sample(root: Path, number: str, emotion: str, folder: str, name: str | None) -> dict[str, Any]:
    subject = f"london_{number}"
    sample = {
        "sample_id": f"{subject}_{emotion}",
        "subject": subject,
        "pair": subject,
        "emotion": emotion,
        "source_path": None if name is None else f"{folder}/{name}",
    }
    if name is None:
        reason = f"there is no picture of {number} in {folder}/"
    elif not (root / folder / name).is_file():
        reason = f"{folder}/{name} is not a file"
    else:
        return sample
    return {**sample, "status": "missing", "status_reason": reason}


def _picture_landmarks(root: Path, source_path: str | None, emotion: str) -> np.ndarray:
    if pd.isna(source_path):
        raise ValueError("there is no picture whose pixels the points could be in")
    picture = root / source_path
    points = read_tem(_find_tem(root, picture, emotion))
    if len(points) != LANDMARKS:
        raise ValueError(f"expected {LANDMARKS} points in the .tem, got {len(points)}")
    left, right = _five(points[None])[0, :2, 0]
    apart = float(right - left) / FRAME_PX
    if not _EYES_APART[0] <= apart <= _EYES_APART[1]:
        raise ValueError(
            f"expected points in a frame of {FRAME_PX} px whose eyes are {_EYES_APART[0]} to "
            f"{_EYES_APART[1]} of it apart, got {apart:.3f}"
        )
    return (points + 0.5) * (_picture_side(picture) / FRAME_PX) - 0.5


def _find_tem(root: Path, picture: Path, emotion: str) -> Path:
    beside = picture.with_suffix(".tem")
    # The folder tem/ is about the neutral pictures; the smiling one of the same name is another.
    apart = root / "tem" / beside.name
    path = apart if emotion == "neutral" and not beside.exists() else beside
    if not path.exists():
        raise ValueError(f"there is no {beside.name} for {picture.parent.name}/{picture.name}")
    return path


def _picture_side(path: Path) -> int:
    """Give the side of a square picture, from its header alone."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    # Hostile headers raise nearly every exception there is; the row needs one sentence.
    except Exception as error:
        raise ValueError(f"expected an image at {path.name}, its header cannot be read") from error
    if width != height:
        raise ValueError(f"expected a square picture, {path.name} is {width} x {height} px")
    return width


def _five(landmarks: np.ndarray) -> np.ndarray:
    """Reduce `(N, 189, 2)` to eyes, nose tip and mouth corners `(N, 5, 2)`, image-left first."""
    return np.stack([landmarks[:, list(indices)].mean(axis=1) for indices in _FIVE], axis=1)


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError(f"expected a template file, {path.name} is not a file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes in {path.name}, got more")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected text in {path.name}, got bytes that are none") from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error


def _point(name: str, index: int, row: list[str]) -> tuple[float, float]:
    if len(row) == 2 and all(_NUMBER.fullmatch(text) for text in row):
        x, y = float(row[0]), float(row[1])
        if max(abs(x), abs(y)) <= _FARTHEST_PX:
            return x, y
    raise ValueError(
        f"expected two numbers within {_FARTHEST_PX:.0f} px for point {index} of {name}, got "
        f"{' '.join(row)[:40]!r}"
    )
