"""Dirty files: each becomes a row with a status and a reason, and costs its neighbours nothing."""

import contextlib
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lib.config import PreprocessConfig
from fer_lib.datasets.photographs import Failure, read_photographs
from fer_lib.datasets.preprocess import build_store
from fer_lib.datasets.sources import write_source
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.faces.detect import Detection
from fer_lib.faces.locate import FaceLocator
from fer_lib.tables import STATUSES, sample_table

SIDE = 96


def picture():
    """Three white squares of unequal size on black: still told apart in one bit per pixel."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for x, y, half in ((30, 34, 6), (66, 36, 4), (46, 70, 5)):
        pixels[y - half : y + half + 1, x - half : x + half + 1] = 255
    return Image.fromarray(pixels)


class ThreeSquares:
    """Stands in for the detector: eyes are what is white above, the mouth what is white below."""

    def detect(self, images):
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image):
        step = max(1, len(image) // SIDE)
        white = image[::step, ::step, 1] > 128
        height, width = white.shape
        parts = [
            (slice(0, height // 2), slice(0, width // 2)),
            (slice(0, height // 2), slice(width // 2, width)),
            (slice(height // 2, height), slice(0, width)),
        ]
        if white.all() or not all(white[part].any() for part in parts):
            return None
        eye, other_eye, mouth = (_middle(white, *part) * step for part in parts)
        points = np.stack((eye, other_eye, (eye + mouth) / 2, mouth, mouth)).astype(np.float32)
        return Detection((0.0, 0.0, 9.0, 9.0), 0.9, points)


def _middle(white, rows, columns):
    y, x = np.argwhere(white[rows, columns]).mean(axis=0)
    return np.array([x + columns.start, y + rows.start])


def save(kind, **options):
    return lambda path: picture().save(path, kind, **options)


def save_as(mode, kind, **options):
    return lambda path: picture().convert(mode).save(path, kind, **options)


def save_bytes(content):
    return lambda path: path.write_bytes(content)


def save_part(kind, share):
    """The first bytes of a picture that does not compress."""

    def make(path):
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
        Image.fromarray(noise).save(path, kind)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def save_wide_grey(path):
    Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257).save(path, "PNG")


def save_float(path):
    Image.fromarray(np.asarray(picture().convert("L")) / np.float32(255)).save(path, "TIFF")


def save_wide_rgb(path):
    rows = np.asarray(picture()).astype(">u2") * 257
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    path.write_bytes(png(SIDE, SIDE, 16, 2, raw))


def save_palette_with_alpha(path):
    """White squares that can be seen, on a ground of black that can be seen too."""
    picture().convert("P", palette=Image.Palette.ADAPTIVE).save(path, "PNG", transparency=255)


def save_unseen(path):
    image = picture().convert("RGBA")
    image.putalpha(0)
    image.save(path, "PNG")


def save_turned(orientation):
    turns = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }

    def make(path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turns[orientation](picture()).save(path, "JPEG", exif=exif, quality=95)

    return make


def save_animation(share):
    def make(path):
        frames = [picture(), Image.new("RGB", (SIDE, SIDE), "blue")]
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def save_vast_gif(path):
    picture().save(path, "GIF")
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 65535, 65535)
    path.write_bytes(content)


def png(width, height, depth, colour_type, raw, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), extra,
        chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b""),
    ])


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def link_to(target):
    return lambda path: path.symlink_to(target)


def make_nothing(path):
    assert not path.exists()


GREY_ROWS = (b"\0" + b"abc" * 8) * 8
BOMB = zlib.compress(bytes(200_000_000), 9)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)

# name of the file: how it is made, status, what the reason says.
HARMLESS = {
    "plain.png": save("PNG"),
    "plain.jpg": save("JPEG", quality=95),
    "progressive.jpg": save("JPEG", quality=95, progressive=True),
    "inks.jpg": save_as("CMYK", "JPEG", quality=95),
    "inks.tif": save_as("CMYK", "TIFF"),
    "wide grey.png": save_wide_grey,
    "wide colour.png": save_wide_rgb,
    "palette.png": save_as("P", "PNG"),
    "palette with alpha.png": save_palette_with_alpha,
    "one bit.png": save_as("1", "PNG"),
    "grey and alpha.png": save_as("LA", "PNG"),
    "colour and alpha.png": save_as("RGBA", "PNG"),
    "float.tif": save_float,
    **{f"turned {k}.jpg": save_turned(k) for k in range(1, 9)},
    "animation.gif": save_animation(1),
    "cut after the first frame.gif": save_animation(0.9),
    "broken exif.jpg": save("JPEG", quality=95, exif=b"Exif\0\0garbage that is no TIFF"),
    "broken profile.jpg": save("JPEG", quality=95, icc_profile=b"no profile" * 9000),
    "a png.jpg": save("PNG"),
    "no suffix": save("PNG"),
    "two  spaces .png": save("PNG"),
    "Zoë 面 🙂 e\u0301.png": save("PNG"),
    "two\nlines.png": save("PNG"),
    "-rf.png": save("PNG"),
    "%s {0} $HOME `x`.png": save("PNG"),
    "n" * 251 + ".png": save("PNG"),
    "link.png": link_to("plain.png"),
}
UNREADABLE = {
    "cut.jpg": (save_part("JPEG", 0.5), "cut.jpg cannot be decoded: .*truncated"),
    "cut.png": (save_part("PNG", 0.5), "cannot be decoded: .*truncated"),
    "cut in the head.png": (save_part("PNG", 0.002), "cannot be decoded: Truncated"),
    "cut.gif": (save_part("GIF", 0.5), "cannot be decoded: .*truncated"),
    "empty.jpg": (save_bytes(b""), "empty.jpg is empty"),
    "page.jpg": (save_bytes(b"<html>404</html>"), "is not an image of a known format"),
    "drawing.jpg": (save_bytes(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), "is not an image"),
    "script.jpg": (
        save_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n"), "is not an image"),
    "telephone.jpg": (save_bytes(HEIC), "is not an image"),
    "vast.png": (save_bytes(png(50_000, 50_000, 8, 2, b"")), "too large"),
    "vast.gif": (save_vast_gif, "too large"),
    "long comment.png": (
        save_bytes(png(8, 8, 8, 2, GREY_ROWS, chunk(b"zTXt", b"note\0\0" + BOMB))), "too large"),
    "long profile.png": (
        save_bytes(png(8, 8, 8, 2, GREY_ROWS, chunk(b"iCCP", b"p\0\0" + BOMB))), "too large"),
    "no\nimage.png": (save_bytes(b"text"), r"^'no\\nimage.png' is not an image"),
}
MISSING = {
    "folder.jpg": (lambda path: path.mkdir(), "is a folder"),
    "loop.jpg": (link_to("loop.jpg"), "link that leads to no file"),
    "dangling.jpg": (link_to("gone.jpg"), "link that leads to no file"),
    "pipe.jpg": (os.mkfifo, "is not a regular file"),
    "device.jpg": (link_to("/dev/zero"), "is not a regular file"),
    "absent.jpg": (make_nothing, "does not exist"),
    "plain.png/inside.jpg": (make_nothing, "does not exist"),
}
TOO_LONG = "l" * 300 + ".jpg"
FACELESS = {
    "one pixel.png": lambda path: Image.new("RGB", (1, 1)).save(path),
    "one pixel.jpg": lambda path: Image.new("RGB", (1, 1)).save(path),
    "one row.png": lambda path: Image.new("RGB", (5000, 1), "white").save(path),
    "unseen.png": save_unseen,
}
TABLE = {
    **{name: (make, "ok", None) for name, make in HARMLESS.items()},
    **{name: (make, "unreadable", reason) for name, (make, reason) in UNREADABLE.items()},
    **{name: (make, "missing", reason) for name, (make, reason) in MISSING.items()},
    TOO_LONG: (lambda path: None, "missing", "does not exist"),
    **{name: (make, "no_face", "found a face") for name, make in FACELESS.items()},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dirty")
    (folder / "source").mkdir()
    for name, (make, _, _) in TABLE.items():
        make(folder / "source" / name)
    samples = sample_table([{"sample_id": name, "source_path": name} for name in TABLE])
    return build(samples, folder / "source", folder / "store")


def build(samples, source, path):
    return build_store(
        samples, source, path, size=48, locator=FaceLocator(ThreeSquares()),
        card=StoreCard("test", "none", "loose", landmark_scheme="five"),
    )


@pytest.mark.parametrize("name", TABLE, ids=lambda name: ascii(name)[:40])
def test_every_dirty_file_gets_its_status_and_its_reason(store, name):
    _, status, reason = TABLE[name]
    position = list(TABLE).index(name)
    row = store.index.iloc[position]
    assert (row["sample_id"], row["status"]) == (name, status)
    if status == "ok":
        assert row.isna()["status_reason"]
        difference = store.faces[position].astype(int) - store.faces[0]
        assert np.abs(difference).mean() <= (4 if name.endswith("jpg") else 0)
        assert np.abs(store.five[position] - store.five[0]).max() <= 0.3
    else:
        assert re.search(reason, row["status_reason"])
        assert row["status_reason"].isprintable()
        assert np.isnan(store.five[position]).all()
        assert not store.faces[position].any()


def test_no_row_is_lost_or_moved_and_the_card_counts_them(store):
    assert store.index["sample_id"].tolist() == list(TABLE)
    counts = dict.fromkeys(STATUSES, 0)
    for _, status, _ in TABLE.values():
        counts[status] += 1
    assert store.card["counts"]["status"] == {k: n for k, n in counts.items() if n}
    store.verify()


def test_dirt_does_not_change_what_its_neighbours_become(store):
    alone = sample_table([{"sample_id": "plain.png", "source_path": "plain.png"}])
    clean = build(alone, store.path.parent / "source", store.path.parent / "clean")
    assert np.array_equal(clean.faces[0], store.faces[0])
    assert np.array_equal(clean.five[0], store.five[0])


@contextlib.contextmanager
def nobody():
    """Without the rights of an administrator, whom no file refuses."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_what_may_not_be_read_is_unreadable_not_missing(tmp_path):
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
        picture().save(tmp_path / folder / "a.png")
    (tmp_path / "open" / "a.png").chmod(0)
    (tmp_path / "closed").chmod(0)
    names = ["open/a.png", "closed/a.png"]
    samples = sample_table([{"sample_id": name, "source_path": name} for name in names])
    try:
        with nobody():
            found = list(read_photographs(samples, tmp_path))
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert found == [Failure("unreadable", "a.png cannot be opened: Permission denied")] * 2


def make_source(root, files, legend=None):
    """A folder in the layout of facial_expressions; every file is labelled `happiness`."""
    (root / "images").mkdir(parents=True)
    (root / "data").mkdir()
    for name, make in files.items():
        make(root / "images" / name)
    rows = "".join(f"1,{name},happiness\n" for name in files)
    (root / "data" / "legend.csv").write_text("user.id,image,emotion\n" + rows, encoding="utf-8")
    return PreprocessConfig(
        source="facial_expressions", root=str(root), store="s", model="embedded", size=64,
        subjects=1, groups=1, landmarks="five", check_faces=0, val_fraction=0.2, test_fraction=0.2,
        workers=1, seed=0, device="cpu",
    )


def real_forms(photograph):
    """One photograph as cameras, scanners, printers and the web hand it over."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.asarray(photograph.convert("L")).astype(np.uint16) * 257
    palette = photograph.convert("P", palette=Image.Palette.ADAPTIVE)
    turned = photograph.transpose(Image.Transpose.ROTATE_90)
    return {
        "a_0001.jpg": lambda path: photograph.save(path, "PNG"),
        "b_0001.jpg": lambda path: photograph.convert("CMYK").save(path, "JPEG", quality=95),
        "c_0001.png": lambda path: Image.fromarray(grey).save(path),
        "d_0001.gif": lambda path: palette.save(path),
        "e_0001.jpg": lambda path: turned.save(path, "JPEG", quality=95, exif=exif),
        "\u00fcmit \u9762_0001.webp": lambda path: photograph.save(path, quality=95),
    }


def test_a_real_photograph_is_found_in_every_form_and_among_dirt(shared, tmp_path):
    images = shared / "data" / "facial_expressions" / "images"
    if not images.is_dir():
        pytest.skip("the photographs of facial_expressions are absent")
    with Image.open(min(images.iterdir())) as image:
        forms = real_forms(image.convert("RGB"))
    dirt = {name: UNREADABLE[name][0] for name in ("cut.jpg", "empty.jpg", "vast.png")}
    dirt |= {name: MISSING[name][0] for name in ("folder.jpg", "loop.jpg", "pipe.jpg")}
    store = write_source(make_source(tmp_path / "raw", forms | dirt), tmp_path / "store")
    found = store.index.set_index("sample_id")["status"].to_dict()
    assert found == {
        **dict.fromkeys(forms, "ok"),
        **dict.fromkeys(("cut.jpg", "empty.jpg", "vast.png"), "unreadable"),
        **dict.fromkeys(("folder.jpg", "loop.jpg", "pipe.jpg"), "missing"),
    }
    five = store.five[store.select()]
    eyes = np.linalg.norm(five[0, 1] - five[0, 0])
    # Grey and 256 colours are other pictures to the detector, but of the same face.
    assert np.linalg.norm(five - five[0], axis=-1).max() < 0.06 * eyes


def test_pictures_are_read_only_a_few_ahead(tmp_path):
    Image.new("L", (1000, 1000)).save(tmp_path / "0.jpg")
    for i in range(1, 48):
        (tmp_path / f"{i}.jpg").hardlink_to(tmp_path / "0.jpg")
    names = [f"{i}.jpg" for i in range(48)]
    samples = sample_table([{"sample_id": name, "source_path": name} for name in names])
    tracemalloc.start()
    try:
        shapes = [image.shape for image in read_photographs(samples, tmp_path)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert shapes == [(1000, 1000, 3)] * 48
    assert peak < 8 * 3_000_000


LARGE = """
import resource, sys
from pathlib import Path
from fer_lib.tables import sample_table
from test_dirty_files import build
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
root = Path(sys.argv[1])
before = peak()
samples = sample_table([{"sample_id": name, "source_path": name} for name in sys.argv[2:]])
index = build(samples, root, root / "store").index
print(peak() - before, *index["status"])
"""


def test_photographs_of_sixty_megapixels_become_faces_in_bounded_memory(tmp_path):
    picture().resize((7746, 7746)).save(tmp_path / "a.jpg")
    Image.new("L", (7746, 7746)).save(tmp_path / "b.png", compress_level=1)
    command = [sys.executable, "-c", LARGE, str(tmp_path), "a.jpg", "b.png"]
    # Linux counts the parent's memory until the child has its own: a shell between them has little.
    answer = subprocess.run(
        ["sh", "-c", '"$@"; exit', "sh", *command],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )
    megabytes, *statuses = answer.stdout.split()
    assert statuses == ["ok", "no_face"]
    assert int(megabytes) <= 2500
