"""Amend Representation Module (ARM): a feature map becomes a short vector for a linear head.

Source: Shi & Zhu, "Learning to amend facial expression representation via de-albino and affinity",
2021, in the form that seed 001 uses for both of its branches.

Letters: ``r`` is the pixel-shuffle factor; channels = 2·r², kernel 2·r, stride r/2. The published
module is r = 16: 512 channels, kernel 32, stride 8, and 7×7 cells give 11×11 = 121 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch
from torch import Tensor, nn

_MOMENTUM = 0.1


class SharingAffinity(StrEnum):
    """What is added to each sample's own feature map.

    ``RUNNING``: in training the mean over the mini-batch, in evaluation a running mean of it that
    was stored in training, so that a sample's answer does not depend on the others.
    ``BATCH``: the mini-batch mean in evaluation too. This is the published code; it looks at the
    other test samples (transductive) and depends on their order, hence never a default.
    ``NONE``: nothing.
    """

    RUNNING = "running"
    BATCH = "batch"
    NONE = "none"


def nearest_shuffle(channels: int) -> int:
    """Give the even pixel-shuffle factor ``r`` whose 2·r² is nearest to a number of channels."""
    return max(2, 2 * round((channels / 2) ** 0.5 / 2))


def arm_side(cells: int) -> int:
    """Give the side of the ARM map over ``cells`` feature cells: 2·cells − 3, whatever ``r`` is.

    Raises:
        ValueError: fewer than two cells, over which the kernel does not fit.
    """
    if cells < 2:
        raise ValueError(
            f"expected a feature map of at least 2×2 cells for ARM, got side {cells}; "
            "use a larger image or a smaller trunk stride"
        )
    return 2 * cells - 3


class AmendRepresentation(nn.Module):
    """Pixel shuffle, one shared de-albino convolution, batch norm, sharing affinity.

    State-dict names are those of the released checkpoints (``de_albino``, ``bn``, ``alpha``), plus
    the running affinity, which those do not have.

    Args:
        shuffle: ``r``, an even number; the input has 2·r² channels.
        cells: (height, width) of the input feature map, each at least 2.
        affinity: what is shared between samples.
    """

    def __init__(
        self,
        shuffle: int = 16,
        cells: tuple[int, int] = (7, 7),
        affinity: SharingAffinity = SharingAffinity.RUNNING,
    ) -> None:
        super().__init__()
        if shuffle < 2 or shuffle % 2:
            raise ValueError(f"expected an even shuffle factor of at least 2, got {shuffle}")
        self.affinity = SharingAffinity(affinity)
        self.arrangement = nn.PixelShuffle(shuffle)
        self.de_albino = nn.Conv2d(1, 1, 2 * shuffle, stride=shuffle // 2, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.alpha = nn.Parameter(torch.ones(1))
        height, width = (arm_side(side) for side in cells)
        self.feature_length = height * width
        self.register_buffer("affinity_mean", torch.zeros(height, width))
        self.register_buffer("affinity_batches", torch.zeros((), dtype=torch.int64))

    def own_map(self, cells: Tensor) -> Tensor:
        """Give each sample's own map, (B, 2·r², h, w) → (B, 2h−3, 2w−3), before any sharing."""
        maps = self.arrangement(cells)
        batch, channels, height, width = maps.shape
        # In bf16 the gradient of a one-channel convolution this wide is ten times slower on a CPU.
        with torch.autocast(cells.device.type, enabled=False):
            maps = maps.to(self.de_albino.weight.dtype)
            # One kernel serves both maps, so they go through it as separate one-channel images.
            swept = self.de_albino(maps.reshape(batch * channels, 1, height, width))
            normalised = self.bn(swept.reshape(batch, channels, *swept.shape[-2:]))
            return normalised.mean(dim=1)

    def forward(self, cells: Tensor) -> Tensor:
        """Turn feature cells into one vector per sample.

        Args:
            cells: (B, 2·r², h, w) float.

        Returns:
            (B, (2h−3)·(2w−3)) float32.
        """
        own = self.own_map(cells)
        return (own + self.alpha * self._shared(own)).flatten(1)

    def _shared(self, own: Tensor) -> Tensor:
        if self.affinity is SharingAffinity.NONE:
            return torch.zeros_like(self.affinity_mean)
        if self.affinity is SharingAffinity.RUNNING and not self.training:
            return self.affinity_mean
        mean = own.mean(dim=0)
        if self.training:
            self._remember(mean.detach())
        return mean

    @torch.no_grad()
    def _remember(self, mean: Tensor) -> None:
        self.affinity_batches += 1
        # A plain average over the first batches, then a moving one: no bias towards the zero start.
        weight = max(_MOMENTUM, 1 / int(self.affinity_batches))
        self.affinity_mean.lerp_(mean, weight)


@contextmanager
def affinity_policy(network: nn.Module, affinity: SharingAffinity) -> Iterator[None]:
    """Set the sharing affinity of every ARM inside a network, and put it back afterwards.

    Args:
        network: any module that holds ARMs.
        affinity: the policy inside the ``with`` block.
    """
    arms = [part for part in network.modules() if isinstance(part, AmendRepresentation)]
    before = [arm.affinity for arm in arms]
    for arm in arms:
        arm.affinity = SharingAffinity(affinity)
    try:
        yield
    finally:
        for arm, policy in zip(arms, before, strict=True):
            arm.affinity = policy
