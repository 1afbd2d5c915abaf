"""From a sample table to a store: read, detect, align, write.

Every failure becomes a row with its reason; nothing is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.faces.align import loose_crop_similarity
from fer_lib.faces.detect import Detection, FaceDetector
from fer_lib.faces.warp import to_uint8, transform_points, warp
from fer_lib.media.images import MediaError, read_image
from fer_lib.progress import track

LANDMARK_SOURCE = "mtcnn"
LOOSE_ALIGNMENT = (
    "loose crop: least-squares similarity of both eyes and mouth centre into the frame "
    "(25, 35), (75, 35), (50, 75) of 100 enlarged 1.8 times about its centre; black outside"
)
_CHUNK = 32
_READERS = 2

Batch = tuple[pd.DataFrame, np.ndarray, np.ndarray, Mapping[str, np.ndarray] | None]


@dataclass
class _Result:
    """What became of one sample; the defaults are those of a failure."""

    status: str
    reason: str | None
    detection: Detection | None = None
    face: np.ndarray | None = None
    landmarks: np.ndarray | None = None


def build_store(
    samples: pd.DataFrame,
    root: Path | str,
    path: Path | str,
    *,
    size: int,
    detector: FaceDetector,
    card: StoreCard,
) -> Store:
    """Read, detect and align every sample and write the store.

    Samples whose status is not `ok` are not read; they keep their row and reason. The landmarks are
    the detector's five points in the loose crop.

    Args:
        samples: sample table; `source_path` is relative to `root`.
        root: folder of the source.
        path: folder of the store to be.
        size: side of the loose crop in pixels.
        detector: the face detector.
        card: source, licence, alignment, lineage.

    Returns:
        The store, opened.
    """
    root = Path(root)
    with StoreWriter(path, n=len(samples), size=size, n_landmarks=5, card=card) as writer:
        images = track(_read_ahead(samples, root), "faces into the store", len(samples))
        for start in range(0, len(samples), _CHUNK):
            rows = samples.iloc[start : start + _CHUNK]
            read = [next(images) for _ in range(len(rows))]
            results = _find_and_align(read, size, detector)
            writer.write(_filled(rows, results), *_stacked(results, size))
        # Lets the progress bar close at its end.
        next(images, None)
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
        batches: `(samples, faces, landmarks, params)`: a sample table of n rows, `(n, S, S, 3)`
            uint8, `(n, K, 2)` float32 and arrays by name (or None).
        path: folder of the store to be.
        n: number of rows in all batches together.
        size: side of the faces in pixels.
        n_landmarks: landmarks per face.
        card: source, licence, alignment, lineage.

    Returns:
        The store, opened.
    """
    with StoreWriter(path, n=n, size=size, n_landmarks=n_landmarks, card=card) as writer:
        for samples, faces, landmarks, params in batches:
            writer.write(samples, faces, landmarks, params)
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


def _read_ahead(samples: pd.DataFrame, root: Path) -> Iterator[np.ndarray | _Result]:
    """Decode in threads, a chunk ahead of whoever iterates; images come in the table's order."""
    columns = zip(samples["status"], samples["status_reason"], samples["source_path"], strict=True)
    waiting: deque[Future[np.ndarray | _Result]] = deque()
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        try:
            for status, reason, source_path in columns:
                waiting.append(pool.submit(_read, status, reason, root, source_path))
                if len(waiting) > _CHUNK:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(status: str, reason: str, root: Path, source_path: str) -> np.ndarray | _Result:
    if status != "ok":
        return _Result(status, reason)
    if pd.isna(source_path):
        return _Result("missing", "the row names no file")
    path = root / source_path
    try:
        return read_image(path)
    except MediaError as error:
        return _Result("unreadable" if path.is_file() else "missing", str(error))


def _find_and_align(
    read: list[np.ndarray | _Result], size: int, detector: FaceDetector
) -> list[_Result]:
    images = [item for item in read if not isinstance(item, _Result)]
    found = iter(zip(images, detector.detect(images), strict=True))
    return [item if isinstance(item, _Result) else _align(*next(found), size=size) for item in read]


def _align(image: np.ndarray, detection: Detection | None, *, size: int) -> _Result:
    if detection is None:
        return _Result("no_face", "the detector found no face")
    points = torch.from_numpy(detection.points)[None]
    matrix, unusable = loose_crop_similarity(points, size)
    if bool(unusable):
        return _Result("bad_landmarks", "eyes and mouth do not form a face", detection)
    face = to_uint8(warp(torch.from_numpy(image)[None], matrix, size))
    landmarks = transform_points(points, matrix)
    return _Result("ok", None, detection, face[0].numpy(), landmarks[0].numpy())


def _stacked(results: list[_Result], size: int) -> tuple[np.ndarray, np.ndarray]:
    faces = np.zeros((len(results), size, size, 3), dtype=np.uint8)
    landmarks = np.full((len(results), 5, 2), np.nan, dtype=np.float32)
    for row, result in enumerate(results):
        if result.face is not None and result.landmarks is not None:
            faces[row], landmarks[row] = result.face, result.landmarks
    return faces, landmarks


def _filled(rows: pd.DataFrame, results: list[_Result]) -> pd.DataFrame:
    """Return the rows with box, landmark source, status and reason; a reader's note stays."""
    rows = rows.copy()
    rows["status"] = [result.status for result in results]
    rows["status_reason"] = [
        note if result.reason is None else result.reason
        for note, result in zip(rows["status_reason"], results, strict=True)
    ]
    boxes = [r.detection.box if r.detection else (np.nan,) * 4 for r in results]
    sides = ["box_left", "box_top", "box_right", "box_bottom"]
    rows[sides] = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    rows["landmark_source"] = [LANDMARK_SOURCE if r.face is not None else None for r in results]
    return rows
