"""Seed 001's recipe as plain functions: train the RGB branch, then the fusion on top of it.

Source: seed 001, sections 4.3 and 5.1, Eq. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from fer_lib.networks.branches import BranchOutput, RgbArm
from fer_lib.networks.landmark_fusion import Head, LandmarkFusion
from fer_lib.training.augment import (
    mirror_images,
    mirror_landmarks,
    vary_images,
    vary_landmarks,
)
from fer_lib.training.inference import (
    Faces,
    landmarks_known,
    run_fusion,
    run_rgb,
    to_heatmaps,
    to_images,
)
from fer_lib.training.loop import fit
from fer_lib.training.supervised import (
    TrainingSettings,
    fit_best,
    index_loader,
    label_accuracy,
    losses,
    paper_optimiser,
)


def train_rgb(
    network: RgbArm, train: Faces, val: Faces, settings: TrainingSettings
) -> pd.DataFrame:
    """Train the RGB branch and leave it in the state that was best on the validation faces.

    Args:
        network: the branch; changed in place and moved to the settings' device.
        train: faces to learn from.
        val: faces to choose the epoch by; other subjects.
        settings: how.

    Returns:
        The history of ``fit``, with ``train_accuracy`` (augmented faces) and ``val_accuracy``.
    """
    varied = settings.augmentation

    def step(faces: Faces) -> tuple[Tensor, dict[str, Tensor]]:
        images = to_images(faces.crops)
        flipped = torch.rand(len(faces), device=images.device) < varied.flip_probability
        logits = network(vary_images(mirror_images(images, flipped), varied)).logits
        loss = losses(logits, faces.labels, settings).mean()
        return loss, {"train_accuracy": label_accuracy(logits, faces.labels)}

    def evaluate() -> dict[str, float]:
        logits = run_rgb(network, val.crops, settings.batch_size, settings.device).logits
        return {"val_accuracy": float(label_accuracy(logits, val.labels))}

    loader = index_loader(train.labels, train.take, settings)
    return fit_best(network, step, evaluate, loader, settings, "RGB branch")


class RgbViews(NamedTuple):
    """What an RGB branch says about several views of each face.

    ``logits`` (V, N, C) and ``features`` (V, N, D) are on the CPU, ``mirrored`` (V,) bool tells
    which views are. D is 0 where the logits come from several networks (out of fold).
    """

    logits: Tensor
    features: Tensor
    mirrored: Tensor


class FusionBatch(NamedTuple):
    """Faces of one step: what the RGB branch says of them (``rgb``), or, to be run, ``crops``."""

    rgb: BranchOutput | None
    crops: Tensor | None
    mirrored: Tensor
    landmarks_px: Tensor
    labels: Tensor


def train_fusion(
    network: LandmarkFusion,
    train: Faces,
    val: Faces,
    settings: TrainingSettings,
    rgb_views: int = 2,
    views: RgbViews | None = None,
) -> pd.DataFrame:
    """Train the landmark branch and the head beside an RGB branch; keep the best epoch.

    A frozen RGB branch (published) sees a few augmented views of each face once, before training,
    and every step draws one of them; the loss is Eq. 3, the fused head's plus the landmark head's
    own. An RGB branch that learns sees freshly varied faces in every step, mirrored together with
    their landmarks, and its own head's loss is added: only so do the labels mean something that
    w compares with the landmark branch's, as the fused loss never reaches that head.

    Args:
        network: the fusion; changed in place, except for a frozen RGB branch.
        train: faces to learn from.
        val: faces to choose the epoch by; other subjects.
        settings: how.
        rgb_views: how many views of each face, the first one plain.
        views: ready-made views of the training faces, such as ``folds.out_of_fold_views``;
            by default the frozen branch's own, computed here.

    Returns:
        The history of ``fit``, with ``train_accuracy``, ``train_landmark_accuracy`` (augmented
        faces), ``val_accuracy``, ``val_landmark_accuracy`` and ``val_rgb_accuracy``.

    Raises:
        ValueError: the views do not fit the faces or the head, or the RGB branch is not frozen.
    """
    network.to(settings.device, memory_format=torch.channels_last)
    val_rgb = None
    if network.rgb_frozen:
        if views is None:
            views = cache_rgb_views(network.rgb, train.crops, rgb_views, settings)
        val_rgb = run_rgb(network.rgb, val.crops, settings.batch_size, settings.device)
    _check_views(network, train, views)

    def evaluate() -> dict[str, float]:
        output = run_fusion(network, val, settings.batch_size, settings.device, val_rgb)
        return {
            "val_accuracy": float(label_accuracy(output.logits, val.labels)),
            "val_landmark_accuracy": float(label_accuracy(output.landmark_logits, val.labels)),
            "val_rgb_accuracy": float(label_accuracy(output.rgb_logits, val.labels)),
        }

    step = fusion_step(network, train.crops.shape[1], settings)
    loader = index_loader(train.labels, _picker(train, views, settings), settings)
    return fit_best(network, step, evaluate, loader, settings, "landmark branch and fusion")


def fusion_epoch(
    network: LandmarkFusion, train: Faces, views: RgbViews, settings: TrainingSettings
) -> float:
    """Train a fusion with a frozen RGB branch for one epoch on views that are there already.

    This is ``train_fusion`` between caching and validation, for timing; computing the views costs
    as many forward passes of the RGB branch as there are views, once per training.

    Args:
        network: the fusion, on the settings' device; changed in place.
        train: faces to learn from.
        views: of the training faces.
        settings: how; the optimiser starts afresh at the full learning rate.

    Returns:
        The mean loss.
    """
    _check_views(network, train, views)
    network.to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    history = fit(
        fusion_step(network, train.crops.shape[1], settings),
        index_loader(train.labels, _picker(train, views, settings), settings),
        [network],
        paper_optimiser(trained, settings.learning_rate),
        epochs=1,
        device=settings.device,
        precision=settings.precision,
        seed=settings.seed,
    )
    return float(history["loss"].iloc[0])


def fusion_step(
    network: LandmarkFusion, side_px: int, settings: TrainingSettings
) -> Callable[[FusionBatch], tuple[Tensor, dict[str, Tensor]]]:
    """Make the step of the fusion: from a batch to the loss and the accuracies.

    Args:
        network: the fusion.
        side_px: side of the tight crops.
        settings: augmentation and loss.

    Returns:
        A step function for ``fit``.
    """

    def step(batch: FusionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        labels = batch.labels
        joint = mirror_landmarks(batch.landmarks_px, batch.mirrored, side_px)
        moved = vary_landmarks(joint, side_px, settings.augmentation)
        heatmaps = to_heatmaps(moved, side_px, network.landmark.config["image_size"])
        known = landmarks_known(batch.landmarks_px)
        rgb = batch.rgb
        if rgb is None:
            images = mirror_images(to_images(batch.crops), batch.mirrored)
            rgb = network.rgb(vary_images(images, settings.augmentation))
        output = network.fuse(rgb, network.landmark(heatmaps), known)
        loss = losses(output.logits, labels, settings).mean()
        # A face without landmarks has nothing to teach the landmark branch.
        own = losses(output.landmark_logits, labels, settings) * known
        loss = loss + own.sum() / known.sum().clamp(min=1)
        if not network.rgb_frozen:
            loss = loss + losses(output.rgb_logits, labels, settings).mean()
        return loss, {
            "train_accuracy": label_accuracy(output.logits, labels),
            "train_landmark_accuracy": label_accuracy(output.landmark_logits, labels),
        }

    return step


def _picker(
    train: Faces, views: RgbViews | None, settings: TrainingSettings
) -> Callable[[list[int]], FusionBatch]:
    def pick(indices: list[int]) -> FusionBatch:
        chosen = torch.tensor(indices)
        if views is None:
            mirrored = torch.rand(len(chosen)) < settings.augmentation.flip_probability
            rgb, crops = None, train.crops[chosen]
        else:
            view = torch.randint(len(views.mirrored), chosen.shape)
            mirrored = views.mirrored[view]
            rgb = BranchOutput(views.logits[view, chosen], views.features[view, chosen])
            crops = None
        return FusionBatch(rgb, crops, mirrored, train.landmarks_px[chosen], train.labels[chosen])

    return pick


def _check_views(network: LandmarkFusion, train: Faces, views: RgbViews | None) -> None:
    if not network.rgb_frozen:
        if views is not None:
            raise ValueError("expected no cached views for an RGB branch that learns; drop them")
        return
    if views.logits.shape[1] != len(train):
        raise ValueError(
            f"expected views of {len(train)} faces, got {views.logits.shape[1]}; "
            "compute them from the same faces"
        )
    if network.head is Head.FEATURES and views.features.shape[2] != network.rgb_length:
        raise ValueError(
            f"expected {network.rgb_length} features of the fusion's own RGB branch, got "
            f"{views.features.shape[2]}; out-of-fold views need head='log_probabilities'"
        )


def cache_rgb_views(
    network: RgbArm, crops: Tensor, count: int, settings: TrainingSettings
) -> RgbViews:
    """Compute what a frozen RGB branch says about several views of each face.

    Views alternate between unmirrored and mirrored; all but the first are varied.

    Args:
        network: the branch, on the settings' device.
        crops: (N, S, S, 3) uint8.
        count: number of views V.
        settings: augmentation, device, batch size and seed.

    Returns:
        The views.
    """
    varied = settings.augmentation
    generator = torch.Generator(settings.device).manual_seed(settings.seed)
    mirrored = torch.arange(count) % 2 == 1
    mirrored &= varied.flip_probability > 0

    def view(number: int) -> BranchOutput:
        def change(images: Tensor) -> Tensor:
            turned = images.flip(-1) if mirrored[number] else images
            return turned if number == 0 else vary_images(turned, varied, generator)

        return run_rgb(network, crops, settings.batch_size, settings.device, change)

    views = [view(number) for number in range(count)]
    logits, features = (torch.stack(fields) for fields in zip(*views, strict=True))
    return RgbViews(logits, features, mirrored)
