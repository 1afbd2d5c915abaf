"""What RGB branches say about faces they have not learned from: out-of-fold answers.

A frozen branch is nearly perfect on its own training faces. A head trained on what it says there
meets none of its errors and learns to trust it blindly (Wolpert, "Stacked generalization", 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.networks.landmark_fusion import build
from fer_lib.training.fusion import RgbViews, cache_rgb_views, train_rgb
from fer_lib.training.inference import Faces
from fer_lib.training.supervised import TrainingSettings

_SEED_STEP = 10_000


def subject_folds(faces: Faces, folds: int, seed: int = 0) -> Tensor:
    """Put every face into a fold, all faces of a person into the same one.

    People are dealt out at random, each to the fold with the fewest faces so far. Faces of unknown
    people count as a person each (repeats of a face stay together) and are dealt out class by
    class, so that the folds hold the same share of every emotion.

    Args:
        faces: their ``subjects``, ``samples`` and ``labels`` count.
        folds: how many, 2 or more.
        seed: of the order in which people are dealt out.

    Returns:
        (N,) int64 in 0 … folds − 1; none is empty.

    Raises:
        ValueError: there are fewer than two folds, or fewer people than folds.
    """
    people, first, person_of, sizes = _people(faces)
    if not 2 <= folds <= len(people):
        raise ValueError(
            f"expected between 2 folds and one per person ({len(people)}), got {folds}; "
            "set FOLDS in between"
        )
    order = np.random.default_rng(seed).permutation(len(people))
    known = faces.subjects.numpy()[first] >= 0
    classes = np.where(known, -1, faces.labels.numpy()[first])
    fold_of, filled = np.empty(len(people), dtype=np.int64), np.zeros(folds)
    for person in order[np.argsort(classes[order], kind="stable")]:
        fold_of[person] = filled.argmin()
        filled[fold_of[person]] += sizes[person]
    return torch.from_numpy(fold_of[person_of])


def _people(faces: Faces) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give people (P, 2), the first face of each, the person of each face, how many faces each."""
    subjects = faces.subjects.numpy()
    known = subjects >= 0
    names = np.stack([known, np.where(known, subjects, faces.samples.numpy())], axis=1)
    people, first, person_of, sizes = np.unique(
        names, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    return people, first, person_of.reshape(-1), sizes


def out_of_fold_views(
    config: Mapping[str, Any],
    train: Faces,
    val: Faces,
    settings: TrainingSettings,
    folds: int = 3,
    count: int = 2,
) -> tuple[RgbViews, pd.DataFrame]:
    """Train an RGB branch per fold on the other folds, and ask it about the fold it has not seen.

    Only the logits travel to the final RGB branch: classes mean the same to all networks, while
    the features of a network trained elsewhere are coordinates of another space, and a head over
    them would not transfer. Hence a fusion is trained with these views only if its head reads
    log-probabilities. At test time it reads those of the final branch, which has learned from all
    folds and is, if anything, a little better than what the head has been trained with.

    Args:
        config: of the RGB branch, as it carries it; every fold starts from fresh weights.
        train: the faces to learn from; folds are by subject.
        val: faces to choose each fold network's epoch by; other subjects.
        settings: how the RGB branches are trained.
        folds: how many networks; each learns from (folds − 1) / folds of the faces.
        count: number of views of each face, the first one plain.

    Returns:
        The views, and the histories of the trainings with a column ``fold``.
    """
    fold_of = subject_folds(train, folds, settings.seed)
    places: list[Tensor] = []
    parts: list[RgbViews] = []
    histories = []
    for fold in range(folds):
        network = _fresh(config, (settings.seed + 1) * _SEED_STEP + fold)
        held_out, seen = ((fold_of == fold).nonzero()[:, 0], (fold_of != fold).nonzero()[:, 0])
        history = train_rgb(network, train.take(seen), val, settings)
        histories.append(history.assign(fold=fold))
        parts.append(cache_rgb_views(network, train.crops[held_out], count, settings))
        places.append(held_out)
    back = torch.cat(places).argsort()
    logits = torch.cat([part.logits for part in parts], dim=1)[:, back]
    views = RgbViews(logits, logits.new_empty(*logits.shape[:2], 0), parts[0].mirrored)
    return views, pd.concat(histories, ignore_index=True)


def _fresh(config: Mapping[str, Any], seed: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(config)
