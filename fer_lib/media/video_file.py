"""Open a video file, and tell one that was cut short from one that is over.

Demuxers take the end of the file for the end of the video; the container knows better. MP4 and MOV
(ISO/IEC 14496-12), AVI (RIFF) and Matroska (RFC 8794) state the length of their parts first; GIF
ends with a semicolon.
What cannot be told: where a live recording in Matroska ends, which leaves its length open, and
that whole fragments are missing at the end of a fragmented MP4.
"""

from __future__ import annotations

from io import SEEK_END
from pathlib import Path
from typing import IO

from fer_lib.media.images import MediaError, MissingFileError

_MP4_BOXES = {
    b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"uuid", b"sidx",
    b"styp", b"meta", b"udta", b"pnot",
}  # fmt: skip


def open_video_file(path: Path) -> IO[bytes]:
    """Open a local regular file that is not empty.

    Raises:
        MissingFileError: there is no such file, or it is a folder, a pipe or a device.
        MediaError: the file is empty or cannot be opened.
    """
    name = path.name if path.name.isprintable() else repr(path.name)
    try:
        if path.is_dir():
            raise MissingFileError(f"{name} is a folder, not a video file")
        if not path.exists():
            raise MissingFileError(f"{name} does not exist")
        if not path.is_file():
            raise MissingFileError(f"{name} is not a regular file")
        if path.stat().st_size == 0:
            raise MediaError(f"{name} is empty")
        return path.open("rb")
    except MediaError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{name} cannot be opened: {reason}") from error


def is_cut_short(file: IO[bytes]) -> bool:
    """Tell whether a video file states an end that it does not have.

    Args:
        file: an open MP4, MOV, Matroska, WebM, AVI or GIF file; any other is never cut short. Its
            position is at the start afterwards.
    """
    size = file.seek(0, SEEK_END)
    file.seek(0)
    head = file.read(4)
    if head == b"GIF8":
        file.seek(-min(size, 1024), SEEK_END)
        cut = not file.read().rstrip(b"\0").endswith(b";")
    else:
        stated_end = _STATED_ENDS.get(head, _mp4_end)
        cut = stated_end(file, size) > size
    file.seek(0)
    return cut


def _mp4_end(file: IO[bytes], size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(16)
        if len(header) < 8 and header.strip(b"\0"):
            return size + 8 - len(header)
        # Cameras append what is no box; an open last box (0) ends where the file does.
        if header[4:8] not in _MP4_BOXES:
            return end
        length = int.from_bytes(header[:4], "big")
        length = int.from_bytes(header[8:], "big") if length == 1 else length
        if length < 8:
            return end
        end += length
    return end


def _riff_end(file: IO[bytes], size: int) -> int:
    end = 0
    while end < size:
        file.seek(end)
        header = file.read(8)
        if header[:4] != b"RIFF" or len(header) < 8:
            return end
        end += 8 + int.from_bytes(header[4:], "little")
    return end


def _matroska_end(file: IO[bytes], size: int) -> int:
    file.seek(min((_matroska_length(file) or 0) + file.tell(), size))
    if file.read(4) != b"\x18S\x80g":
        return 0
    length = _matroska_length(file)
    return 0 if length is None else file.tell() + length


def _matroska_length(file: IO[bytes]) -> int | None:
    """Read a length of 1 to 8 bytes; None where it is left open, as in live recordings."""
    first = int.from_bytes(file.read(1), "big")
    extra = 8 - first.bit_length()
    bits = 7 * (extra + 1)
    value = int.from_bytes(bytes([first]) + file.read(extra), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


_STATED_ENDS = {b"RIFF": _riff_end, b"\x1aE\xdf\xa3": _matroska_end}
