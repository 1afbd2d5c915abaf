"""The sources that notebook 01 knows, behind one door: settings in, a store out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_lib.config import PreprocessConfig, resolve_device
from fer_lib.datasets import facial_expressions
from fer_lib.datasets.preprocess import LOOSE_ALIGNMENT, build_store, write_batches
from fer_lib.datasets.splits import split_subjects
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.datasets.synthetic import SubjectFaces, SyntheticConfig, generate, subject_name
from fer_lib.faces.align import five_points
from fer_lib.faces.detect import FaceDetector
from fer_lib.progress import track

_CHECK_SIZE_PX = 224
_CHECK_SEED_OFFSET = 1_000_003


def write_source(config: PreprocessConfig, path: Path) -> Store:
    """Bring a source into a store.

    Args:
        config: which source, from where, at what size, split how.
        path: folder of the store to be.

    Returns:
        The store, opened.

    Raises:
        ValueError: the source's folder does not have the layout of the source.
    """
    return _WRITERS[config.source](config, path)


def check_detector(config: PreprocessConfig, faces: int) -> pd.DataFrame:
    """Let the detector look for synthetic faces whose landmarks are known.

    The faces are 224 px, one per subject with an emotion in turn, of subjects that no store holds.

    Args:
        config: seed, workers and device are used.
        faces: how many.

    Returns:
        One row per face: ``emotion``, ``found`` (bool) and ``error_pct_iod``, the mean distance of
        eyes, nose tip and mouth corners from the true ones in per cent of the true inter-ocular
        distance; NaN where no face was found.
    """
    drawn = SyntheticConfig(
        subjects=-(-faces // len(SyntheticConfig.emotions)),
        groups=1,
        size=_CHECK_SIZE_PX,
        seed=config.seed + _CHECK_SEED_OFFSET,
    )
    detector = FaceDetector(resolve_device(config.device))
    subjects = track(generate(drawn, config.workers), "faces to detect", drawn.subjects)
    table = pd.concat([_detected(subject, detector) for subject in subjects], ignore_index=True)
    return table.head(faces)


def _detected(subject: SubjectFaces, detector: FaceDetector) -> pd.DataFrame:
    true = five_points(torch.from_numpy(subject.landmarks)).numpy()
    found = detector.detect(list(subject.faces))
    errors = [
        np.nan if one is None else _error_pct_iod(one.points, points)
        for one, points in zip(found, true, strict=True)
    ]
    return pd.DataFrame(
        {
            "emotion": subject.samples["emotion"],
            "found": [one is not None for one in found],
            "error_pct_iod": errors,
        }
    )


def _error_pct_iod(points: np.ndarray, true: np.ndarray) -> float:
    interocular = np.linalg.norm(true[1] - true[0])
    return float(100 * np.linalg.norm(points - true, axis=1).mean() / interocular)


def _write_synthetic(config: PreprocessConfig, path: Path) -> Store:
    drawn = SyntheticConfig(
        subjects=config.subjects, groups=config.groups, size=config.size, seed=config.seed
    )
    names = [subject_name(number) for number in range(drawn.subjects)]
    split_of = split_subjects(names, _fractions(config), config.seed)
    card = StoreCard(
        source="synthetic: the embedded head of this project",
        licence="MIT; no person is shown",
        alignment="rendered into the loose crop, with pose and scale jitter; landmarks projected",
        lineage={"settings": {**asdict(drawn), "split_fractions": _fractions(config)}},
    )
    return write_batches(
        _with_splits(track(generate(drawn, config.workers), "subjects", drawn.subjects), split_of),
        path, n=drawn.faces, size=config.size, n_landmarks=68, card=card,
    )


def _with_splits(
    subjects: Iterator[SubjectFaces], split_of: dict[str, str]
) -> Iterator[SubjectFaces]:
    for subject in subjects:
        yield subject._replace(
            samples=subject.samples.assign(split=subject.samples["subject"].map(split_of))
        )


def _write_facial_expressions(config: PreprocessConfig, path: Path) -> Store:
    samples = facial_expressions.read_facial_expressions(
        config.root, _fractions(config), config.seed
    )
    card = StoreCard(
        source=facial_expressions.SOURCE,
        licence=facial_expressions.LICENCE,
        alignment=LOOSE_ALIGNMENT,
        lineage={"seed": config.seed, "split_fractions": _fractions(config), "detector": "MTCNN"},
    )
    return build_store(
        samples, config.root, path,
        size=config.size, detector=FaceDetector(resolve_device(config.device)), card=card,
    )


def _fractions(config: PreprocessConfig) -> tuple[float, float, float]:
    held_out = config.val_fraction + config.test_fraction
    return 1 - held_out, config.val_fraction, config.test_fraction


_WRITERS = {"synthetic": _write_synthetic, "facial_expressions": _write_facial_expressions}
