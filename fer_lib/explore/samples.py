"""Which faces of a split to look at: by what they show and by who is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.explore.explanation import (
    RECOGNISERS,
    per_sample_affinity,
    read_sample,
)
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.plots.saliency import FaceExplanation
from fer_lib.tables import probability_columns, probability_emotions
from fer_lib.training.inference import Faces, predict

CHOICES = ("all faces", "fusion right", "fusion wrong", "branches disagree")
_BATCH = 64


def predicted_labels(
    network: LandmarkFusion, store: Store, positions: np.ndarray, emotions: Sequence[str]
) -> pd.DataFrame:
    """Recognise faces of a store, per sample.

    Args:
        network: the fused network; its device is used.
        store: where from.
        positions: rows of the store.
        emotions: class names in the order of the network's logits.

    Returns:
        One row per position, which is its index; columns ``rgb``, ``landmarks``, ``fusion``: the
        emotion that each holds most probable.
    """
    device = next(network.parameters()).device
    names = np.array(emotions)
    tables = []
    for start in range(0, len(positions), _BATCH):
        rows = positions[start : start + _BATCH]
        crops = cut_tight_crops(store, rows, network.rgb.config["image_size"])
        faces = Faces.of(crops.faces, crops.landmarks, torch.zeros(len(rows)), crops.valid)
        found = predict(network, faces, _BATCH, device, per_sample_affinity(network))
        columns = {
            name: names[found[key].argmax(axis=1)]
            for name, key in zip(RECOGNISERS, ("rgb", "landmark", "fusion"), strict=True)
        }
        tables.append(pd.DataFrame(columns, index=rows))
    return pd.concat(tables) if tables else pd.DataFrame(columns=list(RECOGNISERS))


def written_labels(predictions: pd.DataFrame, store: Store, positions: np.ndarray) -> pd.DataFrame:
    """Look up what notebook 02 has written about faces of a store.

    Args:
        predictions: a prediction table of one run; ``run`` is ``<run_id>:<recogniser>``.
        store: where the samples are from.
        positions: rows of the store.

    Returns:
        As of ``predicted_labels``; None where a face without a label was not predicted.

    Raises:
        ValueError: a recogniser or a labelled face is not in the table, or stands there twice.
    """
    chosen = predictions[predictions["protocol"] == "per-sample"]
    samples = store.index.iloc[positions]
    columns = {}
    for name in RECOGNISERS:
        rows = chosen[chosen["run"].str.endswith(f":{name}")].set_index("sample_id")
        expected = samples.loc[samples["emotion"].notna(), "sample_id"]
        absent = expected[~expected.isin(rows.index)]
        if rows.index.has_duplicates or len(absent):
            raise ValueError(
                f"expected one per-sample prediction of {name} per face, {len(absent)} of "
                f"{len(expected)} faces have none and {rows.index.duplicated().sum()} rows are "
                "repeated; pass the table of one run on this store"
            )
        answers = rows[probability_columns(probability_emotions(rows))].dropna()
        labels = answers.idxmax(axis=1).str.removeprefix("p_").astype(object)
        columns[name] = labels.reindex(samples["sample_id"]).to_numpy()
    return pd.DataFrame(columns, index=positions)


def fitting(labels: pd.DataFrame, true: pd.Series, choice: str) -> np.ndarray:
    """Say which faces fit a choice out of ``CHOICES``; a face without a label is no one's mistake.

    Args:
        labels: from ``predicted_labels`` or ``written_labels``.
        true: the emotions of the same faces, NA unknown.
        choice: which faces are wanted.

    Returns:
        (N,) bool.

    Raises:
        ValueError: there is no such choice.
    """
    right = labels["fusion"].to_numpy() == true.to_numpy(dtype=object, na_value=None)
    known = true.notna().to_numpy()
    if choice not in CHOICES:
        raise ValueError(f"expected a choice out of {CHOICES}, got {choice!r}")
    return {
        "all faces": np.ones(len(labels), dtype=bool),
        "fusion right": right & known,
        "fusion wrong": ~right & known,
        "branches disagree": (labels["rgb"] != labels["landmarks"]).to_numpy(),
    }[choice]


def right_and_wrong(
    network: LandmarkFusion,
    store: Store,
    emotions: Sequence[str],
    predictions: pd.DataFrame | None = None,
    *,
    split: str = "test",
    each: int = 3,
    seed: int = 0,
) -> dict[str, list[FaceExplanation]]:
    """Draw faces that the fusion recognises and faces that it does not, and explain them.

    They are drawn at random, first of different emotions.

    Args:
        network: the fused network.
        store: where from.
        emotions: class names in the order of the network's logits.
        predictions: what notebook 02 has written about the split; None recognises it anew.
        split: which.
        each: how many of either.
        seed: of the draw.

    Returns:
        ``fusion right (1 of 2 …)`` and ``fusion wrong (…)`` → explanations, for ``saliency_panel``.
    """
    positions = store.select(split=split)
    labels = split_labels(network, store, positions, emotions, predictions)
    true = store.index["emotion"].iloc[positions]
    groups = {}
    for choice in ("fusion right", "fusion wrong"):
        chosen = positions[fitting(labels, true, choice)]
        drawn = _draw(chosen, true, each, seed)
        title = f"{choice}: {len(drawn)} of {len(chosen):,} faces, drawn at random"
        readings = [read_sample(network, store, position, emotions) for position in drawn]
        groups[title] = [reading.explain() for reading in readings]
    return groups


def split_labels(
    network: LandmarkFusion,
    store: Store,
    positions: np.ndarray,
    emotions: Sequence[str],
    predictions: pd.DataFrame | None,
) -> pd.DataFrame:
    """Give the labels of faces from a table where there is one, else from the network."""
    if predictions is not None:
        return written_labels(predictions, store, positions)
    return predicted_labels(network, store, positions, emotions)


def _draw(positions: np.ndarray, true: pd.Series, count: int, seed: int) -> list[int]:
    shuffled = np.random.default_rng(seed).permutation(positions)
    turn = true.loc[shuffled].groupby(true.loc[shuffled]).cumcount().to_numpy()
    # The first face of every emotion comes before the second of any.
    return shuffled[np.argsort(turn, kind="stable")][:count].tolist()
