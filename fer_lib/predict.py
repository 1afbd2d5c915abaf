"""Photographs, folders and clips → a table, and annotated pictures and clips.

Any recogniser of this project answers: published judges, small ones, and those that notebooks 02
and 04 trained, the landmark fusion included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

import pandas as pd

from fer_lib import paths, runs
from fer_lib.config import resolve_device
from fer_lib.datasets.sources import locator_at_hand
from fer_lib.datasets.store import Store, is_store
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.face_readers import FaceReader, FusionReader, JudgeReader
from fer_lib.evaluation.judge_names import find_judge, judge_names
from fer_lib.evaluation.judged_faces import JudgedBatch, judge_pictures, pictures_of
from fer_lib.faces.locate import FaceLocator
from fer_lib.media.annotate import Answer
from fer_lib.media.annotated_files import AnnotatedFiles
from fer_lib.networks.checkpoints import load_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.run_folder import Run
from fer_lib.tables import probability_columns

FUSION = "fusion"
TABLE = "predictions.csv"
_DEFAULTS = ("own", "stand-in", "faceapi")
_SHOWN = 30


class Forecast(NamedTuple):
    """What became of each input.

    ``reader`` names who answered; ``lines`` has one row per file: ``file``, ``answer``, ``detail``;
    ``judged`` counts the pictures and frames that have an answer; ``notes`` are sentences on what
    was left out.
    """

    reader: str
    lines: pd.DataFrame
    judged: int
    notes: list[str]

    def __str__(self) -> str:
        """Give the table and the notes as text; of many inputs the first ones."""
        shown = self.lines.head(_SHOWN).map(_printable)
        widths = shown.apply(lambda column: column.str.len().max())
        rows = [
            f"{row.file:<{widths['file']}}  {row.answer:<{widths['answer']}}  {row.detail}"
            for row in shown.itertuples()
        ]
        more = len(self.lines) - len(shown)
        notes = [f"… and {more} more"] * (more > 0) + self.notes
        if not self.judged:
            notes.append("no face could be judged")
        return "\n".join([self.reader, *rows, *notes])


@dataclass
class _Tally:
    """Counts over the pictures of one input."""

    frames: int = 0
    share: float = float("nan")
    labels: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    is_clip: bool = False


def trained_checkpoints() -> dict[str, Path]:
    """Find what the notebooks trained, as ``runs.checkpoints_in``.

    The newest comes first, but whoever learned from drawn faces comes after all others.
    """
    return runs.checkpoints_in(sorted(runs.finished("0[24]_*"), key=_learned_from_drawings))


def reader_names() -> list[str]:
    """Give every name that ``find_reader`` knows; it takes paths of checkpoints too."""
    return [*judge_names(), FUSION]


def find_reader(name: str | None, device: str = "cpu") -> FaceReader | Absent:
    """Give a recogniser by name.

    Args:
        name: one of ``reader_names`` or the path of a checkpoint; None takes the judge of notebook
            04, the stand-in of 02 or face-api's net: the first that is here and has learned from
            photographs, else the first that is here.
        device: where it answers.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: the name is unknown, or a file is not what it should be.
    """
    trained = trained_checkpoints()
    name = name or _default(trained)
    path = trained.get(name, Path(name))
    if name == FUSION and name not in trained:
        return Absent(name, "no finished run of notebook 02 has one: run it first (fer run 02)")
    if path.suffix == ".safetensors" and isinstance(load_recogniser(path).network, LandmarkFusion):
        return FusionReader(path, _landmark_scheme(path), device)
    judge = find_judge(name, device, trained=trained)
    return judge if isinstance(judge, Absent) else JudgeReader(judge)


def describe_readers(device: str = "cpu") -> str:
    """Say of every name whether it can answer here, a line each."""
    return "\n".join(f"{name}: {_described(name, device)}" for name in reader_names())


def predict_files(
    sources: Sequence[Path | str],
    out: Path,
    *,
    judge: str | None = None,
    every_s: float | None = None,
    device: str = "auto",
) -> Forecast:
    """Find the recogniser and who finds faces, then ``predict``.

    Raises:
        ValueError: the recogniser cannot be had here; and as ``find_reader`` and ``predict``.
    """
    chosen = str(resolve_device(device))
    trained = trained_checkpoints()
    name = judge or _default(trained)
    reader = find_reader(name, chosen)
    if isinstance(reader, Absent):
        raise ValueError(f"{reader.name} cannot answer here: {reader.reason}")
    forecast = predict(sources, reader, locator_at_hand(chosen), out, every_s=every_s)
    path = trained.get(name)
    if path is not None and _learned_from_drawings(Run(path.parent.parent)):
        forecast.notes.append(
            f"{reader.name} has learned from drawn faces alone, its answers about photographs mean "
            "little: name another by --judge"
        )
    return forecast


def predict(
    sources: Sequence[Path | str],
    reader: FaceReader,
    locator: FaceLocator,
    out: Path,
    *,
    every_s: float | None = None,
) -> Forecast:
    """Recognise the largest face of every picture and frame, and write what was seen.

    Writes ``predictions.csv``, a row per picture and frame and per file that could not be read,
    and an annotated file per photograph and clip. Both grow as pictures come: a long clip takes no
    more memory than a short one.

    Args:
        sources: photographs, folders, clips.
        reader: who answers.
        locator: who finds faces.
        out: a folder that is new or empty.
        every_s: of clips only the first frame of each period of so many seconds; None takes all.

    Raises:
        ValueError: ``out`` holds something already, or ``every_s`` is no positive number.
        OSError: ``out`` cannot be written.
    """
    pictures = pictures_of(sources, every_s=every_s)
    _make_folder(out)
    tallies: dict[str, _Tally] = {}
    with (
        (out / TABLE).open("w", encoding="utf-8", newline="") as table,
        AnnotatedFiles(out) as files,
    ):
        for batch in judge_pictures(reader, locator, pictures):
            _write(batch, reader, files, table)
            _count(batch.table, tallies)
    notes = [*files.faults, *(["clips are written without sound"] if files.clips else [])]
    judged = sum(tally.labels.total() for tally in tallies.values())
    lines = pd.DataFrame(list(map(_line, tallies, tallies.values())))
    return Forecast(reader.name, lines, judged, notes)


def _default(trained: Mapping[str, Path]) -> str:
    here = [name for name in _DEFAULTS if name in trained or not _is_absent(name)]
    drawn = {name: name in trained and _learned_from_drawings(Run(trained[name].parent.parent))
             for name in here}  # fmt: skip
    return next(iter(sorted(here, key=drawn.get)), _DEFAULTS[0])


def _is_absent(name: str) -> bool:
    return isinstance(find_judge(name), Absent)


def _learned_from_drawings(run: Run) -> bool:
    store = _store_of(run)
    return store is not None and store.card["source"].startswith("synthetic")


def _described(name: str, device: str) -> str:
    try:
        found = find_reader(name, device)
    except ValueError as error:  # a checkpoint that is damaged is no reason to hide the others
        return str(error)
    return found.reason if isinstance(found, Absent) else found.name


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        holds = next(out.iterdir(), None)
    except OSError as error:
        raise OSError(
            f"expected a folder to write into, {out} cannot be one: {error.strerror}; name another"
        ) from error
    if holds is not None:
        raise ValueError(f"expected a new or empty folder, {out} holds {holds.name}; name another")


def _write(batch: JudgedBatch, reader: FaceReader, files: AnnotatedFiles, table: TextIO) -> None:
    rows = batch.table.to_dict("records")
    names = []
    for picture, row in zip(batch.pictures, rows, strict=True):
        drawn = None
        if picture.image is not None:
            answer = _answer(reader, row)
            drawn = files.add(Path(picture.source_path), picture.time_s, picture.image, answer)
        names.append(drawn)
    whole = batch.table.assign(judge=reader.name, annotated=names)
    whole.to_csv(table, index=False, header=table.tell() == 0, float_format="%.6g")
    table.flush()


def _answer(reader: FaceReader, row: dict) -> Answer:
    box = (
        None if pd.isna(row["left"]) else tuple(row[s] for s in ("left", "top", "right", "bottom"))
    )
    if pd.isna(row["label"]):
        return Answer(reader.name, box=box, note=row["reason"])
    columns = probability_columns(reader.emotions)
    shares = {name: row[column] for name, column in zip(reader.emotions, columns, strict=True)}
    affect = {name: row[name] for name in ("valence", "arousal") if name in row}
    return Answer(reader.name, shares, box, affect)


def _count(table: pd.DataFrame, tallies: dict[str, _Tally]) -> None:
    for row in table.itertuples():
        tally = tallies.setdefault(row.source_path, _Tally())
        tally.is_clip |= not pd.isna(row.time_s)
        tally.frames += not pd.isna(row.time_s)
        if pd.isna(row.label):
            tally.reasons[row.reason] += 1
        else:
            tally.labels[row.label] += 1
            tally.share = getattr(row, f"p_{row.label}")


def _line(source: str, tally: _Tally) -> dict[str, str]:
    """One input in a line: a photograph's answer, a clip's most frequent one, or why not."""
    total = tally.labels.total()
    reasons = "; ".join(f"{why} ({n} times)" if n > 1 else why for why, n in tally.reasons.items())
    if not total:
        return {"file": source, "answer": "–", "detail": reasons}
    label, count = tally.labels.most_common(1)[0]
    if not tally.is_clip:
        return {"file": source, "answer": label, "detail": f"{tally.share:.0%}"}
    detail = f"{count / total:.0%} of {total} frames with a face, out of {tally.frames}"
    return {"file": source, "answer": label, "detail": "; ".join(filter(None, (detail, reasons)))}


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _landmark_scheme(checkpoint: Path) -> str:
    """The landmarks that a run's fusion learned from, as its store says; else those of the mesh."""
    store = _store_of(Run(checkpoint.parent.parent))
    return "ibug68" if store is None else store.card["landmark_scheme"]


def _store_of(run: Run) -> Store | None:
    """The store that a run read, where both are still here."""
    if not (run.path / "config.json").is_file():
        return None
    folder = paths.root() / run.config["inputs"].get("store", {}).get("path", "")
    return Store.open(folder) if is_store(folder) else None
