"""HSEmotion's network: an EfficientNet on face crops, one head for emotions and affect.

Source: Savchenko, Facial expression and attributes recognition based on multi-task learning of
lightweight neural networks, SISY 2021. Parts are those of timm, so its weights and the published
ones fit after a change of prefix.
"""

from __future__ import annotations

from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn

BACKBONES = {
    "b0": "tf_efficientnet_b0.ns_jft_in1k",
    "b2": "tf_efficientnet_b2.ns_jft_in1k",
    "tiny": "tinynet_e",
}
"""Our names of the backbones and timm's; timm up to 0.8 wrote ``tf_efficientnet_b0_ns``.

``tiny`` is B0 at about half the width and depth (Han et al., "Model Rubik's Cube", NeurIPS 2020).
"""
FEATURES = {"b0": 1280, "b2": 1408, "tiny": 1280}
"""Length of the feature before the head."""
IMAGE_SIZES = {"b0": 224, "b2": 260, "tiny": 106}
"""Side in px that the published weights were trained with."""
_COUNTS, _SIDES = range(1, 1001), range(16, 1025)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class EmotionOutput(NamedTuple):
    """What the network says.

    ``logits`` (B, C); ``valence_arousal`` (B, 2), not bounded, or None without such a head;
    ``feature`` (B, F) before the head.
    """

    logits: Tensor
    valence_arousal: Tensor | None
    feature: Tensor


class EmotionNet(nn.Module):
    """An EfficientNet and one linear head; nothing is downloaded, the weights are random.

    Args:
        backbone: ``b0``, ``b2`` or ``tiny``.
        classes: number of emotions.
        affect: whether the head also gives valence and arousal, behind the emotions.
        image_size: side of the square input in px; None takes the published one.

    Raises:
        ValueError: the backbone is unknown, or the numbers are none of such a network.
    """

    def __init__(
        self,
        backbone: str = "b0",
        classes: int = 8,
        affect: bool = False,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"expected a backbone out of {sorted(BACKBONES)}, got {backbone!r}")
        side = IMAGE_SIZES[backbone] if image_size is None else image_size
        # A checkpoint names them: what it asks for must not exhaust the memory.
        if classes not in _COUNTS or side not in _SIDES:
            raise ValueError(
                f"expected {_COUNTS[0]} to {_COUNTS[-1]} classes and a side of {_SIDES[0]} to "
                f"{_SIDES[-1]} px, got {classes!r:.20} and {side!r:.20}"
            )
        self.config = {
            "network": "emotion_net", "backbone": backbone, "classes": classes, "affect": affect,
            "image_size": side,
        }  # fmt: skip
        self.trunk = timm.create_model(BACKBONES[backbone], pretrained=False, num_classes=0)
        self.classifier = nn.Linear(FEATURES[backbone], classes + 2 * affect)
        # Not in the state dict: they are constants, and published files do not have them.
        self.register_buffer("mean", _per_channel(_IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _per_channel(_IMAGENET_STD), persistent=False)

    def forward(self, images: Tensor) -> EmotionOutput:
        """Recognise faces.

        Args:
            images: (B, 3, S, S) float RGB in [0, 1], S = ``image_size``.

        Returns:
            Logits (B, C), valence and arousal (B, 2) or None, feature (B, F).

        Raises:
            ValueError: the images have another shape.
        """
        return self.read(self.feature(images))

    def feature(self, images: Tensor) -> Tensor:
        """Give the (B, F) features of (B, 3, S, S) float RGB images in [0, 1]."""
        self.check(images)
        return self.trunk(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """Bring RGB images in [0, 1] to what the trunk expects."""
        return (images - self.mean) / self.std

    def read(self, feature: Tensor) -> EmotionOutput:
        """Apply the head to (B, F) features."""
        scores = self.classifier(feature)
        classes = self.config["classes"]
        affect = scores[:, classes:] if self.config["affect"] else None
        return EmotionOutput(scores[:, :classes], affect, feature)

    def check(self, images: Tensor) -> None:
        """Refuse images that are not (B, 3, S, S) with S = ``image_size`` and B at least 1."""
        side = self.config["image_size"]
        if images.shape[1:] != (3, side, side) or not len(images):
            raise ValueError(f"expected images (B, 3, {side}, {side}), got {tuple(images.shape)}")


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)
