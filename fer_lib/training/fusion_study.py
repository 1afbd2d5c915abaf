"""What else could be done with the same two branches: rivals of the published fusion, and noise.

Every rival starts from the same trained RGB branch, seed and faces; only what its name says is
different. Source: seed 001 (the frozen branch is its central claim).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fer_lib.config import FusionConfig, TrainConfig
from fer_lib.datasets.store import Store
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.landmark_fusion import FusionOutput, LandmarkFusion
from fer_lib.tables import PER_SAMPLE, SPLITS
from fer_lib.training.fusion import train_fusion
from fer_lib.training.fusion_recipe import (
    load_faces,
    make_fusion,
    predict_split,
    training_settings,
    training_views,
)
from fer_lib.training.inference import Faces, landmarks_known
from fer_lib.training.weighting import choose_weight, sweep_disagreement_weight

RIVALS: Mapping[str, Mapping[str, str]] = {
    "log-probabilities": {"head": "log_probabilities"},
    "out of fold": {"head": "log_probabilities", "rgb_features": "out_of_fold"},
    "fine-tuned": {"rgb_training": "fine_tuned"},
    "from scratch": {"rgb_training": "scratch"},
}
"""Rivals by name, each as what it changes in the settings of the published fusion."""


def train_rival(
    name: str,
    rgb: RgbArm,
    store: Store,
    emotions: Sequence[str],
    nets: FusionConfig,
    training: TrainConfig,
) -> LandmarkFusion:
    """Train one rival of the published fusion.

    Args:
        name: one of ``RIVALS``; empty trains the fusion as the settings have it.
        rgb: the trained RGB branch; it stays as it is.
        store: where the faces come from.
        emotions: the classes.
        nets: settings of the published fusion.
        training: settings of its training, with the landmark noise.

    Returns:
        The trained fusion.
    """
    nets = replace(nets, **RIVALS[name]) if name else nets
    train, val = load_splits(store, emotions, nets, training, ("train", "val")).values()
    fused = make_fusion(rgb, nets, len(emotions), training.seed)
    rgb_settings, settings = (
        training_settings(training, epochs, rate, train.labels, len(emotions))
        for epochs, rate in (
            (training.rgb_epochs, training.rgb_learning_rate),
            (training.fusion_epochs, training.fusion_learning_rate),
        )
    )
    views = training_views(fused, train, val, nets, rgb_settings)
    train_fusion(fused, train, val, settings, views=views)
    return fused


def predict_as(
    network: LandmarkFusion,
    store: Store,
    split: str,
    emotions: Sequence[str],
    run_id: str,
    names: Mapping[str, str],
    training: TrainConfig,
) -> pd.DataFrame:
    """Predict a split per sample, under names that tell this fusion from others of the run.

    Args:
        network: the fusion.
        store: where from.
        split: which.
        emotions: class names in the order of the network's logits.
        run_id: of the run that trained it.
        names: what to keep of ``rgb``, ``landmarks`` and ``fusion``, and what to call it.
        training: landmark noise and seed are used.

    Returns:
        A prediction table.
    """
    table = predict_split(
        network, store, split, emotions, run_id, training.landmark_noise_pct_iod, training.seed,
        (PER_SAMPLE,),
    )  # fmt: skip
    renamed = {f"{run_id}:{old}": f"{run_id}:{new}" for old, new in names.items()}
    table = table[table["run"].isin(renamed)]
    return table.assign(run=table["run"].map(renamed)).reset_index(drop=True)


def run_variant(
    title: str,
    rival: str,
    rgb: RgbArm,
    store: Store,
    emotions: Sequence[str],
    nets: FusionConfig,
    training: TrainConfig,
    run_id: str,
) -> dict[str, pd.DataFrame]:
    """Train a variant of the fusion and predict with it.

    Args:
        title: what to call it.
        rival: as for ``train_rival``.
        rgb: the trained RGB branch.
        store: where the faces come from.
        emotions: the classes.
        nets: settings of the published fusion.
        training: settings of its training, with the landmark noise.
        run_id: of the run.

    Returns:
        Split (``val``, ``test``) → prediction table with the recognisers ``rgb``,
        ``landmarks, <title>`` and ``fusion, <title>``.
    """
    network = train_rival(rival, rgb, store, emotions, nets, training)
    names = {"rgb": "rgb", "landmarks": f"landmarks, {title}", "fusion": f"fusion, {title}"}
    return {
        split: predict_as(network, store, split, emotions, run_id, names, training)
        for split in ("val", "test")
    }


def load_splits(
    store: Store,
    emotions: Sequence[str],
    nets: FusionConfig,
    training: TrainConfig,
    splits: Sequence[str] = SPLITS,
) -> dict[str, Faces]:
    """Cut the labelled faces of splits, with the noise and balance of the settings.

    Args:
        store: where from.
        emotions: the classes.
        nets: the size of the crop is used.
        training: balance (of the training split), seed and landmark noise are used.
        splits: which.

    Returns:
        Split → faces, in that order.
    """
    return {
        split: load_faces(
            store, split, emotions, nets.image_size,
            training.balance if split == "train" else "none", training.seed,
            training.landmark_noise_pct_iod,
        )
        for split in splits
    }  # fmt: skip


def save_networks(
    rgb_path: Path,
    fusion_path: Path,
    rgb: RgbArm,
    fused: LandmarkFusion,
    emotions: Sequence[str],
    store: Store,
) -> None:
    """Save both networks with what they have seen: the store, its people, and each other.

    Args:
        rgb_path: where the RGB branch goes.
        fusion_path: where the fusion goes.
        rgb: the trained RGB branch.
        fused: the trained fusion.
        emotions: class names in the order of the logits.
        store: what they were trained and chosen on.
    """
    seen = store.index.loc[store.index["split"].isin(["train", "val"]), "subject"]
    weights = save_recogniser(rgb_path, rgb, emotions, Lineage.of(store.card["hash"], seen))
    lineage = Lineage.of(store.card["hash"], seen, networks=[weights])
    save_recogniser(fusion_path, fused, emotions, lineage)


def sweep_weight(
    fused: LandmarkFusion, faces: Mapping[str, Faces], outputs: Mapping[str, FusionOutput]
) -> tuple[pd.DataFrame, float]:
    """Sweep w on validation and test faces, and choose it on the validation faces.

    Args:
        fused: the trained fusion.
        faces: by split.
        outputs: of ``run_fusion``, by split.

    Returns:
        ``sweep_disagreement_weight`` with a column ``split``, and the chosen w.
    """
    tables = {
        split: sweep_disagreement_weight(
            fused, outputs[split], landmarks_known(faces[split].landmarks_px), faces[split].labels
        )
        for split in ("val", "test")
    }
    chosen = choose_weight(tables["val"])
    return pd.concat(tables, names=["split"]).reset_index("split"), chosen
