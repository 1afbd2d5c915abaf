"""Seed 001's recipe as plain functions: train the RGB branch, then the fusion on top of it.

Source: seed 001, sections 4.3 and 5.1, Eq. 3.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from fer_lib.networks.branches import BranchOutput, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion
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
from fer_lib.training.supervised import (
    TrainingSettings,
    fit_best,
    index_loader,
    label_accuracy,
    losses,
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


def train_fusion(
    network: LandmarkFusion,
    train: Faces,
    val: Faces,
    settings: TrainingSettings,
    rgb_views: int = 2,
) -> pd.DataFrame:
    """Train the landmark branch and the head on a frozen RGB branch; keep the best epoch.

    The frozen branch sees a few augmented views of each face once, before training, and every step
    draws one of the views. The loss is Eq. 3: the fused head's plus the landmark head's own.

    Args:
        network: the fusion; changed in place, except for its RGB branch.
        train: faces to learn from.
        val: faces to choose the epoch by; other subjects.
        settings: how.
        rgb_views: how many views of each face, the first one plain.

    Returns:
        The history of ``fit``, with ``train_accuracy``, ``train_landmark_accuracy`` (augmented
        faces), ``val_accuracy`` and ``val_landmark_accuracy``.
    """
    network.to(settings.device)
    views, flipped = cache_rgb_views(network.rgb, train.crops, rgb_views, settings)
    side_px = train.crops.shape[1]
    val_rgb = run_rgb(network.rgb, val.crops, settings.batch_size, settings.device)

    def pick(indices: list[int]) -> tuple[Tensor, ...]:
        chosen = torch.tensor(indices)
        view = torch.randint(len(flipped), chosen.shape)
        rgb = views.logits[view, chosen], views.feature[view, chosen]
        return *rgb, flipped[view], train.landmarks_px[chosen], train.labels[chosen]

    def step(batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        logits, feature, mirrored, landmarks_px, labels = batch
        joint = mirror_landmarks(landmarks_px, mirrored, side_px)
        moved = vary_landmarks(joint, side_px, settings.augmentation)
        heatmaps = to_heatmaps(moved, side_px, network.landmark.config["image_size"])
        known = landmarks_known(landmarks_px)
        output = network.fuse(BranchOutput(logits, feature), network.landmark(heatmaps), known)
        fused = losses(output.logits, labels, settings).mean()
        # A face without landmarks has nothing to teach the landmark branch.
        own = losses(output.landmark_logits, labels, settings) * known
        loss = fused + own.sum() / known.sum().clamp(min=1)
        return loss, {
            "train_accuracy": label_accuracy(output.logits, labels),
            "train_landmark_accuracy": label_accuracy(output.landmark_logits, labels),
        }

    def evaluate() -> dict[str, float]:
        output = run_fusion(network, val, settings.batch_size, settings.device, val_rgb)
        return {
            "val_accuracy": float(label_accuracy(output.logits, val.labels)),
            "val_landmark_accuracy": float(label_accuracy(output.landmark_logits, val.labels)),
        }

    loader = index_loader(train.labels, pick, settings)
    return fit_best(network, step, evaluate, loader, settings, "landmark branch and fusion")


def cache_rgb_views(
    network: RgbArm, crops: Tensor, count: int, settings: TrainingSettings
) -> tuple[BranchOutput, Tensor]:
    """Compute what a frozen RGB branch says about several views of each face.

    Views alternate between unmirrored and mirrored; all but the first are varied.

    Args:
        network: the branch, on the settings' device.
        crops: (N, S, S, 3) uint8.
        count: number of views V.
        settings: augmentation, device, batch size and seed.

    Returns:
        Logits (V, N, C) and features (V, N, D) on the CPU, and (V,) bool: which views are mirrored.
    """
    varied = settings.augmentation
    generator = torch.Generator(settings.device).manual_seed(settings.seed)
    flipped = torch.arange(count) % 2 == 1
    flipped &= varied.flip_probability > 0

    def view(number: int) -> BranchOutput:
        def change(images: Tensor) -> Tensor:
            mirrored = images.flip(-1) if flipped[number] else images
            return mirrored if number == 0 else vary_images(mirrored, varied, generator)

        return run_rgb(network, crops, settings.batch_size, settings.device, change)

    views = [view(number) for number in range(count)]
    stacked = BranchOutput(*(torch.stack(fields) for fields in zip(*views, strict=True)))
    return stacked, flipped
