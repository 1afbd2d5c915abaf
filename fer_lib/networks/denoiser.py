"""The denoiser: a U-Net that reads the rendered face beside the noisy picture, and a global code.

After DiffusionRig (Ding et al., CVPR 2023): the buffers are further channels of the input, the code
is a second scale-and-shift in every residual block, behind that of the time. The blocks are
diffusers' own. Among the buffers stands the photograph as it was carried to the face, if there is
one. A condition that is missing is zero; for the buffers the mask's channel says so, for the
photograph that of the doubt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

MASK, CARRIED, DOUBT = slice(9, 10), slice(10, 13), slice(13, 14)
"""Channels of the mask, of the photograph carried to the face, and of the doubt about it."""
BUFFER_CHANNELS = DOUBT.stop
NO_BUFFERS = -1.0
"""The mask of a face whose buffers are missing; elsewhere it is 0 outside and 1 inside the face."""
NO_PHOTOGRAPH = 1.0
"""The doubt everywhere where no photograph was carried; elsewhere it is 0 or more."""


@dataclass(frozen=True)
class DenoiserSpec:
    """Everything that decides the denoiser's sizes.

    Attributes:
        size: side of the pictures in px.
        widths: channels of every level; each level has half the side of the one before.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: sides in px of the levels that attend; the middle always does.
        groups: groups of every norm; divides all widths.
        code_length: Z, numbers of the global code.
        dropout: share of features dropped inside the residual blocks while training.
    """

    size: int = 64
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: int = 1
    attention: tuple[int, ...] = (8,)
    groups: int = 8
    code_length: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Take lists for tuples, as JSON gives them, and refuse networks that do not exist.

        Raises:
            ValueError: the widths do not fit the size or the groups, or no level has the side that
                should attend.
        """
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "attention", tuple(self.attention))
        if not self.widths or self.size % 2 ** (len(self.widths) - 1):
            raise ValueError(
                f"expected a size that halves {len(self.widths) - 1} times, got {self.size}; "
                "change it or the number of widths"
            )
        if any(width % self.groups for width in self.widths):
            raise ValueError(
                f"expected widths that are multiples of {self.groups} groups, got {self.widths}"
            )
        if not set(self.attention) <= set(self.sides):
            raise ValueError(
                f"expected attention at sides out of {self.sides}, got {self.attention}"
            )

    @property
    def sides(self) -> list[int]:
        """Side of every level in px."""
        return [self.size >> level for level in range(len(self.widths))]

    @property
    def time_length(self) -> int:
        """Numbers of the time's embedding: four times the first width (Ho et al., 2020)."""
        return 4 * self.widths[0]


class TwoConditions(nn.Module):
    """The scale-and-shift of the time and that of the code behind it, as the one they amount to.

    (h(1 + s_t) + b_t)(1 + s_z) + b_z = h(1 + s) + b with s = s_t + s_z + s_t·s_z and
    b = b_t(1 + s_z) + b_z. So a residual block of diffusers, which knows one, obeys both.

    Args:
        time_length: numbers of the time's embedding.
        code_length: numbers of the code.
        channels: of the features that are scaled and shifted.
    """

    def __init__(self, time_length: int, code_length: int, channels: int) -> None:
        super().__init__()
        self.time = nn.Linear(time_length, 2 * channels)
        self.code = nn.Linear(code_length, 2 * channels)

    def forward(self, conditions: Tensor) -> Tensor:
        """Give (B,2C), s and b, of (B,T+Z), the activated embedding of the time and the code."""
        time, code = conditions.split([self.time.in_features, self.code.in_features], dim=1)
        scale_t, shift_t = self.time(time).chunk(2, dim=1)
        scale_z, shift_z = self.code(code).chunk(2, dim=1)
        scale = scale_t + scale_z + scale_t * scale_z
        return torch.cat([scale, shift_t * (1 + scale_z) + shift_z], dim=1)


class Denoiser(nn.Module):
    """The denoiser; every face is treated by itself.

    Its last convolutions begin as zeros, those of the residual blocks too: a fresh one answers 0.

    Args:
        config: fields of ``DenoiserSpec``; those that are not named keep their defaults.

    Raises:
        TypeError: a name is no field.
        ValueError: the sizes do not fit each other.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.spec = DenoiserSpec(**(config or {}))
        time, code = self.spec.time_length, self.spec.code_length
        self.unet = _unet(self.spec)
        # The U-Net adds its two embeddings: padded, their sum holds both side by side.
        embedding = TimestepEmbedding(self.spec.widths[0], time)
        self.unet.time_embedding = nn.Sequential(embedding, nn.ZeroPad1d((0, code)))
        self.unet.class_embedding = nn.ZeroPad1d((time, 0))
        for block in self.unet.modules():
            if isinstance(block, ResnetBlock2D):
                block.time_emb_proj = TwoConditions(time, code, block.out_channels)
        _end_in_zeros(self.unet)

    @property
    def config(self) -> dict[str, Any]:
        """Everything from which a denoiser of the same sizes is made again."""
        return asdict(self.spec)

    def forward(
        self, x_t: Tensor, t: Tensor | float, buffers: Tensor | None = None, z: Tensor | None = None
    ) -> Tensor:
        """Predict the velocity v = α·ε − σ·x₀ (Salimans and Ho, ICLR 2022).

        Args:
            x_t: (B,3,S,S) float noisy pictures; where a photograph is carried, what it lacks of
                them, noised likewise.
            t: (B,) or one step of the schedule, 0 … 999, on the device of ``x_t``.
            buffers: (B,14,S,S) normals, albedo and shaded picture, three each in [-1, 1], mask, 0
                or 1, carried photograph in [-1, 1] and doubt; None where they are missing.
            z: (B,Z) global code; None where it is missing.

        Returns:
            (B,3,S,S) v.

        Raises:
            ValueError: an input has another shape.
        """
        buffers = no_buffers(x_t) if buffers is None else buffers
        z = x_t.new_zeros(len(x_t), self.spec.code_length) if z is None else z
        side = self.spec.size
        _check("pictures", x_t, (len(x_t), 3, side, side))
        _check("buffers", buffers, (len(x_t), BUFFER_CHANNELS, side, side))
        _check("codes", z, (len(x_t), self.spec.code_length))
        return self.unet(torch.cat([x_t, buffers], dim=1), t, z).sample


def no_buffers(pictures: Tensor) -> Tensor:
    """Give (B,14,S,S) buffers that say of every one of (B,…,S,S) pictures that there are none."""
    missing = pictures.new_zeros(len(pictures), BUFFER_CHANNELS, *pictures.shape[-2:])
    missing[:, MASK], missing[:, DOUBT] = NO_BUFFERS, NO_PHOTOGRAPH
    return missing


def no_photograph(buffers: Tensor) -> Tensor:
    """Give (B,14,S,S) buffers without the photographs that were carried to their faces.

    Raises:
        ValueError: these are other buffers.
    """
    _check("buffers", buffers, (len(buffers), BUFFER_CHANNELS, *buffers.shape[2:]))
    missing = buffers.clone()
    missing[:, CARRIED], missing[:, DOUBT] = 0.0, NO_PHOTOGRAPH
    return missing


def drop_conditions(
    buffers: Tensor,
    z: Tensor,
    without_buffers: Tensor,
    without_code: Tensor,
    without_photograph: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take the conditions of some faces away, as a forward without them would.

    Args:
        buffers: (B,14,S,S).
        z: (B,Z).
        without_buffers: (B,) bool; the carried photograph is one of them.
        without_code: (B,) bool, independent of it.
        without_photograph: (B,) bool, independent of both.

    Returns:
        Buffers and codes of the same shapes; nothing of what was dropped comes through.

    Raises:
        ValueError: these are other buffers.
    """

    def instead(value: Tensor, other: Tensor, chosen: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (value.ndim - 1)), other, value)

    buffers = instead(buffers, no_photograph(buffers), without_photograph)
    buffers = instead(buffers, no_buffers(buffers), without_buffers)
    return buffers, instead(z, torch.zeros_like(z), without_code)


def _unet(spec: DenoiserSpec) -> UNet2DModel:
    attends = [side in spec.attention for side in spec.sides]
    # Resampling inside residual blocks, as published, has no left or right; strided kernels have.
    down = ["AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends]
    up = ["AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)]
    return UNet2DModel(
        sample_size=spec.size,
        in_channels=3 + BUFFER_CHANNELS,
        down_block_types=down,
        up_block_types=up,
        downsample_type="resnet",
        upsample_type="resnet",
        block_out_channels=spec.widths,
        layers_per_block=spec.blocks,
        dropout=spec.dropout,
        attention_head_dim=None,  # one head, as published
        norm_num_groups=spec.groups,
        attn_norm_num_groups=spec.groups,
        resnet_time_scale_shift="scale_shift",
        time_embedding_dim=spec.time_length + spec.code_length,
        class_embed_type="identity",
    )


def _end_in_zeros(unet: UNet2DModel) -> None:
    ends = [unet.conv_out]
    ends += [block.conv2 for block in unet.modules() if isinstance(block, ResnetBlock2D)]
    ends += [block.to_out[0] for block in unet.modules() if isinstance(block, Attention)]
    for end in ends:
        nn.init.zeros_(end.weight)
        nn.init.zeros_(end.bias)


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {tuple(tensor.shape)}")
