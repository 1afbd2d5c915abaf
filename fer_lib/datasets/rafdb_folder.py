"""Where a copy of RAF-DB's basic set keeps what: the authors' layout, or a re-pack of it.

The authors' layout (README 1.1, 2018) is `basic/` with `EmoLabel`, `Image/original`,
`Image/aligned` and `Annotation/{auto,manual,boundingbox}`. Re-packs hold the aligned images alone,
in `train` and `test` with one folder per class.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_lib.labels import canonical_emotion, emotion_of_id, emotion_order

SITE = "http://www.whdeng.cn/RAF/model1.html"
LABEL_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_CLASSES = {str(number): emotion_of_id("rafdb", number) for number in range(1, 8)}
_COMPOUND = {"8", "9", "10", "11"}
_SPLIT_OF_FOLDER = {
    "train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val",
}


@dataclass(frozen=True)
class RafdbFolder:
    """A copy of RAF-DB's basic set on disk.

    Attributes:
        root: the folder that was passed; `source_path` is relative to it.
        base: the folder that holds `EmoLabel` and `Image`, or `train` and `test`.
        label_list: the label file; None in a re-pack, where folders are the labels.
    """

    root: Path
    base: Path
    label_list: Path | None

    def images(self, kind: str) -> Path:
        """Give the folder of the `original` or `aligned` images."""
        return self.base / "Image" / kind

    def annotations(self, kind: str) -> Path:
        """Give the folder of the `auto`, `manual` or `boundingbox` annotations."""
        return self.base / "Annotation" / kind

    def relative(self, path: Path) -> str:
        """Write a path of this copy as `source_path`."""
        return path.relative_to(self.root).as_posix()


def find_rafdb(root: Path | str) -> RafdbFolder:
    """Recognise a copy of RAF-DB's basic set.

    Args:
        root: `basic` or its parent; of a re-pack the folder with `train` and `test`, or the parent
            of such a folder named `DATASET`.

    Returns:
        What lies where.

    Raises:
        ValueError: neither layout is here, or two label lists contradict each other.
    """
    root = Path(root)
    for base in (root, root / "basic"):
        label_list = _label_list(base / "EmoLabel")
        if label_list:
            return RafdbFolder(root, base, label_list)
    for base in (root, root / "DATASET"):
        if any(_holds_classes(folder) for _, folder in split_folders(base)):
            return RafdbFolder(root, base, None)
    raise ValueError(
        f"expected RAF-DB at {root}: EmoLabel/{LABEL_LISTS[0]} (in it or in basic/), or train/ and "
        "test/ with a folder for each class; found neither; pass the folder that holds them"
    )


def split_folders(base: Path) -> list[tuple[str, Path]]:
    """List the folders of a re-pack that are splits, with the split's name."""
    return [
        (_SPLIT_OF_FOLDER[folder.name.lower()], folder)
        for folder in subfolders(base)
        if folder.name.lower() in _SPLIT_OF_FOLDER
    ]


def subfolders(folder: Path) -> list[Path]:
    """List the visible folders in a folder by name; none where it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir())


def image_names(folder: Path) -> frozenset[str]:
    """List the visible image files of a folder; none where it does not exist.

    A name that a label list gives is looked up here and never joined to a path first, so it cannot
    point anywhere else on the disk.
    """
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if _is_image(entry))


def class_emotion(label: str) -> str | None:
    """Turn a class as re-packs write it, `4` or `happy`, into the canonical name, or None."""
    if label in _CLASSES:
        return _CLASSES[label]
    try:
        emotion = canonical_emotion(label)
    except ValueError:
        return None
    return emotion if emotion in emotion_order("rafdb") else None


def check_numbering(labels: Iterable[str], where: str) -> None:
    """Refuse numbers that mean other classes than those of the basic set.

    Args:
        labels: class numbers as text, all that occur.
        where: file or folder that they come from.

    Raises:
        ValueError: the classes count from 0, or are the eleven compound ones.
    """
    present = set(labels)
    if "0" in present and "7" not in present:
        raise ValueError(
            f"expected RAF-DB's classes 1 to 7 in {where}, got classes that count from 0, whose "
            "order is not known; renumber them as RAF-DB does (1 surprise … 7 neutral)"
        )
    if present >= _COMPOUND:
        raise ValueError(
            f"expected RAF-DB's classes 1 to 7 in {where}, got the eleven of the compound set; "
            "pass the basic set"
        )


def _label_list(folder: Path) -> Path | None:
    found = [folder / name for name in LABEL_LISTS if (folder / name).is_file()]
    if len(found) == 2 and found[0].read_bytes() != found[1].read_bytes():
        raise ValueError(
            f"expected one label list in {folder.name}, got {LABEL_LISTS[0]} and {LABEL_LISTS[1]} "
            "with different content; remove the one that is wrong"
        )
    return found[0] if found else None


def _holds_classes(folder: Path) -> bool:
    return any(class_emotion(child.name) for child in subfolders(folder))


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or not entry.name.lower().endswith(IMAGE_SUFFIXES):
        return False
    try:
        return entry.is_file()
    except OSError:
        # A loop of links is a name without a file.
        return False
