"""Decode image files to RGB arrays.

Whatever the file holds (grey, palette, alpha, CMYK, 16 bit, a rotated camera frame) the result is
one `(H, W, 3)` uint8 RGB array, upright. Everything that cannot be decoded is one `MediaError`
with one sentence, so that a data set's dirty files become rows with a reason instead of a stop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Raster formats only: Pillow can also hand a file to external interpreters (EPS), which a data
# set must never be able to ask for.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
MAX_PIXELS = 80_000_000
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


class MediaError(ValueError):
    """A file that cannot be decoded; the message is one sentence that names it."""


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as upright 8-bit RGB.

    The EXIF orientation is applied, the first frame of an animation is taken, transparency is laid
    on white, 16-bit values are scaled to 8 bit.

    Args:
        path: the file.
        max_pixels: largest width x height that is decoded.

    Returns:
        `(H, W, 3)` uint8 RGB.

    Raises:
        MediaError: the file is missing, a folder, empty, truncated, too large or no image.
    """
    path = Path(path)
    _check_file(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(path, image.size, max_pixels)
            image.load()
            return np.array(_to_rgb(_upright(image)), dtype=np.uint8)
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(f"{path.name} is not an image of a known format") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{path.name} is too large to decode: {error}") from error
    # Decoders meet hostile bytes with nearly every exception there is; the caller needs one.
    except Exception as error:
        raise MediaError(f"{path.name} cannot be decoded: {_one_line(error)}") from error


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise MediaError(f"{path.name} is a folder, not an image file")
        if not path.exists():
            raise MediaError(f"{path.name} does not exist")
        if not path.is_file():
            raise MediaError(f"{path.name} is not a regular file")
        if path.stat().st_size == 0:
            raise MediaError(f"{path.name} is empty")
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{path.name!r} cannot be opened: {_one_line(error)}") from error


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise MediaError(
            f"{path.name} is too large: {width} x {height} pixels, at most {max_pixels} are decoded"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    # A broken EXIF block says nothing about the pixels, which are intact by now.
    except Exception:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale one wide channel to 8 bit: integers as 16 bit, floats as [0, 1] or [0, 255]."""
    if np.issubdtype(values.dtype, np.floating):
        values = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        scale = 255.0 if values.size and values.max() <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return np.clip(np.rint(values.astype(np.float64) * scale), 0, 255).astype(np.uint8)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
