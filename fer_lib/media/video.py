"""Decode video files to upright RGB frames with true times, one frame in memory at a time.

Four containers are read: MP4/MOV, Matroska/WebM, AVI and GIF. Each states where it ends, so that a
file that was cut short is told from one that is over. Raw streams (`.h264`, `.m4v`) carry no times,
and playlists name other files: both are refused, and nothing but the one local file is opened.

A frame whose bytes are missing, or that the decoder knows to be damaged, ends the video with one
`MediaError`. Flipped bits that still decode pass: video codecs carry no checksums. Frames that the
edit list of an MP4 leaves out are not given; FFmpeg can take the last frame of a variable rate with
reordered frames for one of these. Nor is what stands before the first frame that can be decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np

from fer_lib.media.images import MediaError
from fer_lib.media.orientation import UPRIGHT, Orientation, read_orientation, upright
from fer_lib.media.video_file import is_cut_short, open_video_file

MAX_FRAME_PIXELS = 36_000_000
"""Largest frame that is decoded: 8192 x 4320 fits."""
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
# Matroska counts milliseconds; coarser clocks (AVI counts frames) do not round, they are exact.
_CLOCK_ROUNDING_S = Fraction(1, 2000)


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        index: its number among all frames of the video, from 0; `every_s` leaves gaps.
        time_s: when it is shown, in seconds after the video stream's start.
        image: `(H, W, 3)` uint8 RGB, upright, with square pixels.
    """

    index: int
    time_s: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; only the first frame has been decoded.

    Attributes:
        width: of an upright frame with square pixels.
        height: of an upright frame with square pixels.
        rotation_deg: the clockwise turn that makes the stored frames upright: 0, 90, 180 or 270
            (a mirrored video is mirrored sideways after it).
        frame_rate: mean frames per second, or None; a variable rate has only the frames' times.
        start_s: where time 0 lies on the file's clock, which its sound shares.
        duration_s: as the file states it, or None.
        frames: as the file states it (counted in a GIF), or None.
    """

    width: int
    height: int
    rotation_deg: int
    frame_rate: Fraction | None
    start_s: float
    duration_s: float | None
    frames: int | None


def read_frames(
    path: Path | str,
    *,
    every_s: float | Fraction | None = None,
    max_pixels: int = MAX_FRAME_PIXELS,
) -> Iterator[VideoFrame]:
    """Read a video frame by frame.

    Times come from the file's own time stamps and increase strictly; nothing is computed from a
    frame rate. Rotation, mirroring and pixel shape are applied (pixels are stretched, never
    squeezed), transparency is laid on white, fields of interlaced video stay woven. The first
    video stream is read, cover pictures are none. GIF delays under 0.02 s count as 0.1 s, as in
    browsers. The file is closed when the iterator ends, fails, is closed or is forgotten.

    Args:
        path: the file.
        every_s: keep, for each multiple 0, 1, 2, ... of this many seconds, the first frame at or
            after it; a frame that is first for several multiples comes once. A frame counts as
            "at" when it is early by no more than the rounding of the file's clock: half a tick,
            at most 0.5 ms. None keeps all frames.
        max_pixels: largest width x height that is decoded.

    Returns:
        An iterator of frames; one at a time is held.

    Raises:
        ValueError: `every_s` is no positive number.
        MissingFileError: (from the iterator, as the next) there is no such file.
        MediaError: the file cannot be opened or is no video; or, after the last good frame, how
            many frames came, when they ended and why.
    """
    if every_s is not None and not 0 < every_s < float("inf"):
        raise ValueError(f"every_s: expected a positive number of seconds or None, got {every_s}")
    return _read(Path(path), None if every_s is None else Fraction(every_s), max_pixels)


def video_info(path: Path | str, *, max_pixels: int = MAX_FRAME_PIXELS) -> VideoInfo:
    """Read what a video file says of itself, and check that its first frame can be decoded.

    Args:
        path: the file.
        max_pixels: largest width x height that is decoded.

    Raises:
        MediaError: the file cannot be opened, is no video or has no frame that can be decoded.
    """
    path = Path(path)
    with _open(path, max_pixels) as video:
        try:
            frame = next(video.decode(), None)
            if frame is None:
                raise MediaError("the stream is empty")
            height, width = video.image(frame).shape[:2]
            return VideoInfo(
                width, height, video.turned(frame).rotation_deg, video.stream.average_rate or None,
                float(video.start(frame)), video.duration(), video.stream.frames or None,
            )  # fmt: skip
        # Decoders meet hostile bytes with nearly every exception there is; the caller needs one.
        except Exception as error:
            raise _broken(path, 0, None, error) from error


def _read(path: Path, step: Fraction | None, max_pixels: int) -> Iterator[VideoFrame]:
    with _open(path, max_pixels) as video:
        count, due, time = 0, 0, None
        try:
            for frame in video.frames():
                time = _later(video.time(frame), time)
                reached = time + min(video.stream.time_base / 2, _CLOCK_ROUNDING_S)
                kept = step is None or reached >= due * step
                image = video.image(frame) if kept else None
                count += 1
                if image is not None:
                    due = 0 if step is None else reached // step + 1
                    yield VideoFrame(count - 1, float(time), image)
            if count == 0:
                raise MediaError("the stream is empty")
        except Exception as error:
            raise _broken(path, count, time, error) from error


@dataclass
class _Video:
    """An open file, the stream that is read from it, and whether the file states a later end."""

    container: av.container.InputContainer
    stream: av.VideoStream
    cut: bool
    max_pixels: int
    zero: Fraction | None = None
    orientation: Orientation | None = None
    stamps: deque[int | None] = field(default_factory=deque)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Give the undamaged frames up to the first damage, then raise what it is."""
        frames = self.decode()
        if self.cut and self.container.format.name == "gif":
            # A GIF that was cut inside its last frame shows no sign of it in that frame.
            frames = _without_last(frames)
        yield from frames
        if self.cut:
            raise MediaError("the file was cut short")

    def decode(self) -> Iterator[av.VideoFrame]:
        """Give frames in the order of showing, of a cut GIF also its last, damaged or not."""
        damage: Exception | None = None
        for packet in self.container.demux(self.stream):
            if packet.is_corrupt:
                damage = MediaError("bytes are missing")
                break
            if self.container.format.name == "avi":
                self.stamps.append(packet.dts)
            try:
                frames = packet.decode()
            except Exception as error:
                damage = error
                break
            yield from map(self.checked, frames)
        if damage is not None:
            # Whole frames before the damage may still wait in the decoder for their turn.
            yield from map(self.checked, self.stream.decode(None))
            raise damage

    def checked(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Give a frame back with its time stamp, or raise what is wrong with it."""
        if frame.is_corrupt:
            raise MediaError("the next frame is damaged")
        if self.container.format.name == "avi":
            # AVI stamps packets in the order of decoding; frames are shown at the same times.
            frame.pts = self.stamps.popleft() if self.stamps else None
        if frame.pts is None:
            raise MediaError("the next frame has no time stamp")
        return frame

    def time(self, frame: av.VideoFrame) -> Fraction:
        """Give seconds after the stream's start, exactly."""
        return frame.pts * self.stream.time_base - self.start(frame)

    def start(self, first: av.VideoFrame) -> Fraction:
        """Give the stream's start in seconds, which is its first frame's time if not stated."""
        if self.zero is None:
            stated = self.stream.start_time
            self.zero = (first.pts if stated is None else stated) * self.stream.time_base
        return self.zero

    def duration(self) -> float | None:
        if self.stream.duration is not None:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration is not None:
            return self.container.duration / av.time_base
        return None

    def image(self, frame: av.VideoFrame) -> np.ndarray:
        """Bring a frame to upright RGB with square pixels."""
        shape = self.stream.sample_aspect_ratio or Fraction(1)
        width = round(frame.width * max(shape, 1))
        height = round(frame.height / min(shape, 1))
        _check_size("a frame", width, height, self.max_pixels)
        return upright(_to_rgb(frame, width, height), self.turned(frame))

    def turned(self, first: av.VideoFrame) -> Orientation:
        """Give the file's orientation, which its first frame carries.

        It is read once: a frame that was asked for its side data lives on in a reference cycle.
        """
        if self.orientation is None:
            matrix = first.side_data.get("DISPLAYMATRIX")
            self.orientation = UPRIGHT if matrix is None else read_orientation(bytes(matrix))
        return self.orientation


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[_Video]:
    with open_video_file(path) as file:
        cut = is_cut_short(file)
        try:
            container = av.open(
                file,
                # Decoders refuse at twice the size: they count whole blocks of 16 x 16 pixels.
                options={"max_pixels": str(2 * max_pixels + 2**16)},
                container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
                io_open=_refuse_other_file,
            )
        except Exception as error:
            why = "it was cut short" if cut else "convert it, or fetch it again if it should be one"
            raise MediaError(
                f"{path.name} is no whole MP4, MOV, Matroska, WebM, AVI or GIF file: {why}"
            ) from error
        with container:
            yield _Video(
                container, _video_stream(path, container, cut, max_pixels), cut, max_pixels
            )


def _refuse_other_file(url: str, flags: int, options: dict[str, str]) -> IO[bytes]:
    raise PermissionError("the file asks for another file")


def _video_stream(
    path: Path, container: av.container.InputContainer, cut: bool, max_pixels: int
) -> av.VideoStream:
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        reason = ": the file was cut short" if cut else ""
        raise MediaError(f"{path.name} has no video stream{reason}")
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaError(f"{path.name} holds video of a codec that is not known")
    if not (stream.width and stream.height):
        raise MediaError(f"{path.name} states no size, or one far above {max_pixels} pixels")
    _check_size(path.name, stream.width, stream.height, max_pixels)
    stream.codec_context.options = {"max_pixels": str(2 * max_pixels + 2**16)}
    stream.codec_context.thread_count = 1
    return stream


def _without_last(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    held = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame


def _later(time: Fraction, before: Fraction | None) -> Fraction:
    if before is not None and time <= before:
        raise MediaError(f"the next frame's time stamp goes back to {float(time):.3f} s")
    return time


def _check_size(name: str, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise MediaError(
            f"{name} is too large: {width} x {height}, at most {limit} pixels are decoded"
        )


def _to_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    size = {"width": width, "height": height, "threads": 1}
    if not any(component.is_alpha for component in frame.format.components):
        return frame.to_ndarray(format="rgb24", **size)
    pixels = frame.to_ndarray(format="rgba", **size).astype(np.uint16)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _broken(path: Path, count: int, time: Fraction | None, error: Exception) -> MediaError:
    if count == 0 or time is None:
        return MediaError(f"{path.name} has no frame that can be decoded: {_reason(error)}")
    return MediaError(
        f"{path.name} breaks after {count} frames, the last at {float(time):.3f} s: "
        f"{_reason(error)}"
    )


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
