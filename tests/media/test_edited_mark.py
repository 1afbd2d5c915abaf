"""An edited picture says so, in both formats, and nobody else's words are taken for the mark."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fer_lib.media.edited_mark import EditMark, encode_edited, read_mark
from fer_lib.media.images import MediaError, read_image

MARK = EditMark("rig editor 1a2b – é", 'happiness "0.8"', 0.75)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_mark_survives_the_file(tmp_path, picture, file_format):
    path = tmp_path / f"edit.{file_format.lower()}"
    path.write_bytes(encode_edited(picture, MARK, file_format))
    assert read_mark(path) == MARK
    assert read_mark(path.read_bytes()) == MARK
    assert read_image(path).shape == picture.shape


def test_the_mark_leaves_the_pixels_alone(tmp_path, picture):
    path = tmp_path / "edit.png"
    path.write_bytes(encode_edited(picture, MARK))
    assert (read_image(path) == picture).all()


def test_the_mark_is_plain_words_for_other_programs(picture):
    with Image.open(io.BytesIO(encode_edited(picture, MARK))) as image:
        assert image.text["Edited"].startswith("Edited: this face was changed by software.")


def test_a_picture_without_a_mark_has_none(picture):
    for file_format in ("PNG", "JPEG"):
        plain = io.BytesIO()
        Image.fromarray(picture).save(plain, file_format)
        assert read_mark(plain.getvalue()) is None


@pytest.mark.parametrize("words", [
    "yes", "Edited: this face was changed by software. ",
    "Edited: this face was changed by software. [1]",
    'Edited: this face was changed by software. {"editor": 1}',
])
def test_other_words_are_no_mark(picture, words):
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("Edited", words)
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=info)
    assert read_mark(buffer.getvalue()) is None


def test_what_cannot_be_marked_is_refused(picture):
    with pytest.raises(ValueError, match="PNG or JPEG"):
        encode_edited(picture, MARK, "GIF")
    with pytest.raises(ValueError, match="uint8"):
        encode_edited(picture / 255, MARK)
    for wrong in (MARK._replace(editor=" "), MARK._replace(strength=float("nan"))):
        with pytest.raises(ValueError, match="editor"):
            encode_edited(picture, wrong)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_a_file_that_is_no_picture_is_one_error(content):
    with pytest.raises(MediaError, match="picture"):
        read_mark(content)
