"""Decoding: any mode becomes upright RGB; anything else is one sentence."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_lib.media.images import MediaError, read_image


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


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(values).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert np.abs(read[0, :, 1].astype(int) - np.arange(256)).max() <= 1


def test_float_image_in_unit_range_is_scaled(tmp_path):
    values = np.full((4, 4), 0.5, np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - 128).max() <= 1


def test_transparency_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(tmp_path / "b.png", transparency=0)
    assert (read_image(tmp_path / "b.png") == 255).all()


def test_exif_orientation_turns_the_image_upright(tmp_path):
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).mean() < 3


def test_broken_exif_does_not_cost_the_pixels(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=b"Exif\0\0garbage that is no TIFF")
    assert read_image(tmp_path / "a.jpg").shape == (12, 20, 3)


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def broken_files(folder):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        buffer, "JPEG"
    )
    (folder / "folder.jpg").mkdir()
    (folder / "empty.jpg").touch()
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[:700])
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    return {
        "absent.jpg": "does not exist",
        "folder.jpg": "is a folder",
        "empty.jpg": "is empty",
        "cut.jpg": "cannot be decoded",
        "text.jpg": "not an image",
        "script.eps": "not an image",
        "a\0b.jpg": "cannot be opened|does not exist",
        "x" * 4000: "cannot be opened|does not exist",
    }


def test_each_unreadable_file_gives_one_sentence_that_says_why(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(MediaError, match=reason) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_too_large_is_refused_before_decoding(tmp_path):
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="too large: 300 x 300"):
        read_image(tmp_path / "a.png", max_pixels=89_999)
    assert read_image(tmp_path / "a.png", max_pixels=90_000).shape == (300, 300, 3)


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
