"""Reader of the data set `facial_expressions` (GitHub muxspace/facial_expressions).

Layout: `images/` and `data/legend.csv` with the columns user.id, image, emotion. Several annotators
label one image, in any case; most file names are those of Labeled Faces in the Wild and carry the
subject (`Aaron_Peirsol_0003.jpg`).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from fer_lib.datasets.splits import DEFAULT_FRACTIONS, assign_splits
from fer_lib.labels import canonical_emotion
from fer_lib.tables import sample_table

SOURCE = "facial_expressions (GitHub muxspace/facial_expressions)"
LICENCE = (
    "repository Apache-2.0; the photographs are press pictures without a known licence of their own"
)
_COLUMNS = ["user.id", "image", "emotion"]
_SUBJECT = re.compile(r"(?P<subject>.+)_\d{4}")


def read_facial_expressions(
    root: Path | str,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Read the labels into a sample table, one row per image of the legend.

    An annotator's repeated rows are one vote; the emotion with most votes wins. Where votes
    contradict each other the reason holds their count, and where they tie, or no label is an
    emotion, the emotion stays unknown with the status `ambiguous_label`. A file that is not there
    has the status `missing`. Splits are by subject.

    Args:
        root: folder that holds `images/` and `data/legend.csv`.
        fractions: shares of train, val and test among the subjects.
        seed: of the split.

    Returns:
        Sample table sorted by image name; `source_path` is relative to `root`.

    Raises:
        ValueError: the folder, the legend or a column of it is absent, or the legend is empty.
    """
    root = Path(root)
    legend = _read_legend(root / "data" / "legend.csv")
    rows = [_sample(root, str(name), votes) for name, votes in legend.groupby("image", sort=True)]
    return assign_splits(sample_table(rows), fractions, seed)


def _read_legend(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(
            f"expected the legend at {path}, found none; pass the folder that holds images/ and "
            "data/legend.csv"
        )
    try:
        legend = pd.read_csv(
            path,
            dtype="str",
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="replace",
            skipinitialspace=True,
            quoting=csv.QUOTE_NONE,
            engine="python",
            on_bad_lines=lambda fields: fields[: len(_COLUMNS)],
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path.name} is not a readable table: {error}") from error
    legend.columns = [str(column).strip(' \t"').lower() for column in legend.columns]
    absent = [column for column in _COLUMNS if column not in legend]
    if absent:
        raise ValueError(f"expected the columns {_COLUMNS} in {path.name}, {absent} are absent")
    legend = legend[_COLUMNS].fillna("").apply(lambda column: column.str.strip(' \t"'))
    legend = legend[legend["image"] != ""]
    if legend.empty:
        raise ValueError(f"expected at least one image in {path.name}, found none")
    return legend


def _sample(root: Path, name: str, votes: pd.DataFrame) -> dict[str, Any]:
    emotion, note = _majority(votes)
    sample: dict[str, Any] = {
        "sample_id": name,
        "subject": _subject(name),
        "emotion": emotion,
        "source_path": f"images/{name}",
        "status": "ok" if emotion else "ambiguous_label",
        "status_reason": note,
    }
    fault = _file_fault(root, name)
    if fault:
        sample["status"] = "missing"
        sample["status_reason"] = "; ".join(text for text in (fault, note) if text)
    return sample


def _majority(votes: pd.DataFrame) -> tuple[str | None, str | None]:
    """Give the winning emotion (None on a tie) and a note where the votes are not unanimous."""
    known: set[tuple[str, str]] = set()
    unknown: set[str] = set()
    for user, word in zip(votes["user.id"], votes["emotion"], strict=True):
        try:
            known.add((user, canonical_emotion(word)))
        except ValueError:
            unknown.add(word)
    counts = Counter(emotion for _, emotion in known)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"no emotion {word!r}" for word in sorted(unknown)]
    tied = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    if len(ranked) > 1:
        parts.insert(0, "annotators tie: " if tied else "annotators disagree: ")
        parts[0] += ", ".join(f"{emotion} {count}" for emotion, count in ranked)
    return (ranked[0][0] if ranked and not tied else None), "; ".join(parts) or None


def _subject(name: str) -> str:
    stem = PurePosixPath(name).stem
    match = _SUBJECT.fullmatch(stem)
    return match["subject"] if match else stem


def _file_fault(root: Path, name: str) -> str | None:
    # A name is data: it must not be able to point anywhere else on the disk.
    if "/" in name or "\\" in name or "\0" in name or name in {".", ".."}:
        return "the name is not that of a file in images/"
    try:
        return None if (root / "images" / name).is_file() else "the file is not in images/"
    except OSError:
        return "the name is not that of a file in images/"
