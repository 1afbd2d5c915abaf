"""The fusion's training as it is written down first: nothing cached, nothing mixed, for timing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.training.augment import mirror_images, mirror_landmarks, vary_images, vary_landmarks
from fer_lib.training.inference import Faces, landmarks_known, to_heatmaps
from fer_lib.training.supervised import TrainingSettings, losses, paper_optimiser


def plain_fusion_epoch(network: LandmarkFusion, train: Faces, settings: TrainingSettings) -> float:
    """Train a fusion with a frozen RGB branch for one epoch, computing everything in every step.

    The same work as ``fusion.fusion_epoch``, the same loss, optimiser and augmentation: crops come
    from a ``DataLoader``, become float images, are mirrored and varied and go through the RGB
    branch without a gradient; heat maps are drawn as a batch. Float32, in the memory format that
    networks are made in. Every step varies the RGB branch's images anew, where ``fusion_epoch``
    draws one of a few cached views.

    Args:
        network: the fusion; changed in place, moved to the settings' device.
        train: faces to learn from.
        settings: batch size, learning rate, augmentation, loss, device and seed.

    Returns:
        The mean loss.
    """
    network.to(settings.device, memory_format=torch.contiguous_format).train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = paper_optimiser(trained, settings.learning_rate)
    faces = TensorDataset(train.crops, train.landmarks_px, train.labels)
    size = min(settings.batch_size, len(train))
    loader = DataLoader(faces, size, shuffle=True, drop_last=True)
    total = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        for batch in loader:
            loss = _loss(network, *(field.to(settings.device) for field in batch), settings)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
    return total / len(loader)


def _loss(
    network: LandmarkFusion,
    crops: Tensor,
    landmarks_px: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
) -> Tensor:
    varied, side_px = settings.augmentation, crops.shape[1]
    flipped = torch.rand(len(crops), device=crops.device) < varied.flip_probability
    images = (crops.permute(0, 3, 1, 2).float() / 255).contiguous()
    images = vary_images(mirror_images(images, flipped), varied)
    points = vary_landmarks(mirror_landmarks(landmarks_px, flipped, side_px), side_px, varied)
    heatmaps = to_heatmaps(points, side_px, network.landmark.config["image_size"])
    known = landmarks_known(landmarks_px)
    output = network(images, heatmaps, known)
    own = losses(output.landmark_logits, labels, settings) * known
    fused = losses(output.logits, labels, settings).mean()
    return fused + own.sum() / known.sum().clamp(min=1)
