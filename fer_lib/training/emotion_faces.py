"""Faces that an emotion network learns from: who they are, what they show, how they feel."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.tables import SPLITS

_UNKNOWN = -1
_LEAST_PEOPLE, _LEAST_PAIRED = 4, 2


class EmotionFaces(NamedTuple):
    """Faces of N samples, and what is known of them; a batch is a smaller one of the same kind.

    Attributes:
        crops: (N, S, S, 3) uint8 RGB, the seed's tight frame.
        emotions: (N,) int64, −1 where unknown.
        affect: (N, 2) float32, valence and arousal in [−1, 1], NaN where unknown.
        people: (N,) int64, a number per person; −1 where unknown.
        scenes: (N,) int64, a number per group of faces that differ in expression alone and share
            light and background; a face without a group has a number of its own.
    """

    crops: Tensor
    emotions: Tensor
    affect: Tensor
    people: Tensor
    scenes: Tensor

    def take(self, places: Tensor | Sequence[int]) -> Self:
        """Give the faces at some places."""
        return type(self)(*(field[places] for field in self))


def load_emotion_faces(
    store: Store,
    split: str,
    image_size: int,
    *,
    people: Collection[str] | None = None,
    emotions: Sequence[str] | None = None,
) -> EmotionFaces:
    """Cut the faces of a split.

    Args:
        store: where from.
        split: which.
        image_size: side of the crop in pixels.
        people: only faces of these subjects; None takes everyone's.
        emotions: the classes, faces without one of them are left out; None takes every face and
            labels none.

    Returns:
        The faces; ``emotions`` are positions in the argument's.

    Raises:
        ValueError: there is no such face.
    """
    places = chosen_rows(store, split, people, emotions)
    if not len(places):
        raise ValueError(
            f"expected faces to learn from in the {split} split of {store.path.name}, got none; "
            "preprocess more samples"
        )
    rows = store.index.iloc[places]
    order = {name: number for number, name in enumerate(emotions or ())}
    labels = [order.get(name, _UNKNOWN) for name in rows["emotion"]]
    people_and_scenes = (rows["subject"], rows["pair"].fillna(rows["sample_id"]))
    return EmotionFaces(
        cut_tight_crops(store, places, image_size).faces,
        torch.tensor(labels),
        torch.as_tensor(rows[["valence", "arousal"]].to_numpy(np.float32)),
        *(torch.as_tensor(pd.factorize(names)[0].astype(np.int64)) for names in people_and_scenes),
    )


def chosen_rows(
    store: Store,
    split: str,
    people: Collection[str] | None = None,
    emotions: Sequence[str] | None = None,
) -> np.ndarray:
    """Give the row positions that ``load_emotion_faces`` cuts."""
    places = store.select(split=split, emotions=emotions)
    if people is None:
        return places
    return places[store.index["subject"].iloc[places].isin(list(people)).to_numpy(bool)]


def halve_people(store: Store, seed: int = 0) -> tuple[frozenset[str], frozenset[str]]:
    """Deal the people of the training and of the validation split out to two networks.

    Each split is halved on its own, and people with several faces are dealt first: both networks
    have people to learn from, and pairs to choose their best epoch by. Faces of unknown people go
    to neither: whose they are, nobody knows.

    Args:
        store: whose people.
        seed: of the draw.

    Returns:
        Two sets of subjects that share nobody.

    Raises:
        ValueError: there are too few; see ``dealing_fault``.
    """
    if fault := dealing_fault(store):
        raise ValueError(fault)
    first, second = set(), set()
    generator = np.random.default_rng(seed)
    for split in ("train", "val"):
        faces = _faces_per_person(store, split)
        dealt = sorted(generator.permutation(sorted(faces.index)), key=lambda name: faces[name] < 2)
        first.update(dealt[::2])
        second.update(dealt[1::2])
        # Of an odd number, one split's odd one goes here and the other's there.
        first, second = second, first
    return frozenset(first), frozenset(second)


def dealing_fault(store: Store) -> str:
    """Say in a sentence why nobody can be dealt out to two networks; empty where that can be."""
    for split in SPLITS:
        faces = _faces_per_person(store, split)
        paired = int((faces > 1).sum())
        if len(faces) < _LEAST_PEOPLE or paired < _LEAST_PAIRED:
            return (
                f"expected {_LEAST_PEOPLE} people in the {split} split of {store.path.name} to "
                f"teach two networks other people and test them, {_LEAST_PAIRED} of them with "
                f"several faces, got {len(faces)} and {paired}; take a store that knows its "
                "subjects, or a larger one"
            )
    return ""


def _faces_per_person(store: Store, split: str) -> pd.Series:
    return store.index["subject"].iloc[store.select(split=split)].value_counts()
