"""Reader of RAF-DB's basic set: seven basic emotions, 12,271 training and 3,068 test images.

The authors' layout is read with `Image/original` where it is there, else with `Image/aligned`
(100 x 100); re-packs of the aligned images with one folder per class are read as well. Landmarks
and attributes are in `rafdb_annotations`, the check of the alignment in `rafdb_alignment`.

Source: Li, Deng and Du, CVPR 2017; layout by the README of the data set, version 1.1.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from fer_lib.datasets.rafdb_files import parse_box, read_annotation
from fer_lib.datasets.rafdb_folder import SITE, RafdbFolder, find_rafdb, image_names
from fer_lib.datasets.rafdb_labels import Labelled, parse_label_list
from fer_lib.datasets.rafdb_repack import read_repack
from fer_lib.datasets.splits import split_subjects
from fer_lib.progress import track
from fer_lib.tables import sample_table

SOURCE = f"RAF-DB, basic set (Real-world Affective Faces Database, {SITE})"
LICENCE = (
    "non-commercial research and education only, by request from its authors; images, labels and "
    "annotations may not be passed on"
)
_BOX = ["box_left", "box_top", "box_right", "box_bottom"]


def read_rafdb(root: Path | str, val_fraction: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Read the labels into a sample table, one row per image of the list or of the folders.

    Train and test are the data set's own. Its subjects are unknown, so val is a share of every
    emotion of train, by a keyed hash of the ids; a re-pack that brings a val folder keeps it. A row
    without one label from 1 to 7 has the status `ambiguous_label`, one without a file `missing`,
    each with its reason. Boxes are those of the originals, NaN where there is none.

    Args:
        root: `basic` or its parent; of a re-pack the folder with `train` and `test`, or the parent
            of such a folder named `DATASET`.
        val_fraction: share of train that becomes val, 0 to below 1.
        seed: of the choice of val.

    Returns:
        Sample table in the order of the list, re-packs by split and id; `source_path` is relative
        to `root`.

    Raises:
        ValueError: the folder is no copy of RAF-DB, or its label list is not one.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"expected a share of val from 0 to below 1, got {val_fraction}")
    folder = find_rafdb(root)
    rows = _read_listed(folder, folder.label_list) if folder.label_list else read_repack(folder)
    return _with_val(sample_table(rows), val_fraction, seed)


def _read_listed(folder: RafdbFolder, label_list: Path) -> list[dict[str, Any]]:
    text = label_list.read_text(encoding="utf-8-sig", errors="replace")
    originals = image_names(folder.images("original"))
    aligned = image_names(folder.images("aligned"))
    has_boxes = folder.annotations("boundingbox").is_dir()
    rows = []
    for item in track(parse_label_list(text, label_list.name), "label list and boxes"):
        row = _sample(item) | _image(folder, item.name, originals, aligned)
        notes = [item.note, row.pop("note")]
        if has_boxes and item.name and row["source_path"] == _original(folder, item.name):
            box, reason = read_annotation(folder, "boundingbox", item.sample_id, parse_box)
            row |= {} if box is None else dict(zip(_BOX, box, strict=True))
            notes.append(reason)
        if row["split"] is None:
            notes.append("the name says neither train nor test")
        rows.append(row | {"status_reason": "; ".join(filter(None, notes)) or None})
    return rows


def _sample(item: Labelled) -> dict[str, Any]:
    split = item.sample_id.partition("_")[0]
    split = split if split in ("train", "test") else None
    status = "ok" if item.emotion and split else "ambiguous_label"
    return {
        "sample_id": item.sample_id, "split": split, "emotion": item.emotion, "status": status,
    }


def _image(
    folder: RafdbFolder, name: str | None, originals: frozenset[str], aligned: frozenset[str]
) -> dict[str, Any]:
    if name is None:
        return {"source_path": None, "note": None}
    path = PurePosixPath(name)
    aligned_name = f"{path.stem}_aligned{path.suffix}"
    if name in originals:
        return {"source_path": _original(folder, name), "note": None}
    if aligned_name in aligned:
        # Among originals a picture of another kind is worth a word; a set without any is not.
        note = "the original is not there, this is the aligned image" if originals else None
        path = folder.images("aligned") / aligned_name
        return {"source_path": folder.relative(path), "note": note}
    return {
        "source_path": _original(folder, name),
        "status": "missing",
        "note": "the file is neither in Image/original nor in Image/aligned",
    }


def _original(folder: RafdbFolder, name: str | None) -> str | None:
    return None if name is None else folder.relative(folder.images("original") / name)


def _with_val(samples: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    if fraction == 0 or (samples["split"] == "val").any():
        return samples
    splits = samples["split"].copy()
    train = samples[samples["split"] == "train"]
    for _, ids in train.groupby("emotion", dropna=False)["sample_id"]:
        splits[ids.index] = ids.map(split_subjects(ids, (1 - fraction, fraction, 0.0), seed))
    return samples.assign(split=splits)
