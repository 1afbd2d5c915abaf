"""Small identity networks: MobileFaceNet, and the independent MobileFace V2.

Layers and keys are those of two public weight files; both are of inverted residuals.

Source: Chen et al., MobileFaceNets, CCBR 2018, table 1; Sandler et al., MobileNetV2, CVPR 2018.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from torch import Tensor, nn

# Expansion, channels, repeats, first stride.
_FACENET_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
_V2_STAGES = ((3, 32, 3, 2), (3, 32, 3, 2), (3, 64, 3, 2), (3, 128, 3, 2))


class MobileFaceNet(nn.Module):
    """(B, 3, 112, 112), normalised as for ImageNet → (B, 128).

    The public weights have ReLU6 where the paper has PReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, stride=2)
        self.dw_conv = _DepthwiseSeparable(64)
        self.features = _inverted_residuals(64, _FACENET_STAGES)
        self.conv2 = _convolution(128, 512, kernel=1)
        self.gdconv = nn.Sequential(OrderedDict(
            depthwise=nn.Conv2d(512, 512, 7, groups=512, bias=False), bn=nn.BatchNorm2d(512)
        ))  # fmt: skip
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, images: Tensor) -> Tensor:
        """Embed faces."""
        features = self.conv2(self.features(self.dw_conv(self.conv1(images))))
        return self.bn(self.conv3(self.gdconv(features))).flatten(1)


class MobileFaceV2(nn.Module):
    """(B, 3, 112, 112) in about [-1, 1] → (B, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 32, stride=2, bias=True)
        self.features = _inverted_residuals(32, _V2_STAGES)
        self.fc5 = nn.Linear(2048, 256, bias=False)
        self.fc5_bn = nn.BatchNorm1d(256, eps=1e-3)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3  # MXNet's default, which the symbol file leaves unsaid

    def forward(self, images: Tensor) -> Tensor:
        """Embed faces."""
        return self.fc5_bn(self.fc5(self.features(self.conv1(images)).flatten(1)))

    @staticmethod
    def key_map() -> dict[str, str]:
        """Give the key of every array of MXNet's file: its name → the key here."""
        places = [("conv1.0", "conv1", "conv1.1", "bn1")]
        count = sum(repeats for _, _, repeats, _ in _V2_STAGES)
        for block in range(count):
            for part, (conv, norm) in enumerate((("0.0", "0.1"), ("1.0", "1.1"), ("2", "3"))):
                number, prefix = 3 * block + part, f"features.{block}.conv"
                places.append(
                    (f"{prefix}.{conv}", f"convolution{number}",
                     f"{prefix}.{norm}", f"batchnorm{number}")
                )  # fmt: skip
        places.append(("fc5", "fc5", "fc5_bn", "fc5_bn"))
        keys = {"conv1_bias": "conv1.0.bias"}
        for layer, layer_name, norm, norm_name in places:
            keys[f"{layer_name}_weight"] = f"{layer}.weight"
            keys |= {f"{norm_name}_{theirs}": f"{norm}.{ours}" for ours, theirs in _NORM.items()}
        return keys


_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_var",
}


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1,
    bias: bool = False,
) -> nn.Sequential:  # fmt: skip
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU6())


def _inverted_residuals(inputs: int, stages: Iterable[tuple[int, int, int, int]]) -> nn.Sequential:
    blocks = []
    for expansion, channels, repeats, first in stages:
        for stride in (first, *[1] * (repeats - 1)):
            blocks.append(_InvertedResidual(inputs, inputs * expansion, channels, stride))
            inputs = channels
    return nn.Sequential(*blocks)


class _DepthwiseSeparable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        deep = self.bn1(self.depthwise(features)).relu()
        return self.bn2(self.pointwise(deep)).relu()


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _convolution(inputs, hidden, kernel=1),
            _convolution(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        changed = self.conv(features)
        return features + changed if self.adds else changed
