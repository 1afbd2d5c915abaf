"""Notebook 02 on a store: which faces, which networks, trained how, and what they predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.config import FusionConfig, TrainConfig, resolve_device
from fer_lib.datasets.balance import inverse_frequency_weights, oversample_classes
from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.labels import EMOTIONS
from fer_lib.networks.arm import SharingAffinity
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion, Weighting
from fer_lib.tables import prediction_table, probability_columns
from fer_lib.training.inference import Faces, predict
from fer_lib.training.supervised import TrainingSettings

PER_SAMPLE, PAPER_PROTOCOL = "per-sample", "paper"
_PAPER_BATCH = 64
_LABEL_SMOOTHING = 0.1
_SEED_STEP = 1000


def trainable_emotions(store: Store) -> tuple[str, ...]:
    """Give the emotions that the training split has faces of, in canonical order.

    Raises:
        ValueError: there are fewer than two, so that there is nothing to tell apart.
    """
    present = set(store.index.loc[store.select(split="train"), "emotion"].dropna())
    emotions = tuple(name for name in EMOTIONS if name in present)
    if len(emotions) < 2:
        raise ValueError(
            f"expected at least two emotions in the training split of {store.path.name}, got "
            f"{list(emotions)}; preprocess more samples"
        )
    return emotions


def load_faces(
    store: Store,
    split: str,
    emotions: Sequence[str],
    image_size: int,
    balance: str = "none",
    seed: int = 0,
) -> Faces:
    """Cut the labelled faces of a split as the networks read them.

    Args:
        store: where from.
        split: which.
        emotions: the classes; faces of others are left out.
        image_size: side of the tight crop in pixels.
        balance: ``oversample`` repeats rare classes; anything else takes every face once.
        seed: of the oversampling.

    Returns:
        The faces; labels are positions in ``emotions``.

    Raises:
        ValueError: the split has no such face.
    """
    positions = store.select(split=split, emotions=emotions)
    if not len(positions):
        raise ValueError(f"expected faces in the {split} split of {store.path.name}, got none")
    names = store.index["emotion"].to_numpy()
    if balance == "oversample":
        positions = positions[oversample_classes(names[positions], seed)]
    labels = [list(emotions).index(name) for name in names[positions]]
    return _faces_at(store, positions, image_size, np.array(labels))


def make_rgb(nets: FusionConfig, classes: int, seed: int) -> RgbArm:
    """Make an untrained RGB network whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RgbArm(
            classes, image_size=nets.image_size, width=nets.trunk_width,
            stride=nets.trunk_stride, affinity=SharingAffinity(nets.sharing_affinity),
        )  # fmt: skip


def make_fusion(rgb: RgbArm, nets: FusionConfig, classes: int, seed: int) -> LandmarkFusion:
    """Put an untrained landmark network beside a trained RGB network, which is frozen.

    The head starts from the RGB network's own answers, so that landmarks can only add to them.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed + _SEED_STEP)
        landmark = LandmarkArm(
            classes, image_size=nets.heatmap_size, width=nets.landmark_width,
            affinity=SharingAffinity(nets.sharing_affinity),
        )  # fmt: skip
        fused = LandmarkFusion(rgb, landmark, Weighting(nets.weighting), nets.disagreement_weight)
    fused.warm_start()
    return fused


def training_settings(
    training: TrainConfig, epochs: int, learning_rate: float, labels: Tensor, classes: int
) -> TrainingSettings:
    """Turn the notebook's settings into those of one training.

    Args:
        training: batch size, balance, precision, seed, device.
        epochs: of this training.
        learning_rate: peak of its one-cycle schedule.
        labels: (N,) of the training faces, for the class weights.
        classes: how many.

    Returns:
        The settings.
    """
    weights = None
    if training.balance == "weights":
        weights = tuple(inverse_frequency_weights(labels.tolist(), range(classes)).tolist())
    return TrainingSettings(
        epochs=epochs,
        batch_size=training.batch_size,
        learning_rate=learning_rate,
        schedule="onecycle",
        label_smoothing=_LABEL_SMOOTHING,
        class_weights=weights,
        precision=training.precision,
        device=resolve_device(training.device),
        seed=training.seed,
    )


def predict_split(
    network: LandmarkFusion, store: Store, split: str, emotions: Sequence[str], run_id: str
) -> pd.DataFrame:
    """Predict every row of a split per sample, and by the published protocol beside it.

    Args:
        network: in evaluation mode; its device is used.
        store: where from.
        split: which.
        emotions: class names in the order of the network's logits.
        run_id: of the run that trained it.

    Returns:
        A prediction table; ``run`` is ``<run_id>:<recogniser>`` for ``rgb``, ``landmarks`` and
        ``fusion``; rows without a face have NaN probabilities. Protocol ``paper`` is the published
        one: file order, batches of 64 whose mean is added to each face; it is transductive.
    """
    rows = store.index[(store.index["split"] == split) & store.index["emotion"].notna()]
    usable = rows.index[rows["status"] == "ok"].to_numpy()
    faces = _faces_at(store, usable, network.rgb.config["image_size"], np.zeros(len(usable)))
    device = next(network.parameters()).device
    protocols = {
        PER_SAMPLE: SharingAffinity(network.rgb.config["affinity"]),
        PAPER_PROTOCOL: SharingAffinity.BATCH,
    }
    tables = [
        _as_rows(rows, usable, f"{run_id}:{name.replace('landmark', 'landmarks')}", protocol,
                 probabilities, emotions)
        for protocol, affinity in protocols.items()
        for name, probabilities in predict(
            network, faces, _PAPER_BATCH, device, affinity
        ).items()
    ]  # fmt: skip
    return prediction_table(pd.concat(tables), emotions)


def _faces_at(store: Store, positions: np.ndarray, image_size: int, labels: np.ndarray) -> Faces:
    crops = cut_tight_crops(store, positions, image_size)
    return Faces.of(crops.faces, crops.landmarks, labels, crops.valid)


def _as_rows(
    rows: pd.DataFrame,
    usable: np.ndarray,
    run: str,
    protocol: str,
    probabilities: np.ndarray,
    emotions: Sequence[str],
) -> pd.DataFrame:
    table = rows[["sample_id", "split", "emotion"]].assign(run=run, protocol=protocol)
    columns = probability_columns(emotions)
    answered = pd.DataFrame(probabilities, index=usable, columns=columns)
    return table.join(answered.reindex(rows.index))
