"""A folder of annotated pictures and clips; two inputs of one name never share a file."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from fer_lib.media.annotate import Answer, annotate
from fer_lib.media.images import MediaError
from fer_lib.media.video_writer import VideoWriter

_LONGEST_STEM = 60
_PHOTOGRAPHIC = (".jpg", ".jpeg")


class AnnotatedFiles:
    """Writes ``<name>_judged.jpg``, ``.png`` or ``.mp4`` into a folder; a context manager.

    Of a clip one frame is in memory at a time: its frames must come one after the other.

    Args:
        folder: where to write; it exists.

    Attributes:
        clips: names of the clips that were written.
        faults: what could not be written, one sentence each.
    """

    def __init__(self, folder: Path) -> None:
        self.clips: list[str] = []
        self.faults: list[str] = []
        self._folder, self._taken = folder, set()
        self._clip: tuple[str, float] | None = None
        self._writer: VideoWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, source: Path, time_s: float, picture: np.ndarray, answer: Answer) -> str | None:
        """Write one annotated picture or frame.

        Args:
            source: the file that it was read from.
            time_s: when the frame is shown; NaN for a photograph. A time that goes back starts the
                clip again.
            picture: (H, W, 3) uint8 RGB.
            answer: what to draw on it.

        Returns:
            The name of the file that holds it, None where it could not be written.
        """
        drawn = annotate(picture, answer)
        if isnan(time_s):
            self._close()
            lossy = source.suffix.lower() in _PHOTOGRAPHIC
            name = self._free_name(source, ".jpg" if lossy else ".png")
            options = {"quality": 92} if lossy else {"compress_level": 1}
            Image.fromarray(drawn).save(self._folder / name, **options)
            return name
        return self._add_frame(source, time_s, drawn)

    def _add_frame(self, source: Path, time_s: float, drawn: np.ndarray) -> str | None:
        if self._clip is None or self._clip[0] != str(source) or time_s <= self._clip[1]:
            self._close()
            name = self._free_name(source, ".mp4")
            self._writer = VideoWriter(self._folder / name)
            self.clips.append(name)
        self._clip = str(source), time_s
        if self._writer is None:
            return None
        try:
            self._writer.write(drawn, time_s)
        except MediaError as error:
            self.faults.append(f"the rest of {self.clips[-1]} is left out: {error}")
            self._writer.close()
            self._writer = None
            return None
        return self.clips[-1]

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = self._clip = None

    def _free_name(self, source: Path, suffix: str) -> str:
        """A name that no other input has taken, without characters that cannot be printed."""
        stem = "".join(letter if letter.isprintable() else "_" for letter in source.stem)
        stem, number = stem[:_LONGEST_STEM], 1
        name = f"{stem}_judged{suffix}"
        # Some disks do not tell small letters from capitals.
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}_judged_{number}{suffix}"
        self._taken.add(name.casefold())
        return name
