"""EmoNet: facial landmarks, expression, valence and arousal from one network.

Written anew after the published layout, so that the published files fit by name. The files
themselves are CC BY-NC-ND and are never part of this project.

Source: Toisoul, Kossaifi, Bulat, Tzimiropoulos, Pantic 2021, "Estimation of continuous valence and
arousal levels from faces in naturalistic conditions", Nature Machine Intelligence 3, Figure 1; its
landmark part is FAN (Bulat and Tzimiropoulos 2017, section 3).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from fer_lib.faces.warp import resize_points
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import is_part_of_a_network, read_torch_pickle, state_dict_of

IMAGE_SIZE = 256
CLASS_COUNTS = (5, 8)
_MAP_SIZE, _LANDMARKS, _WIDTH, _DEPTH = 64, 68, 256, 4
_HEAD = "emo_fc_2.3.bias"
# Counts batches in training alone; files of older torch do not have it.
_MAY_LACK = ("num_batches_tracked",)


class EmoNetOutput(NamedTuple):
    """What EmoNet says of B faces.

    Attributes:
        heatmaps: (B, 68, 64, 64), one per landmark.
        logits: (B, C) of the expressions.
        valence: (B,), not clipped.
        arousal: (B,), not clipped.
    """

    heatmaps: Tensor
    logits: Tensor
    valence: Tensor
    arousal: Tensor


class EmoNet(nn.Module):
    """The network; 13,963,410 parameters with 8 expressions.

    Args:
        classes: number of expressions.
    """

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        self.classes = classes
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = _Block(64, 128), _Block(128, 128), _Block(128, _WIDTH)
        for stack in range(2):
            self.add_module(f"m{stack}", _Hourglass())
            self.add_module(f"top_m_{stack}", _Block(_WIDTH, _WIDTH))
            self.add_module(f"conv_last{stack}", nn.Conv2d(_WIDTH, _WIDTH, 1))
            self.add_module(f"bn_end{stack}", nn.BatchNorm2d(_WIDTH))
            self.add_module(f"l{stack}", nn.Conv2d(_WIDTH, _LANDMARKS, 1))
        self.bl0, self.al0 = nn.Conv2d(_WIDTH, _WIDTH, 1), nn.Conv2d(_LANDMARKS, _WIDTH, 1)
        self.conv1x1_input_emo_2 = nn.Conv2d(3 * _WIDTH, _WIDTH, 1)
        halvings = [(_Block(_WIDTH, _WIDTH), nn.MaxPool2d(2)) for _ in range(4)]
        self.emo_net_2 = nn.Sequential(*(part for halving in halvings for part in halving))
        self.emo_fc_2 = nn.Sequential(
            nn.Linear(_WIDTH, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, classes + 2)
        )

    def forward(self, images: Tensor) -> EmoNetOutput:
        """Answer for faces cut by EmoNet's crop.

        Args:
            images: (B, 3, 256, 256) float RGB in [0, 1].

        Returns:
            Landmark maps, logits, valence and arousal.

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"expected images (B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}), got {tuple(images.shape)}"
            )
        stem = relu(self.bn1(self.conv1(images)))
        stem = self.conv4(self.conv3(max_pool2d(self.conv2(stem), 2)))
        feature, heatmaps = self._stack(0, stem)
        # Of the first stack it is the mapped feature that counts, here as in the head.
        feature = self.bl0(feature)
        last, heatmaps = self._stack(1, stem + feature + self.al0(heatmaps))
        attended = torch.cat((feature, last), dim=1) * heatmaps.sum(dim=1, keepdim=True)
        pooled = self.emo_net_2(self.conv1x1_input_emo_2(torch.cat((stem, attended), dim=1)))
        answers = self.emo_fc_2(pooled.mean(dim=(2, 3)))
        return EmoNetOutput(heatmaps, answers[:, :-2], answers[:, -2], answers[:, -1])

    def _stack(self, number: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return a stack's feature (B, 256, 64, 64) and its landmark maps."""
        names = ("m", "top_m_", "conv_last", "bn_end")
        for name in names:
            features = self.get_submodule(f"{name}{number}")(features)
        feature = relu(features)
        return feature, self.get_submodule(f"l{number}")(feature)


class _Block(nn.Module):
    """Three 3 x 3 convolutions in a row whose outputs stand side by side, plus the input."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        widths = (width_in, width // 2, width // 4, width // 4)
        for stage, (before, after) in enumerate(pairwise(widths), start=1):
            self.add_module(f"bn{stage}", nn.BatchNorm2d(before))
            self.add_module(f"conv{stage}", nn.Conv2d(before, after, 3, padding=1, bias=False))
        self.downsample: nn.Module = nn.Identity()
        if width_in != width:
            mapped = nn.Conv2d(width_in, width, 1, bias=False)
            self.downsample = nn.Sequential(nn.BatchNorm2d(width_in), nn.ReLU(), mapped)

    def forward(self, features: Tensor) -> Tensor:
        first = self.conv1(relu(self.bn1(features)))
        second = self.conv2(relu(self.bn2(first)))
        third = self.conv3(relu(self.bn3(second)))
        return torch.cat((first, second, third), dim=1) + self.downsample(features)


class _Hourglass(nn.Module):
    """Four times down and up again, with a block on the way across at each size."""

    def __init__(self) -> None:
        super().__init__()
        levels = [
            f"{part}_{level}" for level in range(1, _DEPTH + 1) for part in ("b1", "b2", "b3")
        ]
        for name in (*levels, "b2_plus_1"):
            self.add_module(name, _Block(_WIDTH, _WIDTH))

    def forward(self, features: Tensor, level: int = _DEPTH) -> Tensor:
        across = self.get_submodule(f"b1_{level}")(features)
        low = self.get_submodule(f"b2_{level}")(max_pool2d(features, 2))
        low = self(low, level - 1) if level > 1 else self.b2_plus_1(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return across + interpolate(low, scale_factor=2.0, mode="nearest")


def heatmap_landmarks(heatmaps: Tensor) -> Tensor:
    """Read landmarks off their maps: the largest cell's centre.

    Args:
        heatmaps: (B, 68, 64, 64).

    Returns:
        (B, 68, 2) pixels of the 256 px image.
    """
    best = heatmaps.flatten(2).argmax(dim=2)
    cells = torch.stack((best % _MAP_SIZE, best // _MAP_SIZE), dim=2)
    return resize_points(cells.to(heatmaps.dtype), _MAP_SIZE, IMAGE_SIZE)


def load_emonet(path: Path) -> EmoNet:
    """Read a published file, ``emonet_5.pth`` or ``emonet_8.pth``; nothing of it is executed.

    Args:
        path: the file; names may begin with ``module.``.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no EmoNet; the message lists the names that are missing, not
            expected, of another shape or not finite.
    """
    state = state_dict_of(read_torch_pickle(path, permits=is_part_of_a_network))
    named = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    head = tuple(named[_HEAD].shape) if _HEAD in named else None
    if head not in [(count + 2,) for count in CLASS_COUNTS] or len(named) != len(state):
        raise ValueError(
            f"expected emonet_5.pth or emonet_8.pth, got {path.name} with {_HEAD} of shape {head}; "
            "give a published file"
        )
    network = EmoNet(head[0] - 2)
    own = network.state_dict()
    check_state(named, own, path.name, "EmoNet", may_lack=_MAY_LACK)
    network.load_state_dict(own | named)
    return network.eval()
