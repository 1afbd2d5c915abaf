"""Notebook 02 on a store: which faces, which networks, trained how, and what they predict."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Mapping, Sequence

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
from fer_lib.networks.landmark_fusion import Head, LandmarkFusion, Weighting
from fer_lib.tables import PAPER_PROTOCOL, PER_SAMPLE, prediction_table, probability_columns
from fer_lib.training.emotion_faces import chosen_rows
from fer_lib.training.folds import out_of_fold_views
from fer_lib.training.fusion import RgbViews
from fer_lib.training.inference import Faces, landmarks_known, predict, run_fusion
from fer_lib.training.landmark_noise import with_landmark_noise
from fer_lib.training.supervised import TrainingSettings
from fer_lib.training.weighting import fuse_again

_PAPER_BATCH = 64
_LABEL_SMOOTHING = 0.1
_SEED_STEP = 1000
_SMALLEST_BATCH, _LEAST_STEPS = 8, 10


def trainable_emotions(store: Store, people: Collection[str] | None = None) -> tuple[str, ...]:
    """Give the emotions that the training split has faces of, in canonical order.

    Args:
        store: where from.
        people: only faces of these subjects; None takes everyone's.

    Raises:
        ValueError: there are fewer than two, so that there is nothing to tell apart.
    """
    present = set(store.index["emotion"].iloc[chosen_rows(store, "train", people)].dropna())
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
    landmark_noise_pct_iod: float = 0.0,
) -> Faces:
    """Cut the labelled faces of a split as the networks read them.

    Args:
        store: where from.
        split: which.
        emotions: the classes; faces of others are left out.
        image_size: side of the tight crop in pixels.
        balance: ``oversample`` repeats rare classes; anything else takes every face once.
        seed: of the oversampling and of the landmark noise.
        landmark_noise_pct_iod: of ``with_landmark_noise``; a repeated face errs alike each time.

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
    faces = _faces_at(store, positions, image_size, np.array(labels))
    return with_landmark_noise(faces, landmark_noise_pct_iod, seed)


def make_rgb(nets: FusionConfig, classes: int, seed: int) -> RgbArm:
    """Make an untrained RGB network whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RgbArm(
            classes, image_size=nets.image_size, width=nets.trunk_width,
            stride=nets.trunk_stride, affinity=SharingAffinity(nets.sharing_affinity),
        )  # fmt: skip


def make_fusion(rgb: RgbArm, nets: FusionConfig, classes: int, seed: int) -> LandmarkFusion:
    """Put an untrained landmark network beside an RGB network.

    A frozen RGB network is ``rgb`` itself; one that is fine-tuned starts as a copy of it, so that
    ``rgb`` stays what it was; ``scratch`` starts from fresh weights. Beside a trained RGB network
    the head starts from its answers, so that landmarks can only add to them.

    Args:
        rgb: the trained RGB network.
        nets: sizes, weighting, head, and how the RGB network goes on.
        classes: how many.
        seed: of the fresh weights.
    """
    if nets.rgb_training == "scratch":
        rgb = make_rgb(nets, classes, seed + 2 * _SEED_STEP)
    elif nets.rgb_training == "fine_tuned":
        rgb = copy.deepcopy(rgb)
    with torch.random.fork_rng():
        torch.manual_seed(seed + _SEED_STEP)
        landmark = LandmarkArm(
            classes, image_size=nets.heatmap_size, width=nets.landmark_width,
            affinity=SharingAffinity(nets.sharing_affinity),
        )  # fmt: skip
        fused = LandmarkFusion(
            rgb, landmark, Weighting(nets.weighting), nets.disagreement_weight,
            head=Head(nets.head), rgb_frozen=nets.rgb_training == "frozen",
        )  # fmt: skip
    if nets.rgb_training != "scratch":
        fused.warm_start()
    return fused


def training_views(
    fused: LandmarkFusion,
    train: Faces,
    val: Faces,
    nets: FusionConfig,
    rgb_settings: TrainingSettings,
) -> RgbViews | None:
    """Compute what the fused head learns from on the RGB side, where that takes more networks.

    Args:
        fused: the fusion to be trained.
        train: faces to learn from.
        val: faces to choose epochs by.
        nets: says whether and in how many folds.
        rgb_settings: how the RGB network was trained.

    Returns:
        Out-of-fold views for ``train_fusion``; None where it makes its views itself.
    """
    if nets.rgb_features == "in_sample":
        return None
    return out_of_fold_views(fused.rgb.config, train, val, rgb_settings, nets.folds)[0]


def training_settings(
    training: TrainConfig, epochs: int, learning_rate: float, labels: Tensor, classes: int
) -> TrainingSettings:
    """Turn the notebook's settings into those of one training.

    A small set is cut into smaller batches, so that an epoch has about ten steps: with fewer a
    schedule of a few epochs is over before anything was learned.

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
        batch_size=min(training.batch_size, max(_SMALLEST_BATCH, len(labels) // _LEAST_STEPS)),
        learning_rate=learning_rate,
        schedule="onecycle",
        label_smoothing=_LABEL_SMOOTHING,
        class_weights=weights,
        precision=training.precision,
        device=resolve_device(training.device),
        seed=training.seed,
    )


def predict_split(
    network: LandmarkFusion,
    store: Store,
    split: str,
    emotions: Sequence[str],
    run_id: str,
    landmark_noise_pct_iod: float = 0.0,
    seed: int = 0,
    protocols: Sequence[str] = (PER_SAMPLE, PAPER_PROTOCOL),
) -> pd.DataFrame:
    """Predict every row of a split per sample, and by the published protocol beside it.

    Args:
        network: in evaluation mode; its device is used.
        store: where from.
        split: which.
        emotions: class names in the order of the network's logits.
        run_id: of the run that trained it.
        landmark_noise_pct_iod: of ``with_landmark_noise``.
        seed: of the noise.
        protocols: by which.

    Returns:
        A prediction table; ``run`` is ``<run_id>:<recogniser>`` for ``rgb``, ``landmarks`` and
        ``fusion``; rows without a face have NaN probabilities. Protocol ``paper`` is the published
        one: file order, batches of 64 whose mean is added to each face; it is transductive.
    """
    rows, usable = _labelled_rows(store, split)
    faces = _unlabelled_faces(network, store, usable, landmark_noise_pct_iod, seed)
    device = next(network.parameters()).device
    affinities = {
        PER_SAMPLE: SharingAffinity(network.rgb.config["affinity"]),
        PAPER_PROTOCOL: SharingAffinity.BATCH,
    }
    tables = [
        _as_rows(rows, usable, f"{run_id}:{name.replace('landmark', 'landmarks')}", protocol,
                 probabilities, emotions)
        for protocol in protocols
        for name, probabilities in predict(
            network, faces, _PAPER_BATCH, device, affinities[protocol]
        ).items()
    ]  # fmt: skip
    return prediction_table(pd.concat(tables), emotions)


def predict_weightings(
    variants: Mapping[str, LandmarkFusion],
    store: Store,
    split: str,
    emotions: Sequence[str],
    run_id: str,
    landmark_noise_pct_iod: float = 0.0,
    seed: int = 0,
    blind: bool = False,
) -> pd.DataFrame:
    """Predict every row of a split per sample by fusions that share their branches.

    The branches run once; then every fusion weighs and joins what they said.

    Args:
        variants: by name, such as ``weighting_ablation`` returns them by mode.
        store: where from.
        split: which.
        emotions: class names in the order of the networks' logits.
        run_id: of the run that trained them.
        landmark_noise_pct_iod: of ``with_landmark_noise``.
        seed: of the noise.
        blind: whether all landmarks count as unknown, as for ``refit_rgb_head``.

    Returns:
        A prediction table, as of ``predict_split``; ``run`` is ``<run_id>:<name>``.
    """
    rows, usable = _labelled_rows(store, split)
    network = next(iter(variants.values()))
    faces = _unlabelled_faces(network, store, usable, landmark_noise_pct_iod, seed)
    device = next(network.parameters()).device
    output, known = run_fusion(network, faces, device=device), landmarks_known(faces.landmarks_px)
    known &= not blind
    tables = [
        _as_rows(rows, usable, f"{run_id}:{name}", PER_SAMPLE,
                 fuse_again(variant, output, known).logits.softmax(dim=1).numpy(), emotions)
        for name, variant in variants.items()
    ]  # fmt: skip
    return prediction_table(pd.concat(tables), emotions)


def _labelled_rows(store: Store, split: str) -> tuple[pd.DataFrame, np.ndarray]:
    rows = store.index[(store.index["split"] == split) & store.index["emotion"].notna()]
    return rows, rows.index[rows["status"] == "ok"].to_numpy()


def _unlabelled_faces(
    network: LandmarkFusion, store: Store, usable: np.ndarray, pct_iod: float, seed: int
) -> Faces:
    size, labels = network.rgb.config["image_size"], np.zeros(len(usable))
    return with_landmark_noise(_faces_at(store, usable, size, labels), pct_iod, seed)


def _faces_at(store: Store, positions: np.ndarray, image_size: int, labels: np.ndarray) -> Faces:
    crops = cut_tight_crops(store, positions, image_size)
    rows = store.index.iloc[positions]
    samples = np.array([_number_of(name) for name in rows["sample_id"]], dtype=np.int64)
    subjects, _ = pd.factorize(rows["subject"])
    return Faces.of(crops.faces, crops.landmarks, labels, crops.valid, samples, subjects)


def _number_of(sample_id: str) -> int:
    digest = hashlib.blake2b(sample_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


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
