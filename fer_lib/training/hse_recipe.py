"""Notebook 04 on a store: an emotion judge from some people, an identity embedder from others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from fer_lib.config import HseTrainConfig, resolve_device
from fer_lib.datasets.balance import inverse_frequency_weights
from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.tables import PER_SAMPLE, prediction_table, probability_columns
from fer_lib.training.augment import Augmentation
from fer_lib.training.emotion_faces import EmotionFaces, chosen_rows, load_emotion_faces
from fer_lib.training.emotion_net import (
    run_features,
    train_all,
    train_head,
    train_identity,
)
from fer_lib.training.supervised import TrainingSettings

_LABEL_SMOOTHING = 0.1
_RAREST = 36.0
"""The published weights reach 35.84; three faces of a class would weigh a thousand."""
_SMALLEST_BATCH, _LEAST_STEPS = 16, 10


def make_emotion_net(
    config: HseTrainConfig, classes: int, *, affect: bool = False, seed: int = 0
) -> EmotionNet:
    """Make an untrained network whose weights depend on the seed alone.

    Args:
        config: backbone and size.
        classes: how many emotions.
        affect: whether it also gives valence and arousal.
        seed: of the weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return EmotionNet(config.backbone, classes, affect, config.image_size)


def knows_affect(store: Store, people: Collection[str] | None = None) -> bool:
    """Tell whether valence and arousal are known of any face that would be learned from."""
    rows = store.index.iloc[chosen_rows(store, "train", people)]
    return bool(rows[["valence", "arousal"]].notna().all(axis=1).any())


def pretrain_identity(
    network: EmotionNet,
    store: Store,
    config: HseTrainConfig,
    people: Collection[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Teach a network the people of a store; alone this makes an identity embedder.

    Args:
        network: changed in place.
        store: whose people; it need not know emotions.
        config: epochs, learning rate, margin.
        people: only these subjects; None takes everyone.
        seed: of the training.

    Returns:
        The history of ``train_identity`` with a column ``stage``.
    """
    train, val = (_with_people(store, split, config, people) for split in ("train", "val"))
    settings = _settings(
        config, config.identity_epochs, config.identity_learning_rate, len(train.people), seed
    )
    history = train_identity(network, train, val, settings, config.margin)
    return history.assign(stage="identity")


def train_emotions(
    network: EmotionNet,
    store: Store,
    config: HseTrainConfig,
    emotions: Sequence[str],
    people: Collection[str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Teach a network emotions, head first, then all.

    Args:
        network: changed in place.
        store: where from.
        config: epochs and learning rates.
        emotions: the classes, in the order of the network's logits.
        people: only these subjects; None takes every labelled face.
        seed: of the training.

    Returns:
        The histories of ``train_head`` and ``train_all``, epochs counted through, with a column
        ``stage``.
    """
    train, val = (
        load_emotion_faces(store, split, config.image_size, people=people, emotions=emotions)
        for split in ("train", "val")
    )
    weights = class_weights(train.emotions, len(emotions))
    histories = []
    for stage, run in (("head", train_head), ("all", train_all)):
        epochs, rate = (getattr(config, f"{stage}_{name}") for name in ("epochs", "learning_rate"))
        if epochs:
            settings = _settings(config, epochs, rate, len(train.people), seed, weights)
            histories.append(run(network, train, val, settings).assign(stage=stage))
    history = pd.concat(histories, ignore_index=True)
    return history.assign(epoch=range(len(history)))


def class_weights(labels: ArrayLike, classes: int) -> tuple[float, ...]:
    """Weigh classes by the inverse of their frequency, the rarest at most 36 times the commonest.

    Args:
        labels: (N,) integers of the training faces.
        classes: how many.

    Returns:
        One factor per class, 0 for one without a face; 1 on average over the faces.
    """
    counts = np.bincount(np.asarray(labels), minlength=classes)
    weights = inverse_frequency_weights(np.asarray(labels).tolist(), range(classes))
    weights = np.minimum(weights, _RAREST * weights[counts > 0].min())
    return tuple((weights * counts.sum() / (weights * counts).sum()).tolist())


def lineage_of(
    store: Store, people: Collection[str] | None = None, networks: Iterable[str] = ()
) -> Lineage:
    """Give the lineage of a network trained on a store: also who chose its epoch counts as seen.

    Args:
        store: where from.
        people: only these subjects; None takes everyone.
        networks: weight hashes of what it was made from, such as its identity pre-training.
    """
    rows = np.concatenate([chosen_rows(store, split, people) for split in ("train", "val")])
    return Lineage.of(store.card["hash"], store.index["subject"].iloc[rows], networks)


def predict_emotions(
    network: EmotionNet, store: Store, split: str, emotions: Sequence[str], run_id: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict every labelled row of a split, per sample.

    Args:
        network: in evaluation mode; its device is used.
        store: where from.
        split: which.
        emotions: class names in the order of the network's logits.
        run_id: of the run that trained it.

    Returns:
        A prediction table, whose ``run`` is ``<run_id>:hsemotion``; and a table of ``sample_id``,
        ``subject``, true ``valence`` and ``arousal``, and the answers ``predicted_valence`` and
        ``predicted_arousal`` clipped to [−1, 1]. Rows without a face have NaN for an answer, as has
        affect that the network does not know.
    """
    rows = store.index[(store.index["split"] == split) & store.index["emotion"].notna()]
    places = rows.index[rows["status"] == "ok"].to_numpy()
    crops = cut_tight_crops(store, places, network.config["image_size"]).faces
    features = run_features(network, crops).to(next(network.parameters()).device)
    with torch.no_grad():
        logits, affect, _ = network.read(features)
    columns = probability_columns(emotions)
    table = rows[["sample_id", "split", "emotion"]].assign(
        run=f"{run_id}:hsemotion", protocol=PER_SAMPLE
    )
    said = pd.DataFrame(logits.softmax(dim=1).cpu().numpy(), index=places, columns=columns)
    felt = pd.DataFrame(
        np.nan if affect is None else affect.clamp(-1, 1).cpu().numpy(),
        index=places, columns=["predicted_valence", "predicted_arousal"],
    )  # fmt: skip
    known = rows[["sample_id", "subject", "valence", "arousal"]]
    return (
        prediction_table(table.join(said.reindex(rows.index)), emotions),
        known.join(felt.reindex(rows.index)).reset_index(drop=True),
    )


def _with_people(
    store: Store, split: str, config: HseTrainConfig, people: Collection[str] | None
) -> EmotionFaces:
    faces = load_emotion_faces(store, split, config.image_size, people=people)
    return faces.take(faces.people >= 0)


def _settings(
    config: HseTrainConfig,
    epochs: int,
    learning_rate: float,
    faces: int,
    seed: int,
    weights: tuple[float, ...] | None = None,
) -> TrainingSettings:
    # A small set is cut into smaller batches, so that an epoch has about ten steps.
    size = min(config.batch_size, max(_SMALLEST_BATCH, faces // _LEAST_STEPS))
    return TrainingSettings(
        epochs=epochs,
        batch_size=size,
        learning_rate=learning_rate,
        label_smoothing=_LABEL_SMOOTHING,
        class_weights=weights,
        augmentation=Augmentation() if config.augment else Augmentation(*[0.0] * 7),
        precision=config.precision,
        device=resolve_device(config.device),
        seed=seed,
    )
