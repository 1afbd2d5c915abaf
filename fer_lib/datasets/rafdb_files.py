"""RAF-DB's annotation files: 37 automatic landmarks, five manual points, attributes, bounding box.

Coordinates are pixels of the original image and are taken as they are written, with pixel centres
at integers; the files do not say more. Every file is a few short lines parted by any white space.
A parser takes a file as a whole or not at all: text or numbers too many may mean a shifted row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from fer_lib.datasets.rafdb_folder import RafdbFolder

LANDMARKS = 37
FIVE = 5
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "gender": ("male", "female", "unsure"),
    "race": ("caucasian", "african_american", "asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
"""Names of the manual attributes; the position is the number in the file."""

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_FARTHEST_PX = 100_000.0
_MAX_BYTES = 65_536
_FILES = {"auto": "auto_attri", "manual": "manu_attri", "boundingbox": "boundingbox"}

T = TypeVar("T")


def read_annotation(
    folder: RafdbFolder, kind: str, sample_id: str, parse: Callable[[str], T]
) -> tuple[T | None, str | None]:
    """Read one annotation file.

    Args:
        folder: the copy of RAF-DB.
        kind: `auto`, `manual` or `boundingbox`.
        sample_id: such as `train_00001`.
        parse: turns the text into values, ValueError where it cannot.

    Returns:
        The values and None, or None and the reason.
    """
    try:
        if "/" in sample_id or "\\" in sample_id:
            raise ValueError("the id is no file name")
        return parse(_text(folder.annotations(kind) / f"{sample_id}_{_FILES[kind]}.txt")), None
    except ValueError as error:
        return None, f"{kind}: {error}"


def parse_landmarks(text: str) -> np.ndarray:
    """Parse an `auto` file: 37 rows `x y`.

    Returns:
        `(37, 2)` float32 pixels.

    Raises:
        ValueError: there are not 37 rows, or one is not two finite numbers.
    """
    rows = _rows(text)
    if len(rows) != LANDMARKS:
        raise ValueError(f"expected {LANDMARKS} rows, got {len(rows)}")
    return _points(rows)


def parse_five(text: str) -> np.ndarray:
    """Parse the points of a `manual` file: its first five rows `x y`.

    Returns:
        `(5, 2)` float32 pixels, in the order of the file.

    Raises:
        ValueError: there are not five rows, or one is not two finite numbers.
    """
    rows = _rows(text)
    if len(rows) < FIVE:
        raise ValueError(f"expected {FIVE} rows of points, got {len(rows)}")
    return _points(rows[:FIVE])


def parse_attributes(text: str) -> tuple[str, str, str]:
    """Parse the attributes of a `manual` file: its rows 6 to 8.

    Returns:
        Gender, race and age by name.

    Raises:
        ValueError: there are not eight rows (a missing one would shift the others), or a number
            is not in the table.
    """
    rows = _rows(text)
    if len(rows) != FIVE + len(ATTRIBUTES):
        raise ValueError(f"expected {FIVE + len(ATTRIBUTES)} rows, got {len(rows)}")
    gender, race, age = (
        _attribute(row, column) for row, column in zip(rows[FIVE:], ATTRIBUTES, strict=True)
    )
    return gender, race, age


def parse_box(text: str) -> np.ndarray:
    """Parse a `boundingbox` file: `left top right bottom`.

    Returns:
        `(4,)` float32 pixels.

    Raises:
        ValueError: it is not four finite numbers, or the box is empty.
    """
    left, top, right, bottom = box = _numbers(text, 4, "the box")
    if not (left < right and top < bottom):
        raise ValueError(f"expected left < right and top < bottom, got {box}")
    return np.array(box, dtype=np.float32)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError(f"{path.name} is not there")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise ValueError(f"{path.name} is too long for an annotation")
    return content.decode("utf-8-sig", errors="replace")


def _rows(text: str) -> list[str]:
    return [row for row in re.split(r"\r\n|\r|\n", text) if row.strip()]


def _points(rows: list[str]) -> np.ndarray:
    points = [_numbers(row, 2, f"row {number}") for number, row in enumerate(rows, 1)]
    return np.array(points, dtype=np.float32)


def _numbers(text: str, count: int, where: str) -> list[float]:
    fields = text.split()
    if len(fields) != count or not all(_NUMBER.fullmatch(field) for field in fields):
        raise ValueError(f"expected {count} numbers in {where}, got {text.strip()[:40]!r}")
    values = [float(field) for field in fields]
    if max(map(abs, values)) > _FARTHEST_PX:
        raise ValueError(f"expected pixels in {where}, got {text.strip()[:40]!r}")
    return values


def _attribute(row: str, column: str) -> str:
    names = ATTRIBUTES[column]
    number = row.strip()
    if number not in map(str, range(len(names))):
        raise ValueError(f"expected {column} from 0 to {len(names) - 1}, got {number[:40]!r}")
    return names[int(number)]
