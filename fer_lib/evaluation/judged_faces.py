"""Photographs, folders and clips: find the face of every picture, cut it, and let someone answer.

Pictures are taken one batch at a time, so a long clip needs no more memory than a short one. What
cannot be read and who cannot be found keep a row with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from fer_lib.evaluation.crop_rules import FacePlace
from fer_lib.evaluation.face_readers import FaceReader
from fer_lib.faces.locate import Location
from fer_lib.media.images import MediaError, MissingFileError, read_image
from fer_lib.media.video import read_frames

CLIP_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".gif"})
"""What is read as a clip; every other file is read as a photograph."""

_BATCH_PIXELS = 32_000_000
_NO_CROP = "what is known of the face (eyes, mouth, landmarks) does not suffice to cut it"


class Locator(Protocol):
    """Says where the largest face of each image is, such as `FaceLocator`."""

    def locate(self, images: Sequence[np.ndarray]) -> list[Location | None]:
        """Give one location per (H, W, 3) uint8 RGB image, or None."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph or a frame of a clip, or why it could not be read.

    Attributes:
        source_path: the file.
        frame: its number in the clip, 0 for a photograph.
        time_s: when it is shown, NaN for a photograph.
        image: (H, W, 3) uint8 RGB, or None.
        status: ``ok``, ``unreadable`` or ``missing``.
        reason: of the status, one sentence.
    """

    source_path: str
    frame: int = 0
    time_s: float = float("nan")
    image: np.ndarray | None = None
    status: str = "ok"
    reason: str | None = None


class JudgedBatch(NamedTuple):
    """Some pictures, and a table with one row for each of them, as ``judge_pictures`` says."""

    pictures: list[Picture]
    table: pd.DataFrame


def pictures_of(
    sources: Iterable[Path | str], *, every_s: float | None = None
) -> Iterator[Picture]:
    """Read photographs, the files of folders (by name, hidden ones left out) and clips.

    Folders are listed at once, files are read when their turn comes. Links to folders within
    folders are not followed: they can lead back.

    Args:
        sources: files and folders.
        every_s: of clips only the first frame of each period of so many seconds; None takes all.

    Returns:
        An iterator of pictures in order. A clip that breaks off gives its good frames, then one
        that failed.

    Raises:
        ValueError: ``every_s`` is no positive number.
    """
    if every_s is not None and not 0 < every_s < float("inf"):
        raise ValueError(f"expected a positive number of seconds between frames, got {every_s}")
    listed = list(chain.from_iterable(map(_listed, map(Path, sources))))
    return chain.from_iterable(
        [found] if isinstance(found, Picture) else _pictures(found, every_s) for found in listed
    )


def judge_pictures(
    reader: FaceReader, locator: Locator, pictures: Iterable[Picture], *, batch_size: int = 16
) -> Iterator[JudgedBatch]:
    """Find, cut and judge the largest face of every picture.

    Args:
        reader: who answers.
        locator: finds faces.
        pictures: such as from ``pictures_of``.
        batch_size: pictures in memory at a time, fewer where they are large.

    Yields:
        Batches. Columns: ``source_path``, ``frame``, ``time_s``, ``status`` (also ``no_face``,
        ``bad_landmarks``), ``reason``, ``landmark_source`` (``mesh``, ``mtcnn``), ``left`` …
        ``bottom`` (the face's box in px), then the reader's.
    """
    for batch in _batches(pictures, batch_size):
        locations = _locations(locator, batch)
        places = [None if found is None else FacePlace.of(found) for found in locations]
        answers = reader.read([picture.image for picture in batch], places)
        rows = map(_row, batch, locations, answers["label"].notna())
        yield JudgedBatch(batch, pd.DataFrame(list(rows)).join(answers))


def _listed(source: Path) -> Iterator[Path | Picture]:
    """Give the files of a folder, or the file itself, and what cannot be listed as a picture."""
    if not source.is_dir():
        yield source
        return
    faults: list[OSError] = []
    files = 0
    for folder, inside, names in os.walk(source, onerror=faults.append):
        links = [name for name in inside if (Path(folder) / name).is_symlink()]
        inside[:] = sorted(name for name in inside if name not in links and name[0] != ".")
        for name in sorted(links):
            reason = f"{name} is a link to a folder, which is not followed; name its target"
            yield Picture(str(Path(folder) / name), status="missing", reason=reason)
        for name in sorted(name for name in names if name[0] != "."):
            files += 1
            yield Path(folder) / name
    for fault in faults:
        reason = f"the folder cannot be listed: {fault.strerror}"
        yield Picture(str(fault.filename), status="unreadable", reason=reason)
    if not (files or faults):
        yield Picture(str(source), status="missing", reason="the folder holds no file")


def _pictures(path: Path, every_s: float | None) -> Iterator[Picture]:
    name, frames = str(path), 0
    try:
        if path.suffix.lower() in CLIP_SUFFIXES:
            for frame in read_frames(path, every_s=every_s):
                yield Picture(name, frame.index, frame.time_s, frame.image)
                frames = frame.index + 1
        else:
            yield Picture(name, image=read_image(path))
    except MissingFileError as error:
        yield Picture(name, status="missing", reason=str(error))
    except MediaError as error:
        yield Picture(name, frames, status="unreadable", reason=str(error))


def _batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[list[Picture]]:
    batch, pixels = [], 0
    for picture in pictures:
        batch.append(picture)
        pixels += 0 if picture.image is None else picture.image[..., 0].size
        if len(batch) == batch_size or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _locations(locator: Locator, batch: Sequence[Picture]) -> list[Location | None]:
    found = iter(locator.locate([picture.image for picture in batch if picture.status == "ok"]))
    return [next(found) if picture.status == "ok" else None for picture in batch]


def _row(picture: Picture, face: Location | None, answered: bool) -> dict[str, object]:
    status, reason = picture.status, picture.reason
    if status == "ok" and face is None:
        status, reason = "no_face", "no face was found"
    elif status == "ok" and not answered:
        status, reason = "bad_landmarks", _NO_CROP
    box = (face.box if face else None) or (np.nan,) * 4
    # Names whose bytes are no text are escaped: no table could hold them.
    name = os.fsencode(picture.source_path).decode("utf-8", "backslashreplace")
    return {
        "source_path": name, "frame": picture.frame, "time_s": picture.time_s,
        "status": status, "reason": reason, "landmark_source": face.source if face else None,
        **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
    }  # fmt: skip
