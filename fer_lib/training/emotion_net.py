"""HSEmotion's recipe as plain functions: learn people, then emotions – head first, then all.

Source: Savchenko, CVPR Workshops 2022; the published training code's settings (Adam, label
smoothing 0.1, inverse-frequency class weights, 3 epochs of the head at 1e-3, 6 of all at 1e-4).
Its sharpness-aware optimiser is left out: it doubles every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from scipy.stats import mannwhitneyu
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.training.affect_loss import affect_loss, concordance
from fer_lib.training.augment import mirror_images, vary_images
from fer_lib.training.emotion_faces import EmotionFaces
from fer_lib.training.inference import to_images
from fer_lib.training.loop import BestState, Step, fit
from fer_lib.training.supervised import TrainingSettings, index_loader, label_accuracy, losses

MARGIN_LOSSES = {"cosface": CosFaceLoss, "arcface": ArcFaceLoss}
"""Softmax over people with a margin: 0.35 off the cosine, or 28.6° on the angle, as published.

Source: Wang et al., CosFace, CVPR 2018, Eq. 4; Deng et al., ArcFace, CVPR 2019, Eq. 3.
"""
_SCALE = 30.0
"""Of the cosines. CosFace's Eq. 6 asks for 13 to reach a probability of 0.9999 among 65 people."""
_RISE = 0.25


def train_identity(
    network: EmotionNet,
    train: EmotionFaces,
    val: EmotionFaces,
    settings: TrainingSettings,
    kind: str = "cosface",
) -> pd.DataFrame:
    """Teach a network's features to tell people apart; its head is not touched.

    Args:
        network: changed in place; left in the state that was best on the validation people.
        train: faces of known people.
        val: faces of other people, who are compared in pairs.
        settings: how; label smoothing and class weights do not apply.
        kind: ``cosface`` or ``arcface``.

    Returns:
        The history of ``fit``, with ``train_accuracy`` (varied faces, no margin) and
        ``val_auc`` of one person's pairs against two people's.

    Raises:
        ValueError: there are no two people, or the validation faces make no pairs.
    """
    people, numbers = train.people.unique(return_inverse=True)
    if (train.people < 0).any() or len(people) < 2:
        raise ValueError("expected faces of two known people or more; take a store with subjects")
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        margin = MARGIN_LOSSES[kind](len(people), network.classifier.in_features, scale=_SCALE)
    train, margin = train._replace(people=numbers), margin.to(settings.device)

    def step(faces: EmotionFaces) -> tuple[Tensor, dict[str, Tensor]]:
        features = network.feature(_varied(faces, settings)).float()
        # Angles between near neighbours are lost in half precision.
        with torch.autocast(features.device.type, enabled=False):
            logits = margin.get_logits(features.detach())
            accuracy = label_accuracy(logits, faces.people)
            return margin(features, faces.people), {"train_accuracy": accuracy}

    def evaluate() -> dict[str, float]:
        features = run_features(network, val.crops, settings.batch_size)
        return {"val_auc": verification_auc(features, val.people, val.scenes)}

    loader = index_loader(train.people, train.take, settings)
    best = BestState(network, evaluate, "val_auc")
    return _fit_best(network, [network, margin], step, best, loader, settings, "identity")


def train_head(
    network: EmotionNet, train: EmotionFaces, val: EmotionFaces, settings: TrainingSettings
) -> pd.DataFrame:
    """Teach the head emotions and leave all below it as it is, bit for bit.

    What lies below answers once for each face, unvaried and in evaluation mode; the head learns
    from these answers, so the stage costs one forward pass whatever its number of epochs.

    Args:
        network: changed in place, in its head alone; left in the state of its best epoch.
        train: labelled faces.
        val: labelled faces of other people.
        settings: how.

    Returns:
        The history of ``fit``, with ``train_accuracy`` and what ``emotion_scores`` gives.
    """
    network.to(settings.device, memory_format=torch.channels_last)
    seen, asked = (
        run_features(network, faces.crops, settings.batch_size) for faces in (train, val)
    )

    def pick(places: list[int]) -> tuple[Tensor, EmotionFaces]:
        return seen[places], train.take(places)

    def step(batch: tuple[Tensor, EmotionFaces]) -> tuple[Tensor, dict[str, Tensor]]:
        return emotion_loss(network, *batch, settings)

    loader = index_loader(train.emotions, pick, settings)
    best = BestState(network, lambda: emotion_scores(network, asked, val), "val_score")
    return _fit_best(network, [network.classifier], step, best, loader, settings, "emotion head")


def train_all(
    network: EmotionNet, train: EmotionFaces, val: EmotionFaces, settings: TrainingSettings
) -> pd.DataFrame:
    """Teach a whole network emotions, and valence and arousal where its head has them.

    Args:
        network: changed in place; left in the state of its best epoch.
        train: labelled faces.
        val: labelled faces of other people.
        settings: how.

    Returns:
        As of ``train_head``; the training accuracy is that of varied faces.
    """

    def step(faces: EmotionFaces) -> tuple[Tensor, dict[str, Tensor]]:
        return emotion_loss(network, network.feature(_varied(faces, settings)), faces, settings)

    def evaluate() -> dict[str, float]:
        features = run_features(network, val.crops, settings.batch_size)
        return emotion_scores(network, features, val)

    loader = index_loader(train.emotions, train.take, settings)
    best = BestState(network, evaluate, "val_score")
    return _fit_best(network, [network], step, best, loader, settings, "emotion network")


def emotion_loss(
    network: EmotionNet, features: Tensor, faces: EmotionFaces, settings: TrainingSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Give the weighted cross-entropy, and the loss of the affect where the head has it.

    Args:
        network: whose head answers.
        features: (B, D) of B faces.
        faces: the faces, labelled.
        settings: class weights and label smoothing.

    Returns:
        The loss and ``train_accuracy``.
    """
    logits, affect, _ = network.read(features)
    loss = losses(logits, faces.emotions, settings).mean()
    if affect is not None:
        loss = loss + affect_loss(affect, faces.affect)
    return loss, {"train_accuracy": label_accuracy(logits, faces.emotions)}


@torch.no_grad()
def emotion_scores(network: EmotionNet, features: Tensor, faces: EmotionFaces) -> dict[str, float]:
    """Score a head on validation faces.

    Args:
        network: whose head answers.
        features: (N, D) of the faces, on the CPU.
        faces: N labelled faces.

    Returns:
        ``val_accuracy``; ``val_recall``, the mean over the classes that occur, which no frequent
        class dominates; ``val_ccc_valence`` and ``val_ccc_arousal`` where the head has them and two
        faces know them; and ``val_score``, which chooses the epoch: the recall plus the mean CCC.
    """
    device = next(network.parameters()).device
    logits, affect, _ = network.read(features.to(device))
    right = (logits.argmax(dim=1).cpu() == faces.emotions).float()
    recalls = [right[faces.emotions == label].mean() for label in faces.emotions.unique()]
    scores = {
        "val_accuracy": float(right.mean()),
        "val_recall": float(torch.stack(recalls).mean()),
    }
    scores["val_score"] = scores["val_recall"]
    known = faces.affect.isfinite().all(dim=1)
    if affect is not None and known.sum() > 1:
        ccc = concordance(affect.cpu()[known], faces.affect[known])
        scores |= {"val_ccc_valence": float(ccc[0]), "val_ccc_arousal": float(ccc[1])}
        scores["val_score"] += float(ccc.mean())
    return scores


def verification_auc(features: Tensor, people: Tensor, scenes: Tensor) -> float:
    """Tell how well cosines separate pairs of one person from pairs of two.

    Args:
        features: (N, D).
        people: (N,) int64, negative where unknown; such faces do not count.
        scenes: (N,) int64; two faces of a person in one scene are alike by light and background,
            and are a pair only where nobody has faces in two scenes.

    Returns:
        Probability that a pair of one person is more alike than a pair of two, ties by half.

    Raises:
        ValueError: there is no pair of one of the kinds.
    """
    known = people >= 0
    faces, names, scenes = functional.normalize(features[known]), people[known], scenes[known]
    first, second = torch.triu_indices(len(names), len(names), 1)
    cosines, same = (faces @ faces.T)[first, second], names[first] == names[second]
    apart = same & (scenes[first] != scenes[second])
    if same.all() or not same.any():
        raise ValueError(
            "expected two faces of a person and faces of two people among the validation faces, "
            f"got {len(names)} faces of {len(names.unique())} people; preprocess more samples"
        )
    genuine, impostor = cosines[apart if apart.any() else same], cosines[~same]
    return float(mannwhitneyu(genuine, impostor).statistic / (len(genuine) * len(impostor)))


@torch.no_grad()
def run_features(network: EmotionNet, crops: Tensor, batch_size: int = 64) -> Tensor:
    """Give what a network sees in any number of faces, before its head, per sample.

    Args:
        network: set to evaluation mode; its device is used.
        crops: (N, S, S, 3) uint8 RGB.
        batch_size: faces at a time.

    Returns:
        (N, D) float32 on the CPU.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = [network.feature(to_images(part.to(device))).cpu() for part in crops.split(batch_size)]
    return torch.cat(parts)


def _varied(faces: EmotionFaces, settings: TrainingSettings) -> Tensor:
    images, varied = to_images(faces.crops), settings.augmentation
    flipped = torch.rand(len(images), device=images.device) < varied.flip_probability
    return vary_images(mirror_images(images, flipped), varied)


def _fit_best(
    network: EmotionNet,
    trained: Sequence[nn.Module],
    step: Step,
    best: BestState,
    loader: DataLoader,
    settings: TrainingSettings,
    description: str,
) -> pd.DataFrame:
    """Train some modules with Adam and one cycle of the rate; leave the network in its best state.

    ``fit`` sets only what is trained to training mode, so the statistics of a part that is left
    alone stay as they are.
    """
    network.to(settings.device, memory_format=torch.channels_last).eval()
    parameters = [one for module in trained for one in module.parameters()]
    optimiser = Adam(parameters, settings.learning_rate)
    total = max(settings.epochs * len(loader), 3)
    rise = max(_RISE, 2 / total)
    scheduler = OneCycleLR(
        optimiser, settings.learning_rate, total, pct_start=rise, cycle_momentum=False
    )
    history = fit(
        step, loader, trained, optimiser, settings.epochs,
        scheduler=scheduler, scheduler_every="step", device=settings.device,
        precision=settings.precision, seed=settings.seed, on_epoch=best, description=description,
    )  # fmt: skip
    best.restore()
    network.eval()
    return history
