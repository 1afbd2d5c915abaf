"""Parts of an EfficientNet for inference on the processor, in fewer passes over the memory.

oneDNN, which torch brings along, applies SiLU while a result is still in the processor's registers
and takes weights in the order in which its kernels read them; torch's own compiler calls the same
operators. The arithmetic is that of the plain layers.
"""

from __future__ import annotations

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

_ACTIVATIONS = {nn.SiLU: "swish", nn.Identity: "none"}


class FusedConvolution(nn.Module):
    """A convolution with its activation, for square images; its weights are copied.

    Args:
        convolution: with a bias, in the dtype of its inputs; ``can_fuse`` says yes to it.
        activation: SiLU or none.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.stride, self.groups = convolution.stride, convolution.groups
        self.activation = _ACTIVATIONS[type(activation)]
        self.bias, weight = convolution.bias.detach(), convolution.weight.detach()
        same = isinstance(convolution, Conv2dSame)
        # Of timm's strided ones; the others pad alike on both sides, by as much.
        self.padding = [side // 2 for side in convolution.kernel_size]
        # TensorFlow pads images of even sides by one less in front. Zeros in front of the kernel
        # do the same and spare a padded copy of the images.
        uneven = nn.functional.pad(weight, (1, 0, 1, 0)) if same else weight
        self.for_even, self.for_odd = self._ordered(uneven), self._ordered(weight)

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (B, C, S, S) images that are channels last."""
        weight = self.for_odd if images.shape[-1] % 2 else self.for_even
        return torch.ops.mkldnn._convolution_pointwise(
            images, weight, self.bias, self.padding, self.stride, [1, 1], self.groups,
            self.activation, [], "",
        )  # fmt: skip

    def _ordered(self, weight: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(memory_format=torch.channels_last),
            self.padding, self.stride, [1, 1], self.groups,
        )  # fmt: skip


class GateInPlace(nn.Module):
    """Squeeze-and-excitation that overwrites its input, which nothing else reads.

    Its two layers see one pixel: they are matrix products, in float32.

    Args:
        gate: timm's ``SqueezeExcite``.
    """

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.activation = _as_linear(gate.conv_reduce), gate.act1
        self.excite, self.gate = _as_linear(gate.conv_expand), gate.gate

    def forward(self, images: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W) images."""
        squeezed = self.activation(self.squeeze(images.mean((2, 3)).float()))
        return images.mul_(self.gate(self.excite(squeezed)).to(images.dtype)[..., None, None])


def can_fuse(convolution: nn.Conv2d, activation: nn.Module) -> bool:
    """Say whether `FusedConvolution` knows a convolution, and this processor has fast kernels."""
    known = type(activation) in _ACTIVATIONS and convolution.weight.device.type == "cpu"
    fast = torch.backends.mkldnn.is_available() and torch.cpu.get_capabilities().get("avx2", False)
    return known and fast and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _as_linear(pointwise: nn.Conv2d) -> nn.Linear:
    linear = nn.Linear(pointwise.in_channels, pointwise.out_channels).requires_grad_(False)
    linear.weight.copy_(pointwise.weight.flatten(1))
    linear.bias.copy_(pointwise.bias)
    return linear.to(pointwise.weight.device)
