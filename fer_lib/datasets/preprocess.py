"""From a sample table to a store: read, locate, align, write.

Every failure becomes a row with its reason; nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.photographs import Failure, read_photographs
from fer_lib.datasets.store import OPTIONAL_ARRAYS, Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.faces.align import loose_crop_similarity
from fer_lib.faces.locate import FaceLocator, Location
from fer_lib.faces.mesh_points import mesh_to_ibug68
from fer_lib.faces.warp import to_uint8, transform_points, warp
from fer_lib.progress import track

LOOSE_ALIGNMENT = (
    "loose crop: least-squares similarity of both eyes and mouth centre into the frame "
    "(25, 35), (75, 35), (50, 75) of 100 enlarged 1.8 times about its centre; black outside"
)
_CHUNK = 32
_NO_MESH = "no mesh found: its landmarks are unknown"

Arrays = Mapping[str, np.ndarray]
Batch = tuple[pd.DataFrame, np.ndarray, np.ndarray, Arrays | None, Arrays | None]


@dataclass
class _Result:
    """What became of one sample; the defaults are those of a failure."""

    status: str
    reason: str | None
    location: Location | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def build_store(
    samples: pd.DataFrame,
    root: Path | str,
    path: Path | str,
    *,
    size: int,
    locator: FaceLocator,
    card: StoreCard,
    annotations: Annotations | None = None,
) -> Store:
    """Read, locate and align every sample and write the store.

    Samples whose status is not `ok` are not read; they keep their row and reason. The card's
    `landmark_scheme` says which landmarks the store holds: `ibug68` (picked from the mesh), `five`
    (those that align the face) or the scheme of the annotations. The mesh and its scores are kept
    whenever the locator looks for them.

    Args:
        samples: sample table; `source_path` is relative to `root`.
        root: folder of the source.
        path: folder of the store to be.
        size: side of the loose crop in pixels.
        locator: says where the faces are.
        card: source, licence, alignment, landmark scheme, lineage.
        annotations: the data set's own landmarks; where present they align the face.

    Returns:
        The store, opened.

    Raises:
        ValueError: neither the mesh nor the annotations give landmarks of the card's scheme.
    """
    aligner = _Aligner(size, card.landmark_scheme, annotations, locator.has_mesh)
    n_landmarks = aligner.shapes["landmarks"][0]
    with StoreWriter(path, n=len(samples), size=size, n_landmarks=n_landmarks, card=card) as writer:
        images = track(
            read_photographs(samples, Path(root)), "faces into the store", len(samples)
        )
        results: list[_Result] = []
        for row, image in enumerate(images):
            results.append(_place(image, row, locator, aligner))
            if len(results) == _CHUNK or row + 1 == len(samples):
                rows = samples.iloc[row + 1 - len(results) : row + 1]
                arrays = aligner.stack(results)
                faces, landmarks = arrays.pop("faces"), arrays.pop("landmarks")
                writer.write(_filled(rows, results), faces, landmarks, extras=arrays)
                results = []
    return Store.open(path)


def write_batches(
    batches: Iterable[Batch],
    path: Path | str,
    *,
    n: int,
    size: int,
    n_landmarks: int,
    card: StoreCard,
) -> Store:
    """Write ready-made batches, such as those of the synthetic data set, into a store.

    Args:
        batches: `(samples, faces, landmarks, params, extras)`, as `StoreWriter.write` takes them.
        path: folder of the store to be.
        n: number of rows in all batches together.
        size: side of the faces in pixels.
        n_landmarks: landmarks per face.
        card: source, licence, alignment, lineage.

    Returns:
        The store, opened.
    """
    with StoreWriter(path, n=n, size=size, n_landmarks=n_landmarks, card=card) as writer:
        for batch in batches:
            writer.write(*batch)
    return Store.open(path)


def failure_table(samples: pd.DataFrame) -> pd.DataFrame:
    """List the samples that have no face in the store, with their reason.

    Args:
        samples: sample table of a store.

    Returns:
        Columns sample_id, split, emotion, status, status_reason; sorted by status.
    """
    columns = ["sample_id", "split", "emotion", "status", "status_reason"]
    return samples.loc[samples["status"] != "ok", columns].sort_values(["status", "sample_id"])


class _Aligner:
    """Cuts located faces into loose crops, with every array that the store has of them."""

    def __init__(
        self, size: int, scheme: str, annotations: Annotations | None, has_mesh: bool
    ) -> None:
        self._size, self._scheme, self._annotations = size, scheme, annotations
        counts = {"five": 5}
        if has_mesh:
            counts["ibug68"] = 68
        if annotations is not None:
            counts[annotations.scheme] = annotations.landmarks.shape[1]
        if scheme not in counts:
            raise ValueError(f"expected landmarks out of {sorted(counts)}, got {scheme!r}")
        self.shapes = {"faces": (size, size, 3), "landmarks": (counts[scheme], 2)}
        self.shapes |= {
            name: shape for name, shape in OPTIONAL_ARRAYS.items() if name == "five" or has_mesh
        }

    def given(self, row: int) -> np.ndarray:
        """The data set's five points of a row `(5, 2)`, NaN where it has none."""
        if self._annotations is None:
            return np.full((5, 2), np.nan, dtype=np.float32)
        return self._annotations.five[row]

    def note(self, row: int) -> str | None:
        """What the data set's landmarks of a row have against them."""
        return None if self._annotations is None else self._annotations.notes[row]

    def arrays(self, image: np.ndarray, row: int, location: Location) -> dict[str, np.ndarray]:
        """Cut the face and move its points into the crop; empty where no crop fits them."""
        five = torch.from_numpy(location.five)[None]
        matrix, unusable = loose_crop_similarity(five, self._size)
        if bool(unusable):
            return {}
        face = to_uint8(warp(torch.from_numpy(image)[None], matrix, self._size))[0].numpy()
        arrays = {"faces": face, "five": _moved(location.five, matrix)}
        if location.mesh is not None:
            mesh = location.mesh.points.copy()
            mesh[:, :2] = _moved(mesh[:, :2], matrix)
            mesh[:, 2] *= float(matrix[0, :, 0].norm())
            arrays |= {"mesh": mesh, "arkit": location.mesh.scores}
        landmarks = self._landmarks(row, arrays, matrix)
        return arrays if landmarks is None else {**arrays, "landmarks": landmarks}

    def _landmarks(
        self, row: int, arrays: Mapping[str, np.ndarray], matrix: Tensor
    ) -> np.ndarray | None:
        if self._annotations is not None and self._scheme == self._annotations.scheme:
            return _moved(self._annotations.landmarks[row], matrix)
        if self._scheme == "five":
            return arrays["five"]
        return mesh_to_ibug68(arrays["mesh"]) if "mesh" in arrays else None

    def stack(self, results: Sequence[_Result]) -> dict[str, np.ndarray]:
        """Stack rows; what a row does not have is black or NaN."""
        stacked = {}
        for name, shape in self.shapes.items():
            kind, empty = (np.uint8, 0) if name == "faces" else (np.float32, np.nan)
            stacked[name] = np.full((len(results), *shape), empty, dtype=kind)
            for row, result in enumerate(results):
                if name in result.arrays:
                    stacked[name][row] = result.arrays[name]
        return stacked


def _place(
    image: np.ndarray | Failure, row: int, locator: FaceLocator, aligner: _Aligner
) -> _Result:
    if isinstance(image, Failure):
        return _Result(image.status, image.reason)
    location = locator.locate([image], [aligner.given(row)])[0]
    if location is None:
        return _Result("no_face", "neither mesh nor MTCNN found a face")
    arrays = aligner.arrays(image, row, location)
    if not arrays:
        return _Result("bad_landmarks", "eyes and mouth do not form a face", location)
    notes = [aligner.note(row), None if "landmarks" in arrays else _NO_MESH]
    return _Result("ok", "; ".join(filter(None, notes)) or None, location, arrays)


def _moved(points: np.ndarray, matrix: Tensor) -> np.ndarray:
    return transform_points(torch.from_numpy(points)[None], matrix)[0].numpy()


def _filled(rows: pd.DataFrame, results: Sequence[_Result]) -> pd.DataFrame:
    """Return the rows with box, landmark source, status and reason; a reader's note stays.

    A box of the data set's own stays too.
    """
    rows = rows.copy()
    rows["status"] = [result.status for result in results]
    rows["status_reason"] = [
        _joined(note, result)
        for note, result in zip(rows["status_reason"], results, strict=True)
    ]
    sides = ["box_left", "box_top", "box_right", "box_bottom"]
    boxes = [(r.location.box if r.location else None) or (np.nan,) * 4 for r in results]
    found = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    rows[sides] = rows[sides].fillna(pd.DataFrame(found, rows.index, sides))
    rows["landmark_source"] = [r.location.source if r.arrays else None for r in results]
    return rows


def _joined(note: str, result: _Result) -> str | None:
    """The reader's note, then what was found out; a failure's reason stands alone."""
    if result.reason is None or pd.isna(note) or result.status != "ok":
        return note if result.reason is None else result.reason
    return f"{note}; {result.reason}"
