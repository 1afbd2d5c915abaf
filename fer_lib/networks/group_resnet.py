"""The trunk of torchvision's ResNets with group norm: an answer never depends on its batch."""

from __future__ import annotations

import math

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

DEPTHS = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}
_CELLS = 2


def trunk(depth: int, width: int, image_size: int) -> nn.Sequential:
    """Make the trunk: (B,3,S,S) in, (B,C,2,2) out; ``trunk_features`` counts what comes out.

    Args:
        depth: 18 or 50 (He et al., CVPR 2016, table 1).
        width: channels of the first stage, a multiple of 4; 64 is the published network.
        image_size: S; from 128 px on, the stem halves twice as published.

    Raises:
        ValueError: there is no such network.
    """
    if depth not in DEPTHS or width % 4 or width <= 0:
        raise ValueError(
            f"expected depth 18 or 50 and a width that is a multiple of 4, got {depth} and {width}"
        )
    block, layers = DEPTHS[depth]
    parts = [nn.Conv2d(3, width, 7, 2, 3, bias=False), _norm(width), nn.ReLU()]
    # Published images have 224 px; small ones cannot afford to lose half of them here.
    parts += [nn.MaxPool2d(3, 2, 1)] if image_size >= 128 else []
    inputs = width
    for stage, count in enumerate(layers):
        planes = width * 2**stage
        for number in range(count):
            parts.append(_block(block, inputs, planes, 2 if stage and not number else 1))
            inputs = planes * block.expansion
    # Where a feature lies tells where the face lies: a mean over the whole image would lose it.
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(_CELLS))


def trunk_features(depth: int, width: int) -> int:
    """Count the numbers that the trunk gives of one image."""
    return 8 * width * DEPTHS[depth][0].expansion * _CELLS**2


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels // 4), channels)


def _block(block: type[nn.Module], inputs: int, planes: int, stride: int) -> nn.Module:
    outputs, shortcut = planes * block.expansion, None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))
    made = block(inputs, planes, stride, shortcut, norm_layer=_norm)
    # Blocks start as identities, as in torchvision's zero_init_residual.
    last = made.bn3 if block is Bottleneck else made.bn2
    nn.init.zeros_(last.weight)
    return made
