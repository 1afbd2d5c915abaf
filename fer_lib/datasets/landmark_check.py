"""How far the landmark finders are from points that are known."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from fer_lib.config import PreprocessConfig, resolve_device
from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.london import read_london_landmarks
from fer_lib.datasets.photographs import Failure, read_photographs
from fer_lib.datasets.rafdb_annotations import read_rafdb_landmarks
from fer_lib.datasets.sources import PHOTOGRAPHS, make_locator
from fer_lib.datasets.splits import DEFAULT_FRACTIONS
from fer_lib.datasets.synthetic import SyntheticConfig, generate
from fer_lib.faces.align import five_points
from fer_lib.faces.detect import FaceDetector
from fer_lib.faces.locate import FaceLocator
from fer_lib.progress import track

_CHECK_SIZE_PX = 224
_CHECK_SEED_OFFSET = 1_000_003
_KNOWN = {"london": read_london_landmarks, "rafdb": read_rafdb_landmarks}


class KnownFace(NamedTuple):
    """An image `(H, W, 3)` uint8, its emotion, and the five points that are known of it."""

    image: np.ndarray
    emotion: str
    five: np.ndarray


def check_landmarks(config: PreprocessConfig, faces: int) -> pd.DataFrame:
    """Measure the mesh and MTCNN on faces of a source whose points are known.

    Synthetic faces are drawn anew at 224 px, one per subject with an emotion in turn, of subjects
    that no store holds; photographs are those for which the data set has landmarks of its own.

    Args:
        config: source, root, landmarks, seed, workers and device are used.
        faces: at most how many.

    Returns:
        What `measure_landmarks` returns for the finders `mesh` (unless landmarks are `five`) and
        `mtcnn`; no rows for a source without known points.
    """
    finders = {"mtcnn": FaceLocator(FaceDetector(resolve_device(config.device)))}
    if config.landmarks != "five":
        finders = {**_mesh_finder(config), **finders}
    if config.source == "synthetic":
        known = draw_known_faces(faces, config.seed, config.workers, config.model)
    else:
        known = _annotated_faces(config, faces)
    return measure_landmarks(track(known, "faces to check", faces), finders)


def measure_landmarks(
    known: Iterator[KnownFace], finders: Mapping[str, FaceLocator]
) -> pd.DataFrame:
    """Let finders look for faces whose five points are known; nobody is told the points.

    Args:
        known: the faces; a NaN point is not compared.
        finders: who looks, by name.

    Returns:
        One row per image and finder: `finder`, `emotion`, `found` (bool) and `error_pct_iod`, the
        mean distance from the known points in per cent of their inter-ocular distance, NaN where
        no face was found.
    """
    rows = []
    for image, emotion, five in known:
        for name, finder in finders.items():
            location = finder.locate([image])[0]
            error = np.nan if location is None else error_pct_iod(location.five, five)
            rows.append((name, emotion, location is not None, error))
    return pd.DataFrame(rows, columns=["finder", "emotion", "found", "error_pct_iod"])


def error_pct_iod(points: np.ndarray, known: np.ndarray) -> float:
    """Mean distance of five points from the known ones, % of the known inter-ocular distance.

    Args:
        points: `(5, 2)` pixels.
        known: `(5, 2)` pixels, eyes first; a NaN point is left out, the eyes must be known.

    Returns:
        Per cent.
    """
    interocular = np.linalg.norm(known[1] - known[0])
    return float(100 * np.nanmean(np.linalg.norm(points - known, axis=1)) / interocular)


def _mesh_finder(config: PreprocessConfig) -> dict[str, FaceLocator]:
    try:
        return {"mesh": make_locator(config.landmarks, config.device)}
    except ValueError as error:
        # Drawn faces need no mesh; a first report without a network goes on without it.
        if config.source != "synthetic" or config.landmarks != "auto":
            raise
        warnings.warn(f"the mesh is not measured: {error}", stacklevel=3)
        return {}


def draw_known_faces(
    faces: int, seed: int, workers: int = 2, model: str = "embedded"
) -> Iterator[KnownFace]:
    """Draw synthetic faces at 224 px of subjects that no store holds.

    Args:
        faces: how many; one subject after another with all eight emotions.
        seed: of the faces.
        workers: processes that draw.
        model: whose heads, as in `SyntheticConfig`.

    Yields:
        The faces with their true points.
    """
    drawn = SyntheticConfig(
        subjects=-(-faces // len(SyntheticConfig.emotions)),
        groups=1,
        size=_CHECK_SIZE_PX,
        seed=seed + _CHECK_SEED_OFFSET,
        model=model,
    )
    left = faces
    for subject in generate(drawn, workers):
        five = five_points(torch.from_numpy(subject.landmarks)).numpy()
        each = zip(subject.faces, subject.samples["emotion"], five, strict=True)
        yield from (KnownFace(*one) for one, _ in zip(each, range(left), strict=False))
        left -= min(left, len(subject.faces))


def _annotated_faces(config: PreprocessConfig, faces: int) -> Iterator[KnownFace]:
    if config.source not in _KNOWN:
        return
    root = Path(config.root)
    samples = PHOTOGRAPHS[config.source].read(root, DEFAULT_FRACTIONS, config.seed)
    try:
        annotations: Annotations = _KNOWN[config.source](root, samples)
    # A re-pack without annotations has nothing to check against; the store's card says so.
    except ValueError:
        return
    usable = np.isfinite(annotations.five).all(axis=(1, 2)) & (samples["status"] == "ok")
    rows = np.flatnonzero(usable)[:faces]
    images = read_photographs(samples.iloc[rows], root)
    for row, image in zip(rows, images, strict=True):
        if not isinstance(image, Failure):
            yield KnownFace(image, str(samples["emotion"].iloc[row]), annotations.five[row])
