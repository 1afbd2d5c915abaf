"""Decoding: any mode becomes upright RGB; anything else is one sentence."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lib.media import images
from fer_lib.media.images import MediaError, MissingFileError, read_image


def gradient(height=12, width=20):
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 12, y * 20, 255 - x * 6), axis=-1).astype(np.uint8)


def test_png_comes_back_unchanged(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), gradient())


def test_jpeg_is_close_and_colour_order_is_rgb(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - image).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode in {"CMYK", "YCbCr", "HSV", "LAB"} else "png"
    image = Image.new("RGB", (9, 7), (120, 120, 120)).convert("L")
    image = image.convert(mode) if mode not in {"HSV", "LAB"} else image.convert("RGB")
    image.save(tmp_path / f"a.{suffix}")
    read = read_image(tmp_path / f"a.{suffix}")
    assert read.shape == (7, 9, 3)
    assert read.dtype == np.uint8
    if mode != "1":
        assert np.abs(read.astype(int) - 120).max() <= 2


PRINTED = [
    # cyan, magenta, yellow, black -> red, green, blue
    ((0, 255, 255, 0), (255, 0, 0)),
    ((255, 0, 255, 0), (0, 255, 0)),
    ((255, 255, 0, 0), (0, 0, 255)),
    ((0, 0, 0, 0), (255, 255, 255)),
    ((0, 0, 0, 255), (0, 0, 0)),
    ((0, 0, 0, 155), (100, 100, 100)),
]


@pytest.mark.parametrize(("ink", "colour"), PRINTED)
@pytest.mark.parametrize("marked", [True, False], ids=["adobe", "unmarked"])
def test_cmyk_jpeg_has_the_colours_of_its_inks(tmp_path, ink, colour, marked):
    content = encode(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
    (tmp_path / "a.jpg").write_bytes(content if marked else without_adobe_marker(content))
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - colour).max() <= 2


def test_ycck_jpeg_has_the_colours_of_its_inks(tmp_path):
    # The file holds luma and chroma of the inverted inks: pure red as Y, Cb, Cr is 76, 85, 255.
    inks = Image.new("CMYK", (16, 16), (255 - 76, 255 - 85, 255 - 255, 0))
    content = bytearray(encode(inks, "JPEG", quality=100))
    content[content.find(b"Adobe") + 11] = 2
    (tmp_path / "a.jpg").write_bytes(content)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (0, 255, 255)).max() <= 3


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def without_adobe_marker(jpeg):
    start = jpeg.find(b"\xff\xee")
    (length,) = struct.unpack(">H", jpeg[start + 2 : start + 4])
    return jpeg[:start] + jpeg[start + 2 + length :]


def png(width, height, depth, colour_type, pixel, extra=b""):
    """A PNG of one colour, written by hand: Pillow has no 16-bit RGB."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    rows = (b"\0" + pixel * width) * height
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [chunk(*part) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + chunks[0] + extra + b"".join(chunks[1:])


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


@pytest.mark.parametrize(
    ("colour_type", "values", "colour"),
    [
        (0, (0x8000,), (128, 128, 128)),
        (2, (0x8000, 0x4000, 0xFFFF), (128, 64, 255)),
        (4, (0x8000, 0xFFFF), (128, 128, 128)),
        (6, (0x8000, 0x4000, 0xFFFF, 0xFFFF), (128, 64, 255)),
        (6, (0x8000, 0x4000, 0xFFFF, 0), (255, 255, 255)),
    ],
    ids=["grey", "rgb", "grey and alpha", "rgba", "rgba unseen"],
)
def test_sixteen_bit_png_of_one_colour(tmp_path, colour_type, values, colour):
    pixel = struct.pack(f">{len(values)}H", *values)
    (tmp_path / "a.png").write_bytes(png(5, 3, 16, colour_type, pixel))
    read = read_image(tmp_path / "a.png")
    assert read.shape == (3, 5, 3)
    assert np.abs(read.astype(int) - colour).max() <= 1


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(values).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert np.abs(read[0, :, 1].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ((0.5, 1.0), (128, 255)),
        ((100.0, 255.0), (100, 255)),
        ((0.0, 32767.5, 65535.0), (0, 128, 255)),
        ((0.5, np.inf, -np.inf, np.nan), (128, 255, 0, 0)),
        ((-3.0, np.nan), (0, 0)),
        ((100.0, 1e30), (0, 255)),
    ],
)
def test_float_image_is_scaled_from_the_range_it_fits_in(tmp_path, values, grey):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert np.abs(read[0].astype(int) - np.array(grey)[:, None]).max() <= 1


def test_brightest_value_of_a_float_image_counts_wherever_it_is(tmp_path):
    values = np.full((3 * images._BAND_ROWS, 2), 0.5, np.float32)
    values[-1, -1] = 200
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[[0, -1], [0, -1], 0].tolist() == [0, 200]


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("rows", [1, 255, 256, 257, 700])
def test_pictures_of_many_bands_are_whole(tmp_path, mode, rows):
    ramp = np.add.outer(np.arange(rows) * 3, np.arange(4)).astype(np.uint8)
    image = Image.fromarray(ramp)
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode != "L":
        image = image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)
    image.save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert np.array_equal(read, np.stack([ramp] * 3, axis=-1))


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(tmp_path / "b.png", transparency=0)
    assert (read_image(tmp_path / "b.png") == 255).all()


# What a camera held in each of the eight ways stores of an upright picture.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [*STORED, 0, 9, 65535])
def test_exif_orientation_turns_the_image_upright(tmp_path, kind, orientation):
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :16] = 255
    upright[16:, :16] = 120
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED.get(orientation, STORED[1])(upright))
    quality = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(stored).save(tmp_path / "a", kind, exif=exif, **quality)
    read = read_image(tmp_path / "a")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() <= (8 if kind == "JPEG" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage that is no TIFF", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"junk" * 9]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_broken_exif_does_not_cost_the_pixels(tmp_path, exif, kind):
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", kind, exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (12, 20, 3)


@pytest.mark.parametrize("profile", [b"no profile" * 9000, b"\0" * 128])
def test_a_broken_colour_profile_does_not_cost_the_pixels(tmp_path, profile):
    Image.new("RGB", (8, 8), (200, 100, 50)).save(
        tmp_path / "a.jpg", icc_profile=profile, quality=100)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 2


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def broken_files(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    (folder / "folder.jpg").mkdir()
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(encode(noise, "JPEG")[:700])
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "two\nlines.jpg").write_text("nothing")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "dangling.jpg").symlink_to("gone.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.jpg")
    missing = {
        "absent.jpg": "does not exist",
        "folder.jpg": "is a folder",
        "loop.jpg": "link that leads to no file",
        "dangling.jpg": "link that leads to no file",
        "device.jpg": "not a regular file",
        "pipe.jpg": "not a regular file",
        "a\0b.jpg": "does not exist",
        "x" * 4000: "does not exist",
    }
    unreadable = {
        "empty.jpg": "is empty",
        "cut.jpg": "cannot be decoded",
        "text.jpg": "not an image",
        "script.eps": "not an image",
        "two\nlines.jpg": r"^'two\\nlines.jpg' is not an image",
    }
    return {**missing, **unreadable}, missing


def test_each_unreadable_file_gives_one_sentence_that_says_why(tmp_path):
    files, missing = broken_files(tmp_path)
    for name, reason in files.items():
        with pytest.raises(MediaError, match=reason) as caught:
            read_image(tmp_path / name)
        assert str(caught.value).isprintable()
        assert str(tmp_path) not in str(caught.value)
        assert isinstance(caught.value, MissingFileError) == (name in missing)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["builtins.open", "os.stat"])
def test_what_the_disk_refuses_is_said_without_the_path(tmp_path, monkeypatch, code, call):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def refuse(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(MediaError) as caught:
            read_image(tmp_path / "a.png")
    assert str(caught.value) == f"a.png cannot be opened: {os.strerror(code)}"
    assert not isinstance(caught.value, MissingFileError)


def test_a_file_larger_than_any_picture_is_not_opened(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", images.MAX_PIXELS * 8 + 1)
    with pytest.raises(MediaError, match="too large: 640000001 bytes"):
        read_image(tmp_path / "a.png")


def test_too_large_is_refused_before_decoding(tmp_path):
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="too large: 300 x 300"):
        read_image(tmp_path / "a.png", max_pixels=89_999)
    assert read_image(tmp_path / "a.png", max_pixels=90_000).shape == (300, 300, 3)


PEAK = """
import resource, sys
from fer_lib.media.images import MediaError, read_image
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    said = read_image(sys.argv[1]).shape
except MediaError as error:
    said = error
print(peak() - before, said, sep="|")
"""


def peak_megabytes(path):
    """Memory that reading takes, beyond that of the program, and what came of it."""
    # Linux counts the parent's memory until the child has its own: a shell between them has little.
    command = ["sh", "-c", '"$@"; exit', "sh", sys.executable, "-c", PEAK, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, said = answer.stdout.strip().split("|")
    return int(megabytes), said


def test_sixty_megapixels_take_ten_bytes_per_pixel(tmp_path):
    Image.new("LA", (9000, 6667)).save(tmp_path / "a", "PNG", compress_level=1)
    megabytes, said = peak_megabytes(tmp_path / "a")
    assert said == "(6667, 9000, 3)"
    assert megabytes <= 600


def test_small_files_that_unpack_to_much_take_little_memory(tmp_path):
    much = zlib.compress(bytes(300_000_000), 9)
    bombs = {
        "declared": png(50_000, 50_000, 8, 2, b"")[:200],
        "text": png(8, 8, 8, 2, b"abc", chunk(b"zTXt", b"comment\0\0" + much)),
        "profile": png(8, 8, 8, 2, b"abc", chunk(b"iCCP", b"profile\0\0" + much)),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        megabytes, said = peak_megabytes(tmp_path / name)
        assert "too large" in said
        assert megabytes <= 100


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_a_media_error(kind, data, tmp_path_factory):
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.bin"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        image = read_image(path, max_pixels=10_000)
    except MediaError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
