"""Re-packs of RAF-DB: the aligned images alone, `train` and `test` with one folder per class.

Class folders are numbered 1 to 7 or named by emotion, and `train_labels.csv` and `test_labels.csv`
(image, label) may stand beside them. Images directly in a split's folder take the label of the
table; folders inside class folders are not part of the layout and are not read.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fer_lib.datasets.rafdb_folder import (
    RafdbFolder,
    check_numbering,
    class_emotion,
    image_names,
    split_folders,
    subfolders,
)
from fer_lib.tables import SPLITS

_NAME = re.compile(r"(?P<id>(?P<split>train|test)_\d+)(?:_aligned)?")


class _Claim(NamedTuple):
    """What one place says about one image: a file in a folder, or a row of a table."""

    sample_id: str
    split: str
    label: str
    place: str
    source_path: str | None


def read_repack(folder: RafdbFolder) -> list[dict[str, Any]]:
    """Read the labels of a re-pack.

    Images named as in RAF-DB have its ids, others their path. Where folder and table, or two
    folders, disagree, the emotion is unknown. A row of a table without a file is kept as `missing`.

    Args:
        folder: a copy without a label list.

    Returns:
        Rows of a sample table, by split and name and so not by class.

    Raises:
        ValueError: the classes count from 0, or a table has no columns image and label.
    """
    claims: list[_Claim] = []
    tables: dict[str, str] = {}
    for split, path in split_folders(folder.base):
        files = list(_file_claims(folder, split, path))
        claims += files
        table = _find_table(folder, path)
        if table:
            tables[split] = table.name
            claims += _table_claims(table, split, path, files)
    check_numbering((c.label for c in claims if c.source_path), f"the folders of {folder.base}")
    by_id: dict[str, list[_Claim]] = {}
    for claim in claims:
        by_id.setdefault(claim.sample_id, []).append(claim)
    samples = [_sample(sample_id, group, tables) for sample_id, group in by_id.items()]
    return sorted(samples, key=_order)


def _file_claims(folder: RafdbFolder, split: str, path: Path) -> Iterator[_Claim]:
    for label, images in [("", path), *((child.name, child) for child in subfolders(path))]:
        for name in sorted(image_names(images)):
            file = images / name
            place = f"folder {images.relative_to(folder.base).as_posix()}"
            default = file.relative_to(folder.base).with_suffix("").as_posix()
            yield _Claim(_id(name, default), split, label, place, folder.relative(file))


def _find_table(folder: RafdbFolder, path: Path) -> Path | None:
    # The known re-pack keeps its tables beside DATASET.
    beside = [folder.base.parent] if folder.base.name == "DATASET" else []
    found = [place / f"{path.name}_labels.csv" for place in (folder.base, *beside)]
    return next((table for table in found if table.is_file()), None)


def _table_claims(table: Path, split: str, path: Path, files: Sequence[_Claim]) -> Iterator[_Claim]:
    rows = _table_rows(table)
    check_numbering((label for _, label in rows), table.name)
    ids: dict[str, set[str]] = {}
    for claim in files:
        ids.setdefault(PurePosixPath(claim.source_path or "").name, set()).add(claim.sample_id)
    for image, label in rows:
        name = PurePosixPath(image.replace("\\", "/")).name
        default = f"{path.name}/{PurePosixPath(name).stem or 'no name'}"
        for sample_id in sorted(ids.get(name, {_id(name, default)})):
            yield _Claim(sample_id, split, label, f"{table.name} {label!r}", None)


def _table_rows(table: Path) -> list[tuple[str, str]]:
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    try:
        rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines())]
    except csv.Error as error:
        raise ValueError(f"{table.name} is not a readable table: {error}") from error
    header = [field.lower() for field in rows[0]] if rows else []
    if not {"image", "label"} <= set(header):
        raise ValueError(f"expected the columns image and label in {table.name}, got {header[:8]}")
    image, label = header.index("image"), header.index("label")
    padded = ([*row, *[""] * len(header)] for row in rows[1:] if any(row))
    return [(row[image], row[label]) for row in padded]


def _id(name: str, default: str) -> str:
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    return match["id"] if match else default


def _sample(sample_id: str, claims: Sequence[_Claim], tables: dict[str, str]) -> dict[str, Any]:
    files = [claim for claim in claims if claim.source_path]
    splits = sorted({claim.split for claim in claims}, key=SPLITS.index)
    emotion, label_note = _emotion(claims)
    status = "ok" if emotion and len(splits) == 1 else "ambiguous_label"
    notes = [label_note, *_notes(sample_id, files, splits)]
    table = tables.get(splits[0])
    if table and len(files) == len(claims):
        notes.append(f"{table} does not list it")
    return {
        "sample_id": sample_id,
        # Whatever stands in test as well must never be learnt from.
        "split": splits[-1],
        "emotion": emotion,
        "source_path": files[0].source_path if files else None,
        "status": status if files else "missing",
        "status_reason": "; ".join(filter(None, notes)) or None,
    }


def _emotion(claims: Sequence[_Claim]) -> tuple[str | None, str | None]:
    said = [claim for claim in claims if claim.label]
    emotions = {class_emotion(claim.label) for claim in said}
    if len(emotions) == 1 and None not in emotions:
        return emotions.pop(), None
    places = ", ".join(dict.fromkeys(claim.place for claim in said))
    if not said:
        return None, "no folder and no table says a class"
    if emotions == {None}:
        return None, f"no class of RAF-DB: {places}"
    return None, f"labels disagree: {places}"


def _notes(sample_id: str, files: Sequence[_Claim], splits: Sequence[str]) -> list[str]:
    notes = []
    if not files:
        notes.append("the file is in no folder")
    if len(files) > 1:
        notes.append(f"{len(files)} files: {', '.join(claim.place for claim in files)}")
    if len(splits) > 1:
        notes.append(f"it stands in {' and '.join(splits)}")
    match = _NAME.fullmatch(sample_id)
    if match and (match["split"] == "test") != (splits[-1] == "test"):
        notes.append(f"the name says {match['split']}, the folder {splits[-1]}")
    return notes


def _order(sample: dict[str, Any]) -> tuple[int, str, str]:
    sample_id = sample["sample_id"]
    return SPLITS.index(sample["split"]), PurePosixPath(sample_id).name, sample_id
