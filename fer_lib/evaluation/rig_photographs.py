"""Editing photographs: pairs of one person as edits with a known result, and faces to look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.datasets.pairs import expression_pairs
from fer_lib.datasets.store import Store
from fer_lib.editing.rig_batches import shrink_pictures, to_pixels
from fer_lib.evaluation.rig_codes import CodeReader
from fer_lib.evaluation.rig_pairs import EditTask
from fer_lib.faces.params import FaceParams
from fer_lib.faces.warp import to_uint8, warp
from fer_lib.training.face_study import Faces

# Corners of the eyes and the bridge of the nose: what a smile leaves in place.
_STILL = [36, 39, 42, 45, 27, 28, 29, 30]


def pair_task(store: Store, reader: CodeReader, size: int) -> EditTask:
    """Take everybody's neutral photograph as source and the smiling one as true edit.

    Both photographs are read together and share β. The smiling one was another shot: it is moved,
    turned and scaled so that eyes and bridge lie where they are in the neutral one. What else
    differs (pose, hair, a shirt) no editor can know.

    Args:
        store: of pairs.
        reader: of codes.
        size: side of the editor's pictures in pixels.

    Returns:
        One edit per person.

    Raises:
        ValueError: a photograph has no landmarks.
    """
    neutral, smiling = expression_pairs(store)
    both = Faces.load(store, np.concatenate([neutral, smiling]))
    params = reader.photographs(both, together=True)
    count, rows = len(neutral), store.index
    pairs = pd.DataFrame({
        "source_id": rows["sample_id"].iloc[neutral].to_numpy(),
        "target_id": rows["sample_id"].iloc[smiling].to_numpy(),
        "source_emotion": "neutral", "target_emotion": "happiness",
        "subject": rows["subject"].iloc[neutral].to_numpy(),
    })  # fmt: skip
    task = EditTask.of(store, pairs, size, params[:count], params[count:])
    points = (torch.from_numpy(np.array(store.landmarks[at])) for at in (smiling, neutral))
    matrices = still_similarity(*points)
    if unknown := int((~matrices.isfinite()).flatten(1).any(1).sum()):
        raise ValueError(
            f"expected landmarks of every pair, got {unknown} without; make the store with the mesh"
        )
    moved = warp(both.crops[count:], matrices, store.size, border="border")
    return replace(task, true=_small(to_uint8(moved).numpy(), size))


def still_similarity(landmarks: Tensor, onto: Tensor) -> Tensor:
    """Find the similarities that bring what an expression leaves in place onto another picture's.

    Args:
        landmarks: (N,68,2) pixels.
        onto: (N,68,2) pixels of the other pictures.

    Returns:
        (N,2,3), least squares; NaN where a point is unknown.

    Source: Umeyama 1991; in the plane a similarity is a multiplication of complex numbers.
    """
    p, q = (torch.view_as_complex(part[:, _STILL].double().contiguous())
            for part in (landmarks, onto))  # fmt: skip
    from_mean, to_mean = p.mean(1, keepdim=True), q.mean(1, keepdim=True)
    p, q = p - from_mean, q - to_mean
    factor = (p.conj() * q).sum(1) / p.abs().square().sum(1)
    a, b = factor.real, factor.imag
    linear = torch.stack([a, -b, b, a], 1).unflatten(1, (2, 2))
    means = (torch.view_as_real(part[:, 0]) for part in (from_mean, to_mean))
    start, end = (part[..., None] for part in means)
    return torch.cat([linear, end - linear @ start], dim=2).float()


def some_photographs(
    store: Store, reader: CodeReader, size: int, count: int, split: str | None = "test"
) -> tuple[Tensor, FaceParams]:
    """Take some photographs of different people to look at.

    Args:
        store: of photographs.
        reader: of codes.
        size: side of the editor's pictures in pixels.
        count: how many at most, evenly over the split.
        split: whose; None takes all.

    Returns:
        (N,3,size,size) in [-1, 1], and their parameters.
    """
    rows = store.select(split=split)
    people = store.index["subject"].iloc[rows].fillna(store.index["sample_id"].iloc[rows])
    rows = rows[~people.duplicated().to_numpy()]
    rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
    faces = Faces.load(store, rows)
    return to_pixels(shrink_pictures(store.faces[rows], size)), reader.photographs(faces)


def _small(crops: np.ndarray, size: int) -> np.ndarray:
    return shrink_pictures(crops, size).permute(0, 2, 3, 1).contiguous().numpy()
