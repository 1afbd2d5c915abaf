"""Write frames into an MP4 with their own times, one frame in memory at a time, without sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from fer_lib.media.images import MediaError

CODECS = ("libx264", "libopenh264", "mpeg4")
"""Encoders in order of preference; which of them are here depends on the build of FFmpeg."""

# MPEG-4 counts at most 65,535 ticks a second; these hold 24, 25, 30 and 30000/1001 Hz exactly.
_CLOCK = Fraction(1, 60_000)
_RATE = Fraction(25)


class VideoWriter:
    """An MP4 file that is being written; a context manager.

    The last row or column is doubled where a side is odd, which players do not take. The first
    frame gives the size. A file without frames is not kept.

    Args:
        path: the file to write.

    Raises:
        MediaError: (when writing) the file cannot be written, a frame has another size, or its time
            does not come after the last one's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container: av.container.OutputContainer | None = None
        self._last, self._step, self._size = -1, round(1 / _RATE / _CLOCK), None
        self._written = self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: np.ndarray, time_s: float) -> None:
        """Append a frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: when it is shown; larger than of the frame before it.
        """
        if self._container is None:
            self._open(image.shape)
        stamp = round(Fraction(time_s) / _CLOCK)
        if image.shape != self._size or stamp <= self._last:
            raise MediaError(
                f"{self._path.name}: expected a frame of {self._size} after "
                f"{float(self._last * _CLOCK):g} s, got {image.shape} at {time_s} s"
            )
        self._step = stamp - self._last if self._last >= 0 else self._step
        self._last = stamp
        frame = av.VideoFrame.from_ndarray(_even(image), format="rgb24")
        frame.pts, frame.time_base = stamp, _CLOCK
        self._send(frame)

    def close(self) -> None:
        """Write what the encoder still holds, and close the file."""
        if self._container is None:
            return
        try:
            with self._file, self._container:
                if not self._failed:
                    self._send(None)
        finally:
            self._container = None
            if not self._written:
                self._path.unlink(missing_ok=True)

    def _open(self, shape: tuple[int, ...]) -> None:
        codec = next(name for name in CODECS if name in av.codecs_available)
        try:
            # Opened here: FFmpeg reads some names as patterns or addresses.
            self._file = self._path.open("wb")
        except OSError as error:
            raise MediaError(f"{self._path} cannot be written: {error.strerror}") from error
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=_RATE)
        self._stream.height, self._stream.width = (side + side % 2 for side in shape[:2])
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _CLOCK
        self._stream.codec_context.thread_count = 1
        self._size = shape

    def _send(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame, None for the end, and write what the encoder gives."""
        try:
            for packet in self._stream.encode(frame):
                # The last frame is shown as long as the one before it.
                packet.duration = self._step
                self._container.mux(packet)
                self._written = True
        except av.FFmpegError as error:
            self._failed = True
            raise MediaError(f"{self._path.name} cannot be encoded: {error.strerror}") from error


def _even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if not (height % 2 or width % 2):
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
