"""Edited pictures say so: a mark in the file names the editor, what was aimed at and how strongly.

A PNG carries the mark as a text chunk, a JPEG as the EXIF user comment. A mark is a courtesy, not a
seal: whoever writes the pixels anew loses it.
"""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from fer_lib.media.images import FORMATS, MediaError

KEY = "Edited"
"""Keyword of the text chunk, and the first word of the comment."""
_SAYS = f"{KEY}: this face was changed by software. "
_EXIF, _USER_COMMENT = 0x8769, 0x9286
_CHARSET = b"ASCII\0\0\0"
_FORMATS = ("PNG", "JPEG")


class EditMark(NamedTuple):
    """What an edited picture tells about itself.

    Attributes:
        editor: name of the editor, such as the run and the checkpoint that made the picture.
        target: what was aimed at: an emotion, action units or a target photograph.
        strength: 0 (the source) to 1 (the whole edit).
    """

    editor: str
    target: str
    strength: float = 1.0


def encode_edited(image: np.ndarray, mark: EditMark, file_format: str = "PNG") -> bytes:
    """Encode an edited picture with its mark.

    Args:
        image: (H, W, 3) uint8 RGB.
        mark: what it tells.
        file_format: ``PNG`` or ``JPEG``.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: the picture, the mark or the format is refused.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    if not (mark.editor.strip() and math.isfinite(mark.strength)):
        raise ValueError(f"expected the editor's name and a finite strength, got {mark}; name it")
    if file_format not in _FORMATS:
        raise ValueError(f"expected PNG or JPEG, which can carry the mark, got {file_format!r}")
    buffer = BytesIO()
    options = _chunk(mark) if file_format == "PNG" else _comment(mark)
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def read_mark(content: bytes | Path) -> EditMark | None:
    """Read the mark of a picture.

    Args:
        content: the file or its bytes.

    Returns:
        The mark; None of a picture that does not carry one of ours.

    Raises:
        MediaError: the file is no picture.
    """
    source = content if isinstance(content, Path) else BytesIO(content)
    try:
        with Image.open(source, formats=FORMATS) as image:
            text = image.info.get(KEY) or _user_comment(image)
    # Decoders meet hostile bytes with nearly every exception there is; the caller needs one.
    except Exception as error:
        raise MediaError(f"expected a picture, its mark cannot be read: {error}") from error
    return _parsed(text) if isinstance(text, str) else None


def _text(mark: EditMark) -> str:
    return _SAYS + json.dumps(mark._asdict())


def _chunk(mark: EditMark) -> dict[str, PngImagePlugin.PngInfo]:
    info = PngImagePlugin.PngInfo()
    info.add_text(KEY, _text(mark))
    return {"pnginfo": info}


def _comment(mark: EditMark) -> dict[str, Image.Exif | int]:
    exif = Image.Exif()
    exif.get_ifd(_EXIF)[_USER_COMMENT] = _CHARSET + _text(mark).encode("ascii")
    return {"exif": exif, "quality": 95, "subsampling": 0}


def _user_comment(image: Image.Image) -> str | None:
    comment = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT)
    if not isinstance(comment, bytes) or not comment.startswith(_CHARSET):
        return None
    return comment.removeprefix(_CHARSET).decode("ascii", errors="replace")


def _parsed(text: str) -> EditMark | None:
    """The mark behind our own words; of other people's words nothing is made."""
    if not text.startswith(_SAYS):
        return None
    try:
        told = json.loads(text.removeprefix(_SAYS))
        return EditMark(str(told["editor"]), str(told["target"]), float(told["strength"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
