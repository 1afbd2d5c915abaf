"""The sources that notebook 01 knows, behind one door: settings in, a store out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lib import assets
from fer_lib.config import PreprocessConfig, resolve_device
from fer_lib.datasets import facial_expressions, london, rafdb, rafdb_annotations
from fer_lib.datasets.annotations import Annotations
from fer_lib.datasets.photographs import Failure, read_photographs
from fer_lib.datasets.preprocess import LOOSE_ALIGNMENT, build_store, write_batches
from fer_lib.datasets.seen_faces import as_seen
from fer_lib.datasets.splits import DEFAULT_FRACTIONS, split_subjects
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.datasets.synthetic import SubjectFaces, SyntheticConfig, generate, subject_name
from fer_lib.faces.detect import FaceDetector
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.mesh import FaceMesh
from fer_lib.progress import track

MESH_ASSET = "face_landmarker"
SYNTHETIC_HEADS = {
    "embedded": "the embedded head of this project",
    "ict": "heads of ICT-FaceKit (MIT), painted by this project",
}


@dataclass(frozen=True)
class PhotographSource:
    """A data set of photographs.

    Attributes:
        title: what it is, for the card.
        licence: what its owners allow.
        read: root, shares of train, val and test, and seed to sample table.
        read_landmarks: root and samples to the data set's own landmarks; None where there are none
            that could align every face alike.
    """

    title: str
    licence: str
    read: Callable[[Path, tuple[float, float, float], int], pd.DataFrame]
    read_landmarks: Callable[[Path, pd.DataFrame], Annotations] | None = None


def write_source(config: PreprocessConfig, path: Path) -> Store:
    """Bring a source into a store.

    Args:
        config: which source, from where, at what size, split how, with whose landmarks.
        path: folder of the store to be.

    Returns:
        The store, opened.

    Raises:
        ValueError: the source's folder does not have the layout of the source, or the landmarks
            asked for cannot be had.
    """
    if config.source == "synthetic":
        return _write_synthetic(config, path)
    source = PHOTOGRAPHS[config.source]
    samples = source.read(Path(config.root), _fractions(config), config.seed)
    annotations, reason = _own_landmarks(config, source, samples)
    scheme = _landmark_scheme(config, annotations)
    card = StoreCard(
        source=source.title,
        licence=source.licence,
        alignment=LOOSE_ALIGNMENT,
        landmark_scheme=scheme,
        lineage={
            "seed": config.seed,
            "split_fractions": _fractions(config),
            "located_by": "data set, mesh, MTCNN" if annotations else "mesh, MTCNN",
            "data_set_landmarks": reason,
        },
    )
    return build_store(
        samples, config.root, path,
        size=config.size, locator=make_locator(config.landmarks, config.device), card=card,
        annotations=annotations,
    )


def read_images(source: str, root: Path | str, n: int, seed: int) -> list[np.ndarray]:
    """Read photographs spread evenly over a source.

    Args:
        source: name in `PHOTOGRAPHS`.
        root: its folder.
        n: how many at most; files that cannot be read are left out.
        seed: of the split, which does not matter here.

    Returns:
        `(H, W, 3)` uint8 RGB each.
    """
    samples = PHOTOGRAPHS[source].read(Path(root), DEFAULT_FRACTIONS, seed)
    usable = np.flatnonzero(samples["status"] == "ok")
    rows = usable[np.unique(np.linspace(0, len(usable) - 1, n).round().astype(int))]
    images = read_photographs(samples.iloc[rows], Path(root))
    return [image for image in images if not isinstance(image, Failure)]


def make_locator(landmarks: str, device: str) -> FaceLocator:
    """Give who locates the faces of photographs: the mesh and MTCNN, or MTCNN alone for `five`.

    Args:
        landmarks: `five` goes without the mesh.
        device: where MTCNN runs.

    Raises:
        ValueError: the mesh's bundle cannot be had.
    """
    detector = FaceDetector(resolve_device(device))
    if landmarks == "five":
        return FaceLocator(detector)
    try:
        return FaceLocator(detector, FaceMesh(assets.get(MESH_ASSET)))
    except assets.AssetError as error:
        raise ValueError(f"{error}, or pass LANDMARKS=five to do without the mesh") from error


def locator_at_hand(device: str) -> FaceLocator:
    """Give who finds faces without a download: the mesh where its file is here, then MTCNN.

    Args:
        device: where MTCNN runs.
    """
    return make_locator("mesh" if assets.verify(MESH_ASSET) else "five", device)


def _own_landmarks(
    config: PreprocessConfig, source: PhotographSource, samples: pd.DataFrame
) -> tuple[Annotations | None, str]:
    """Give the data set's landmarks where they are wanted and exist, and what was decided."""
    if config.landmarks not in ("auto", "dataset"):
        return None, f"not used: LANDMARKS={config.landmarks}"
    if source.read_landmarks is None:
        if config.landmarks == "dataset":
            raise ValueError(
                f"LANDMARKS: expected mesh, five or auto, {config.source} has no landmarks that "
                "every face shares; pass one of these"
            )
        return None, "the data set has none that every face shares"
    try:
        annotations = source.read_landmarks(Path(config.root), samples)
    except ValueError as error:
        if config.landmarks == "dataset":
            raise
        return None, f"none: {error}"
    return annotations, f"{annotations.scheme}, used for every face that has them"


def _landmark_scheme(config: PreprocessConfig, annotations: Annotations | None) -> str:
    if config.landmarks == "five":
        return "five"
    return annotations.scheme if annotations is not None else "ibug68"


def _write_synthetic(config: PreprocessConfig, path: Path) -> Store:
    drawn = SyntheticConfig(
        subjects=config.subjects, groups=config.groups, size=config.size, seed=config.seed,
        model=config.model,
    )
    names = [subject_name(number, drawn.model) for number in range(drawn.subjects)]
    split_of = split_subjects(names, _fractions(config), config.seed)
    looked_at = config.landmarks in ("mesh", "five")
    faces = generate(drawn, config.workers, fine=config.landmarks == "mesh")
    subjects = _with_splits(track(faces, "subjects", drawn.subjects), split_of)
    if looked_at:
        locator = make_locator(config.landmarks, config.device)
        subjects = (as_seen(subject, locator) for subject in subjects)
    five = config.landmarks == "five"
    card = StoreCard(
        source=f"synthetic: {SYNTHETIC_HEADS[drawn.model]}",
        licence="MIT; no person is shown",
        alignment="rendered into the loose crop, with pose and scale jitter",
        landmark_scheme="five" if five else "ibug68",
        lineage={
            "settings": {**asdict(drawn), "split_fractions": _fractions(config)},
            "landmarks": f"seen by {config.landmarks}" if looked_at else "projected, exact",
        },
    )
    # The fine pictures, which come last, are not kept.
    batches = (subject[:5] for subject in subjects)
    return write_batches(
        batches, path, n=drawn.faces, size=config.size, n_landmarks=5 if five else 68, card=card
    )


def _with_splits(
    subjects: Iterator[SubjectFaces], split_of: dict[str, str]
) -> Iterator[SubjectFaces]:
    for subject in subjects:
        yield subject._replace(
            samples=subject.samples.assign(split=subject.samples["subject"].map(split_of))
        )


def _fractions(config: PreprocessConfig) -> tuple[float, float, float]:
    held_out = config.val_fraction + config.test_fraction
    return 1 - held_out, config.val_fraction, config.test_fraction


PHOTOGRAPHS = {
    "facial_expressions": PhotographSource(
        facial_expressions.SOURCE,
        facial_expressions.LICENCE,
        facial_expressions.read_facial_expressions,
    ),
    # The hand-set points of `london` exist for the neutral pictures alone: aligning by them would
    # tell the expression by the alignment. They measure the mesh instead (`landmark_check`).
    "london": PhotographSource(london.SOURCE, london.LICENCE, london.read_london),
    "rafdb": PhotographSource(
        rafdb.SOURCE,
        rafdb.LICENCE,
        # The data set has a test split of its own; only validation is ours.
        lambda root, fractions, seed: rafdb.read_rafdb(root, fractions[1], seed),
        rafdb_annotations.read_rafdb_landmarks,
    ),
}
"""The data sets of photographs by name."""
