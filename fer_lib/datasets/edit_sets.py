"""An edit set on disk: what an editor made of the faces of a store, and what the editor had seen.

    edits.parquet    one row per edit (``edits.EDIT_SET_COLUMNS``); ``image`` names a picture
    pictures/        a store of the pictures, in the crop of their sources, faces located anew
    edit_set.json    the source store, the editor's lineage and hashes; written last

Without its last file a folder is no edit set, so one exists whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from fer_lib.assets import file_sha256
from fer_lib.datasets.edits import COPY_SOURCE, EDIT_SET_COLUMNS
from fer_lib.datasets.seen_faces import locate_faces
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard, StoreWriter
from fer_lib.faces.locate import FaceLocator
from fer_lib.tables import sample_table

BLURRED = "blurred source"
_BLUR = 0.012  # σ as a fraction of the side: the person is still known, the picture is poor
_CARD, _EDITS, _PICTURES = "edit_set.json", "edits.parquet", "pictures"


@dataclass(frozen=True)
class EditSet:
    """Edits, the pictures that show them, and what their editor had been in touch with.

    Attributes:
        edits: ``EDIT_SET_COLUMNS``; ``image`` is a sample of ``pictures`` or of the source store.
        pictures: the edited faces; None where every image is a sample of the source store.
        lineage: ``stores``, ``subjects``, ``networks`` of the editor; empty for trivial editors.
    """

    edits: pd.DataFrame
    pictures: Store | None = None
    lineage: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_edit_set(
    path: Path,
    edits: pd.DataFrame,
    images: np.ndarray,
    source: Store,
    locator: FaceLocator,
    lineage: Mapping[str, Sequence[str]] | None = None,
) -> EditSet:
    """Write what an editor made; faces are looked for in the edited pictures themselves.

    A picture in which nobody finds a face keeps its row as ``no_face`` and counts as a failure.

    Args:
        path: folder of the edit set; an older one there is replaced.
        edits: ``EDIT_SET_COLUMNS``, one row per picture, ``image`` unique.
        images: (N, S, S, 3) uint8 RGB in the order of ``edits``, in the crop of the source store.
        source: the store whose faces were edited.
        locator: finds the faces.
        lineage: of the editor; None for one that learned nothing.

    Returns:
        The edit set, as ``open_edit_set`` gives it.

    Raises:
        ValueError: columns are absent, or there is not one picture of the store's size per row.
    """
    _check(edits, images, source.size)
    path.mkdir(parents=True, exist_ok=True)
    (path / _CARD).unlink(missing_ok=True)
    pictures = _write_pictures(path / _PICTURES, edits, images, source, locator)
    edits[[*EDIT_SET_COLUMNS]].reset_index(drop=True).to_parquet(path / _EDITS)
    card = {
        "source_store": source.card["hash"],
        "pictures": pictures.card["hash"],
        "edits_sha256": file_sha256(path / _EDITS),
        "lineage": {name: sorted(values) for name, values in (lineage or {}).items()},
    }
    beside = path / f".{_CARD}"
    beside.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path / _CARD)
    return open_edit_set(path, source)


def open_edit_set(path: Path, source: Store) -> EditSet:
    """Open an edit set.

    Args:
        path: its folder.
        source: the store that it says it edited.

    Raises:
        ValueError: the folder is no edit set, was changed, or is about another store.
    """
    if not (path / _CARD).is_file():
        raise ValueError(f"expected an edit set at {path}, {_CARD} not found; name its folder")
    card = json.loads((path / _CARD).read_text(encoding="utf-8"))
    if card["source_store"] != source.card["hash"]:
        raise ValueError(
            f"the edit set at {path} is about another store than {source.path.name}; open the one "
            f"with hash {card['source_store'][:12]}"
        )
    pictures = Store.open(path / _PICTURES)
    found = (pictures.card["hash"], file_sha256(path / _EDITS))
    if found != (card["pictures"], card["edits_sha256"]):
        raise ValueError(f"the edit set at {path} was changed after it was written; write it again")
    return EditSet(pd.read_parquet(path / _EDITS), pictures, card["lineage"])


def blur_sources(edits: pd.DataFrame, store: Store) -> tuple[pd.DataFrame, np.ndarray]:
    """Make the edits of an editor that only blurs: a worse picture, and no edit at all.

    Args:
        edits: an edit set that has *copy source*.
        store: of the sources.

    Returns:
        Edits of ``BLURRED`` with names of their own, and (N, S, S, 3) uint8.
    """
    copies = edits[edits["editor"] == COPY_SOURCE].reset_index(drop=True)
    rows = pd.Index(store.index["sample_id"]).get_indexer(copies["source_id"])
    sigma = _BLUR * store.size
    blurred = [gaussian_filter(store.faces[row], (sigma, sigma, 0)) for row in rows]
    names = copies["source_id"] + ":" + copies["target_emotion"] + ":blurred"
    return copies.assign(editor=BLURRED, image=names), np.stack(blurred)


def _check(edits: pd.DataFrame, images: np.ndarray, size: int) -> None:
    absent = [name for name in EDIT_SET_COLUMNS if name not in edits]
    if absent or edits["image"].duplicated().any():
        raise ValueError(f"expected {EDIT_SET_COLUMNS} with one image per edit, lacks {absent}")
    if images.shape != (len(edits), size, size, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"expected {len(edits)} pictures ({size}, {size}, 3) uint8, got {images.shape} "
            f"{images.dtype}; keep the crop of the sources"
        )


def _write_pictures(
    path: Path, edits: pd.DataFrame, images: np.ndarray, source: Store, locator: FaceLocator
) -> Store:
    seen = locate_faces(images, locator)
    samples = sample_table({
        "sample_id": edits["image"], "split": "test", "subject": edits["subject"],
        "emotion": edits["target_emotion"], "landmark_source": seen.landmark_source,
        "status": np.where(seen.lost, "no_face", "ok"),
    })  # fmt: skip
    card = StoreCard(
        source=f"edits of {source.card['source']}", licence=source.card["licence"],
        alignment=source.card["alignment"], lineage={"source_store": source.card["hash"]},
        landmark_scheme="ibug68" if locator.has_mesh else "five",
    )  # fmt: skip
    sizes = {"n": len(edits), "size": source.size, "n_landmarks": seen.landmarks.shape[1]}
    with StoreWriter(path, **sizes, card=card) as writer:
        writer.write(samples, images, seen.landmarks, extras=seen.extras)
    return Store.open(path)
