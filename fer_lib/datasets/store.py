"""The store: a folder of aligned faces that every notebook can read.

    index.parquet   the sample table, one row per face
    faces.npy       (N, S, S, 3) uint8 RGB, the loose crop
    landmarks.npy   (N, K, 2) float32, crop pixels, NaN unknown
    five.npy        (N, 5, 2) float32, eyes, nose tip, mouth corners where the landmarks lack them
    mesh.npy        (N, 478, 3) float32, the mesh of photographs, crop pixels, NaN unknown
    arkit.npy       (N, 52) float32 in [0, 1], the mesh's expression scores
    params.npz      true face parameters where they are known
    card.json       where it comes from, what it holds, the hash of its contents

A store is written beside its place and renamed: it exists whole or not at all. A sample that failed
keeps its row with status and reason, a black face and NaN landmarks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fer_lib.datasets.store_hash import ContentHash
from fer_lib.faces.align import five_points
from fer_lib.tables import sample_table

_PARTS = ("index.parquet", "faces.npy", "landmarks.npy", "card.json")
OPTIONAL_ARRAYS = {"five": (5, 2), "mesh": (478, 3), "arkit": (52,)}
"""Arrays that a store may have beside faces and landmarks, float32, by name: shape of one row."""

_CHUNK_ROWS = 1024


class Store:
    """A finished store, opened for reading.

    Attributes:
        path: its folder.
        index: the sample table; row i belongs to face i.
        faces: `(N, S, S, 3)` uint8 RGB, memory-mapped, read-only.
        landmarks: `(N, K, 2)` float32 crop pixels, memory-mapped, read-only.
        card: the contents of card.json.
        extras: the optional arrays that this store has, by name, memory-mapped, read-only.
    """

    def __init__(
        self,
        path: Path,
        index: pd.DataFrame,
        faces: np.ndarray,
        landmarks: np.ndarray,
        card: dict[str, Any],
        extras: Mapping[str, np.ndarray],
    ) -> None:
        self.path = path
        self.index = index
        self.faces = faces
        self.landmarks = landmarks
        self.card = card
        self.extras = extras

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a store.

        Where a writer was killed between its two renames, the older store is opened from beside;
        the next writer puts it back.

        Args:
            path: its folder.

        Returns:
            The store; faces and landmarks stay on the disk until they are read.

        Raises:
            ValueError: the folder is no store, or its parts do not fit together.
        """
        path = _find(Path(path))
        absent = [name for name in _PARTS if not (path / name).is_file()]
        if absent:
            raise ValueError(
                f"expected a store at {path}, {', '.join(absent)} not found; write it with "
                "notebook 01_preprocess"
            )
        try:
            card = json.loads((path / "card.json").read_text(encoding="utf-8"))
            index = sample_table(pd.read_parquet(path / "index.parquet"))
            faces = np.load(path / "faces.npy", mmap_mode="r", allow_pickle=False)
            landmarks = np.load(path / "landmarks.npy", mmap_mode="r", allow_pickle=False)
            present = [name for name in OPTIONAL_ARRAYS if (path / f"{name}.npy").is_file()]
            extras = {
                name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in present
            }
        except (OSError, ValueError) as error:
            raise ValueError(f"the store at {path} is damaged: {error}") from error
        arrays = {"faces": faces, "landmarks": landmarks, **extras}
        short = [f"{name} {len(a)}" for name, a in arrays.items() if len(a) != len(index)]
        if short:
            raise ValueError(
                f"the store at {path} is damaged: {len(index)} rows but {', '.join(short)}; write "
                "it again"
            )
        return cls(path, index, faces, landmarks, card, extras)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> int:
        """Side of the faces in pixels."""
        return self.faces.shape[1]

    @cached_property
    def five(self) -> np.ndarray:
        """Eyes, nose tip and mouth corners `(N, 5, 2)` float32 in crop pixels, NaN unknown."""
        if "five" in self.extras:
            return self.extras["five"]
        return five_points(torch.from_numpy(np.array(self.landmarks))).numpy()

    @cached_property
    def params(self) -> dict[str, np.ndarray]:
        """True face parameters by name, `(N, ...)` each; empty where none are known."""
        path = self.path / "params.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def select(
        self,
        *,
        split: str | None = None,
        status: str | None = "ok",
        emotions: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Find rows.

        Args:
            split: only this split; None takes all.
            status: only this status; None takes all.
            emotions: only these emotions; None takes all, those without a label included.

        Returns:
            Row positions, ascending, int64.
        """
        chosen = np.ones(len(self), dtype=bool)
        if split is not None:
            chosen &= (self.index["split"] == split).fillna(False).to_numpy(bool)
        if status is not None:
            chosen &= (self.index["status"] == status).to_numpy(bool)
        if emotions is not None:
            chosen &= self.index["emotion"].isin(list(emotions)).to_numpy(bool)
        return np.flatnonzero(chosen)

    def verify(self) -> None:
        """Read everything again and compare it with the hash on the card.

        Raises:
            ValueError: the contents are not those that were written.
        """
        digest = ContentHash()
        for start in range(0, len(self), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            digest.add("faces", self.faces[rows])
            digest.add("landmarks", self.landmarks[rows])
            for name, values in self.extras.items():
                digest.add(name, values[rows])
            for name, values in self.params.items():
                digest.add(f"params.{name}", values[rows])
        found = digest.finish(self.index)
        if found != self.card.get("hash"):
            raise ValueError(
                f"the store at {self.path} was changed after it was written: its contents have the "
                f"hash {found[:12]}, its card says {str(self.card.get('hash'))[:12]}"
            )


def is_store(path: Path) -> bool:
    """Tell whether a folder has the parts of a store.

    Args:
        path: the folder; it need not exist.
    """
    return all((path / name).is_file() for name in _PARTS)


def folder_aside(path: Path) -> Path:
    """Give the folder where a writer keeps the older store while the new one takes its place.

    Args:
        path: folder of the store, links resolved.
    """
    return path.with_name(f".{path.name}.old")


def _find(path: Path) -> Path:
    """The store's folder, or the older one's if its writer was killed between two renames."""
    real = Path(os.path.realpath(path))
    return folder_aside(real) if not real.exists() and is_store(folder_aside(real)) else path


def count_samples(index: pd.DataFrame) -> dict[str, Any]:
    """Count a sample table for a card: by split and emotion (status ok), and by status.

    Args:
        index: sample table.

    Returns:
        `{"samples", "status": {name: n}, "classes": {split: {emotion: n}}}`; a missing split or
        emotion is counted under `unknown`.
    """
    usable = index[index["status"] == "ok"].fillna({"split": "unknown", "emotion": "unknown"})
    classes: Mapping[str, dict[str, int]] = {
        str(split): {str(k): int(v) for k, v in rows["emotion"].value_counts().sort_index().items()}
        for split, rows in usable.groupby("split")
    }
    statuses = index["status"].value_counts().sort_index()
    return {
        "samples": len(index),
        "status": {str(name): int(n) for name, n in statuses.items()},
        "classes": dict(classes),
    }
