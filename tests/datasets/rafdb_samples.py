"""A folder laid out like RAF-DB, with drawn faces whose points are known. No real image is in it.

The aligned images are made by Pillow from a matrix solved here, not by the code under test.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

TARGET = np.array([(25.0, 35.0), (75.0, 35.0), (50.0, 75.0)])
WORDS = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")

# Points of a face in hundredths of the aligned frame: five manual ones, 37 automatic ones.
_FIVE = np.array([(25, 35), (75, 35), (50, 55), (36, 75), (64, 75)], dtype=float)
_BROW = [(-10, -10), (0, -13), (10, -10)]
_EYE = [(-9, 0), (-4, -4), (4, -4), (9, 0), (4, 4), (-4, 4)]
_NOSE = [(50, 40), (48, 47), (52, 47), (43, 56), (50, 59), (57, 56), (50, 54)]
_MOUTH = [
    (50 + 14 * np.cos(angle), 75 + 6 * np.sin(angle))
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False)
]
_AUTO = np.array(
    [(25 + x, 35 + y) for x, y in _BROW] + [(75 + x, 35 + y) for x, y in _BROW] + _NOSE
    + [(25 + x, 35 + y) for x, y in _EYE] + [(75 + x, 35 + y) for x, y in _EYE] + _MOUTH
)


@dataclass
class RafdbFace:
    """One drawn face: original, points in its pixels, attributes as the files write them."""

    stem: str
    label: int
    image: Image.Image
    five: np.ndarray
    auto: np.ndarray
    attributes: tuple[int, int, int]

    @property
    def box(self):
        return *self.auto.min(axis=0), *self.auto.max(axis=0)


def draw_face(stem, label, rng):
    """Draw an original of some size with a sheared, turned face somewhere in it."""
    width, height = (int(side) for side in rng.integers(150, 240, size=2))
    angle, scale, shear = rng.uniform(-0.35, 0.35), rng.uniform(0.9, 1.2), rng.uniform(-0.15, 0.15)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]])
    centre = np.array([width, height]) / 2 + rng.uniform(-10, 10, size=2)
    five, auto = ((points - 50) @ matrix.T + centre for points in (_FIVE, _AUTO))
    image = _background(width, height, rng)
    _draw(image, matrix, centre, rng)
    attributes = tuple(int(rng.integers(count)) for count in (3, 3, 5))
    return RafdbFace(stem, label, image, five.round(3), auto.round(4), attributes)


def align(face, five=None):
    """Warp the original by the exact affine of three points, with Pillow."""
    five = face.five if five is None else five
    source = np.array([five[0], five[1], five[3:].mean(axis=0)])
    # From aligned to original, as Pillow wants it: its pixel centres are at halves.
    to_original = np.linalg.solve(np.c_[TARGET + 0.5, np.ones(3)], source + 0.5).T
    return face.image.transform(
        (100, 100), Image.Transform.AFFINE, to_original.ravel(), Image.Resampling.BILINEAR
    )


def draw_faces(train=14, test=7, seed=0):
    rng = np.random.default_rng(seed)
    stems = [f"train_{i:05d}" for i in range(1, train + 1)]
    stems += [f"test_{i:04d}" for i in range(1, test + 1)]
    return [draw_face(stem, i % 7 + 1, rng) for i, stem in enumerate(stems)]


def write_rafdb(folder, faces, kinds=("original", "aligned"), spelling="patition", pictures=True):
    """Write the authors' layout; without `pictures` the image files hold a single byte."""
    folder = Path(folder)
    lines = "".join(f"{face.stem}.jpg {face.label}\n" for face in faces)
    write_labels(folder, lines, spelling)
    for kind in ("auto", "manual", "boundingbox"):
        (folder / "Annotation" / kind).mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        (folder / "Image" / kind).mkdir(parents=True, exist_ok=True)
    for face in faces:
        write_annotations(folder / "Annotation", face)
        for kind in kinds:
            suffix = "_aligned" if kind == "aligned" else ""
            path = folder / "Image" / kind / f"{face.stem}{suffix}.jpg"
            if pictures:
                _save(face.image if kind == "original" else align(face), path)
            else:
                path.write_bytes(b"x")
    return folder


def write_labels(folder, text, spelling="patition"):
    path = Path(folder) / "EmoLabel" / f"list_{spelling}_label.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def write_annotations(folder, face):
    auto = "".join(f"{x:.4f}\t{y:.4f}\n" for x, y in face.auto)
    manual = "".join(f"{x:.3f} {y:.3f}\n" for x, y in face.five)
    manual += "".join(f"{number}\n" for number in face.attributes)
    box = " ".join(f"{side:.4f}" for side in face.box) + " "
    (folder / "auto" / f"{face.stem}_auto_attri.txt").write_text(auto)
    (folder / "manual" / f"{face.stem}_manu_attri.txt").write_text(manual)
    (folder / "boundingbox" / f"{face.stem}_boundingbox.txt").write_text(box)


def write_repack(folder, faces, class_names=None, tables=True):
    """Write `train/4/train_00001_aligned.jpg` and the tables beside, one byte per image."""
    folder = Path(folder)
    for split in ("train", "test"):
        chosen = [face for face in faces if face.stem.startswith(split)]
        for face in chosen:
            name = class_names[face.label - 1] if class_names else str(face.label)
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            (folder / split / name / f"{face.stem}_aligned.jpg").write_bytes(b"x")
        if tables:
            rows = "".join(f"{face.stem}_aligned.jpg,{face.label}\n" for face in chosen)
            (folder / f"{split}_labels.csv").write_text("image,label\n" + rows)
    return folder


def _background(width, height, rng):
    coarse = rng.integers(30, 160, size=(5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _draw(image, matrix, centre, rng):
    pencil = ImageDraw.Draw(image)

    def place(points):
        return [tuple(point) for point in (np.array(points, dtype=float) - 50) @ matrix.T + centre]

    def ellipse(x, y, wide, high, colour):
        angles = np.linspace(0, 2 * np.pi, 40)
        outline = np.c_[x + wide * np.cos(angles), y + high * np.sin(angles)]
        pencil.polygon(place(outline), fill=colour)

    skin = tuple(int(c) for c in rng.integers(150, 230, size=3))
    ellipse(50, 52, 44, 58, skin)
    for x in (25, 75):
        pencil.line(place([(x + dx, 35 + dy) for dx, dy in _BROW]), fill=(40, 30, 20), width=3)
        ellipse(x, 35, 9, 5, (245, 245, 245))
        ellipse(x, 35, 4, 4, (30, 50, 70))
    pencil.line(place([(50, 40), (43, 56), (57, 56)]), fill=(110, 80, 70), width=2)
    ellipse(50, 75, 14, 6, (150, 40, 50))


def _save(image, path):
    image.save(path, quality=95)
