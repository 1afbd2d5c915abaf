"""Random views of crops, and what cameras, files and hands do to photographs; batched.

Everything draws from torch's current random state unless a generator is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from fer_lib.networks.face_view import View
from fer_lib.training.augment import erase_rectangles

_BLOCK = 8
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class FaceAugmentation:
    """How strongly faces are varied for an encoder; zeros switch a change off.

    Attributes:
        flip_probability: of mirroring a face with everything that is known of it.
        shift_frac: largest shift of the view, as a fraction of the crop's side.
        scale_frac: largest enlargement or reduction.
        rotation_deg: largest rotation.
        brightness: largest change of the mean, of a range of 1.
        contrast: largest change of the contrast, a fraction.
        gamma: largest change of the logarithm of the gamma exponent.
        tint: largest factor between colours, a fraction.
        grey_probability: of losing all colour.
        blur_probability: of losing sharpness.
        low_resolution_probability: of losing half the resolution.
        compression: largest step of the quantised cosine coefficients, of a range of 1.
        noise: largest standard deviation of Gaussian noise.
        erase_probability: of covering one rectangle of 2–10 % of the area.
    """

    flip_probability: float = 0.5
    shift_frac: float = 0.03
    scale_frac: float = 0.06
    rotation_deg: float = 6.0
    brightness: float = 0.15
    contrast: float = 0.3
    gamma: float = 0.3
    tint: float = 0.1
    grey_probability: float = 0.15
    blur_probability: float = 0.3
    low_resolution_probability: float = 0.15
    compression: float = 0.06
    noise: float = 0.03
    erase_probability: float = 0.3


def random_view(
    count: int,
    central: float,
    augmentation: FaceAugmentation,
    device: torch.device | str = "cpu",
    generator: Generator | None = None,
) -> View:
    """Draw views close to the central one.

    Args:
        count: how many.
        central: share of the crop's side that a view shows.
        augmentation: limits of shift, scale and rotation.
        device: where to draw them.
        generator: random source on that device.

    Returns:
        The views.
    """
    draw = torch.rand(count, 4, device=device, generator=generator) * 2 - 1
    angle = draw[:, 0] * math.radians(augmentation.rotation_deg)
    factor = (1 + draw[:, 1] * augmentation.scale_frac) / central
    cosine, sine = factor * angle.cos(), factor * angle.sin()
    linear = torch.stack([cosine, -sine, sine, cosine], dim=1).view(count, 2, 2)
    return View(linear, draw[:, 2:] * augmentation.shift_frac / central)


def vary_photographs(
    images: Tensor, augmentation: FaceAugmentation, generator: Generator | None = None
) -> Tensor:
    """Change light, colour, sharpness and noise, compress, and cover a part.

    Args:
        images: (B,3,S,S) float in [0, 1].
        augmentation: how strongly.
        generator: random source on the images' device.

    Returns:
        (B,3,S,S) float in [0, 1].
    """
    uniform = torch.rand(len(images), 10, 1, 1, 1, device=images.device, generator=generator)
    lost, change = uniform[:, :5].unbind(1), uniform[:, 5:] * 2 - 1
    varied = _recolour(images, augmentation, change)
    luma = (varied * varied.new_tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
    varied = torch.where(lost[0] < augmentation.grey_probability, luma, varied)
    soft = functional.avg_pool2d(functional.pad(varied, [1] * 4, mode="replicate"), 3, stride=1)
    varied = torch.where(lost[1] < augmentation.blur_probability, soft, varied)
    coarse = functional.interpolate(functional.avg_pool2d(varied, 2), images.shape[-2:])
    varied = torch.where(lost[2] < augmentation.low_resolution_probability, coarse, varied)
    spread = torch.empty_like(varied).normal_(generator=generator)
    varied = (varied + augmentation.noise * lost[3] * spread).clamp(0, 1)
    varied = compress(varied, augmentation.compression * lost[4].flatten())
    return erase_rectangles(varied, augmentation.erase_probability, generator)


def compress(images: Tensor, step: Tensor) -> Tensor:
    """Round the cosine coefficients of blocks of 8 x 8 px, as JPEG does.

    Args:
        images: (B,C,S,S) in [0, 1], S a multiple of 8; other sizes are returned as they are.
        step: (B,) rounding step of the coarsest pattern; it grows to fifteen times that.

    Returns:
        (B,C,S,S) in [0, 1].
    """
    if images.shape[-1] % _BLOCK or not step.any():
        return images
    order = torch.arange(_BLOCK, device=images.device, dtype=images.dtype)
    basis = torch.cos(math.pi / _BLOCK * (order + 0.5) * order[:, None]) / 2
    basis[0] /= math.sqrt(2)
    blocks = images.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).transpose(3, 4)
    patterns = basis @ blocks @ basis.T
    steps = step.clamp_min(1e-6).view(-1, 1, 1, 1, 1, 1) * (1 + order + order[:, None])
    restored = basis.T @ ((patterns / steps).round() * steps) @ basis
    return restored.transpose(3, 4).reshape(images.shape).clamp(0, 1)


def _recolour(images: Tensor, augmentation: FaceAugmentation, change: Tensor) -> Tensor:
    """Gamma, tint, contrast about the mean, brightness; ``change`` (B,5,1,1,1) in [-1, 1]."""
    gamma, contrast, brightness, red, blue = change.unbind(1)
    changed = images.clamp_min(1e-4) ** (augmentation.gamma * gamma).exp()
    changed = changed * (1 + augmentation.tint * torch.cat([red, 0 * red, blue], dim=1))
    mean = changed.mean((1, 2, 3), keepdim=True)
    changed = mean + (changed - mean) * (1 + augmentation.contrast * contrast)
    return (changed + augmentation.brightness * brightness).clamp(0, 1)
