"""Decode image files to RGB arrays.

Whatever the file holds (grey, palette, alpha, CMYK, 16 bit, a rotated camera frame) the result is
one `(H, W, 3)` uint8 RGB array, upright. Everything that cannot be decoded is one `MediaError`
with one sentence, so that a data set's dirty files become rows with a reason instead of a stop.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Raster formats only: Pillow can also hand a file to external interpreters (EPS), which a data
# set must never be able to ask for.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
MAX_PIXELS = 80_000_000
# No format needs more than four 16-bit channels for a pixel: more is not a picture but a trap.
_MAX_BYTES_PER_PIXEL = 8
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_BAND_ROWS = 256


class MediaError(ValueError):
    """A file that cannot be decoded; the message is one sentence that names it."""


class MissingFileError(MediaError):
    """Nothing that could be decoded has this name: no file, a folder, a link to nowhere."""


def read_image(path: Path | str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file as upright 8-bit RGB.

    The EXIF orientation is applied, the first frame of an animation is taken, transparency is laid
    on white, wide integers are scaled from 16 to 8 bit, floats from the range they fit in ([0, 1],
    [0, 255] or [0, 65535]). A colour profile is not applied, as in the loaders that the published
    networks were trained with. At work it takes up to ten bytes per pixel.

    Args:
        path: the file.
        max_pixels: largest width x height that is decoded.

    Returns:
        `(H, W, 3)` uint8 RGB.

    Raises:
        MissingFileError: there is no such file.
        MediaError: the file cannot be opened, is empty, truncated, too large or no image.
    """
    path = Path(path)
    name = _printable(path.name)
    try:
        _check_file(path, name)
        with Image.open(path, formats=FORMATS) as image:
            _check_size(name, image.size, max_pixels)
            image.load()
            _turn_upright(image)
            return _to_rgb(image)
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name} is not an image of a known format ({', '.join(FORMATS)})"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} is too large to decode: {error}") from error
    # Decoders meet hostile bytes with nearly every exception there is; the caller needs one.
    except Exception as error:
        raise _as_media_error(name, error) from error


def _check_file(path: Path, name: str) -> None:
    found = _status(path, name)
    if stat.S_ISDIR(found.st_mode):
        raise MissingFileError(f"{name} is a folder, not an image file")
    if not stat.S_ISREG(found.st_mode):
        raise MissingFileError(f"{name} is not a regular file")
    if found.st_size == 0:
        raise MediaError(f"{name} is empty")
    if found.st_size > MAX_PIXELS * _MAX_BYTES_PER_PIXEL:
        raise MediaError(
            f"{name} is too large: {found.st_size} bytes, an image has at most "
            f"{MAX_PIXELS * _MAX_BYTES_PER_PIXEL}"
        )


def _status(path: Path, name: str) -> os.stat_result:
    try:
        return path.stat()
    except (OSError, ValueError) as error:
        # A name that the disk cannot hold (too long, a null character) is the name of no file.
        code = error.errno if isinstance(error, OSError) else errno.ENAMETOOLONG
        if code not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            raise
        is_link = code != errno.ENAMETOOLONG and path.is_symlink()
        what = "is a link that leads to no file" if is_link else "does not exist"
        raise MissingFileError(f"{name} {what}") from error


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise MediaError(
            f"{name} is too large: {width} x {height} pixels, at most {max_pixels} are decoded"
        )


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    # A broken EXIF block says nothing about the pixels, which are intact by now.
    except Exception:
        return


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Convert band by band, so that a 60-megapixel picture is not held in every form at once."""
    white = _white(image)
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    top = 0
    for band in _bands(image):
        pixels[top : top + band.height] = _band_to_rgb(band, white)
        top += band.height
    return pixels


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    for top in range(0, image.height, _BAND_ROWS):
        yield image.crop((0, top, image.width, min(top + _BAND_ROWS, image.height)))


def _band_to_rgb(band: Image.Image, white: float) -> np.ndarray:
    if _is_wide(band):
        return _to_8_bit(np.asarray(band), white)[..., None]
    if band.mode in _ALPHA_MODES or "transparency" in band.info:
        band = band.convert("RGBA")
        ground = Image.new("RGBA", band.size, "white")
        return np.asarray(Image.alpha_composite(ground, band).convert("RGB"))
    return np.asarray(band.convert("RGB"))


def _is_wide(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _white(image: Image.Image) -> float:
    """The value that stands for white in a channel wider than 8 bit."""
    if image.mode != "F":
        return 65535.0
    brightest = 0.0
    for band in _bands(image):
        values = np.asarray(band)
        brightest = max(brightest, values.max(initial=0.0, where=np.isfinite(values)))
    return next((white for white in (1.0, 255.0) if brightest <= white), 65535.0)


def _to_8_bit(values: np.ndarray, white: float) -> np.ndarray:
    known = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=white, neginf=0.0)
    return np.clip(np.rint(known * (255.0 / white)), 0, 255).astype(np.uint8)


def _as_media_error(name: str, error: Exception) -> MediaError:
    # The text of an OSError names the whole path, which would make a store's hash depend on it.
    if isinstance(error, OSError) and error.strerror:
        return MediaError(f"{name} cannot be opened: {error.strerror}")
    return MediaError(f"{name} cannot be decoded: {' '.join(str(error).split()) or repr(error)}")


def _printable(name: str) -> str:
    """The name on one line and free of bytes that are no text."""
    return name if name.isprintable() else repr(name)
