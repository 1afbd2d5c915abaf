"""The two branches of seed 001: ResNet-18 + ARM on faces, and the landmark CNN + ARM on heat maps.

Source: Kanamori et al., seed 001, Table 1; Shi & Zhu 2021 for the RGB branch.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from fer_lib.networks.arm import AmendRepresentation, SharingAffinity, nearest_shuffle

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_STRIDES = (32, 16, 8)
_TABLE_1_KERNELS = (5, 3, 3, 3, 3, 4)
_TABLE_1_POOLED = (True, True, True, True, False, False)


class BranchOutput(NamedTuple):
    """What one branch says: ``logits`` (B, C) and the ARM ``feature`` (B, D) before its head."""

    logits: Tensor
    feature: Tensor


class RgbArm(nn.Module):
    """ResNet-18 and ARM on RGB faces; ``width=64, image_size=224`` is the published network.

    A width other than 64 scales all stages; the last one gets the nearest 2·r² channels. Parts are
    named as in torchvision's ResNet, so its weights and ARM's released ones load by a prefix map.

    Args:
        classes: number of emotions.
        image_size: side of the square input in px.
        width: channels of the first stage.
        stride: px per feature cell: 32 (published), 16 (no max-pool) or 8 (nor a strided stem).
            None takes the largest that leaves at least six cells a side, as 224 px has seven.
        affinity: what ARM shares between samples.
    """

    def __init__(
        self,
        classes: int,
        image_size: int = 224,
        width: int = 64,
        stride: int | None = None,
        affinity: SharingAffinity = SharingAffinity.RUNNING,
    ) -> None:
        super().__init__()
        stride = _default_stride(image_size) if stride is None else stride
        if stride not in _STRIDES:
            raise ValueError(f"expected a trunk stride out of {_STRIDES}, got {stride}")
        self.config = {
            "network": "rgb_arm", "classes": classes, "image_size": image_size, "width": width,
            "stride": stride, "affinity": str(affinity),
        }  # fmt: skip
        shuffle, cells = nearest_shuffle(8 * width), -(-image_size // stride)
        self.trunk = _resnet18_trunk(width, 2 * shuffle**2, stride)
        self.arm = AmendRepresentation(shuffle, (cells, cells), affinity)
        self.fc = nn.Linear(self.arm.feature_length, classes)
        # Not in the state dict: they are constants, and released checkpoints do not have them.
        self.register_buffer("mean", _per_channel(_IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", _per_channel(_IMAGENET_STD), persistent=False)

    def forward(self, images: Tensor) -> BranchOutput:
        """Recognise faces.

        Args:
            images: (B, 3, S, S) float RGB in [0, 1], S = ``image_size``.

        Returns:
            Logits (B, C) and feature (B, D).
        """
        _check_input(images, 3, self.config["image_size"])
        feature = self.arm(self.trunk((images - self.mean) / self.std))
        return BranchOutput(self.fc(feature), feature)


class LandmarkArm(nn.Module):
    """The landmark CNN of Table 1 and ARM; ``width=32, image_size=224`` is the published network.

    Each convolution is followed by batch norm and ReLU (Table 1 lists convolutions and pools only).

    Args:
        classes: number of emotions.
        image_size: side of the square heat map in px, at least 144 (nothing is padded).
        width: channels of the first convolution; they double up to 16·width, and the last one has
            the nearest 2·r².
        affinity: what ARM shares between samples.
    """

    def __init__(
        self,
        classes: int,
        image_size: int = 224,
        width: int = 32,
        affinity: SharingAffinity = SharingAffinity.RUNNING,
    ) -> None:
        super().__init__()
        self.config = {
            "network": "landmark_arm", "classes": classes, "image_size": image_size,
            "width": width, "affinity": str(affinity),
        }  # fmt: skip
        shuffle = nearest_shuffle(16 * width)
        channels = [*(width * 2**stage for stage in range(5)), 2 * shuffle**2]
        self.trunk = _table_1_trunk(channels)
        cells = _table_1_cells(image_size)
        self.arm = AmendRepresentation(shuffle, (cells, cells), affinity)
        self.fc = nn.Linear(self.arm.feature_length, classes)

    def forward(self, heatmaps: Tensor) -> BranchOutput:
        """Recognise landmark constellations.

        Args:
            heatmaps: (B, 1, S, S) float in [0, 1], S = ``image_size``.

        Returns:
            Logits (B, C) and feature (B, D).
        """
        _check_input(heatmaps, 1, self.config["image_size"])
        feature = self.arm(self.trunk(heatmaps))
        return BranchOutput(self.fc(feature), feature)


def _default_stride(image_size: int) -> int:
    return next((stride for stride in _STRIDES if image_size / stride >= 6), _STRIDES[-1])


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)


def _check_input(images: Tensor, channels: int, side: int) -> None:
    if images.shape[1:] != (channels, side, side):
        raise ValueError(
            f"expected images of shape (B, {channels}, {side}, {side}), got {tuple(images.shape)}; "
            "warp the faces to the network's own size"
        )


def _resnet18_trunk(width: int, last: int, stride: int) -> nn.Sequential:
    stem = nn.Conv2d(3, width, 7, stride=1 if stride == 8 else 2, padding=3, bias=False)
    parts = OrderedDict(conv1=stem, bn1=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True))
    if stride == 32:
        parts["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    widths = (width, width, 2 * width, 4 * width, last)
    for number in range(1, 5):
        inputs, outputs = widths[number - 1], widths[number]
        parts[f"layer{number}"] = _stage(inputs, outputs, stride=1 if number == 1 else 2)
    return _kaiming(nn.Sequential(parts))


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1:
        projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
    )


def _table_1_trunk(channels: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    stages = zip([1, *channels], channels, _TABLE_1_KERNELS, _TABLE_1_POOLED, strict=False)
    for inputs, outputs, kernel, pooled in stages:
        layers += [nn.Conv2d(inputs, outputs, kernel, bias=False), nn.BatchNorm2d(outputs)]
        # The largest of four commutes with ReLU, bit by bit, and leaves it a quarter of the work.
        layers += [nn.MaxPool2d(2)] if pooled else []
        layers += [nn.ReLU(inplace=True)]
    return _kaiming(nn.Sequential(*layers))


def _table_1_cells(image_size: int) -> int:
    side = image_size
    for kernel, pooled in zip(_TABLE_1_KERNELS, _TABLE_1_POOLED, strict=True):
        side = (side - kernel + 1) // (2 if pooled else 1)
    if side < 2:
        raise ValueError(f"expected heat maps of at least 144 px, got {image_size}")
    return side


def _kaiming(trunk: nn.Sequential) -> nn.Sequential:
    for part in trunk.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return trunk
