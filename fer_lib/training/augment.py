"""Random changes of faces and landmarks that keep the label, batched, on whichever device.

All of them draw from torch's current random state unless a generator is given, so a training loop
that seeds its epochs repeats them exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from fer_lib.faces.warp import flip_points

_FILL = 0.45


@dataclass(frozen=True)
class Augmentation:
    """How strongly faces are varied in training; zeros switch a change off.

    Attributes:
        flip_probability: of mirroring the face together with its landmarks.
        shift_frac: largest shift of the crop, as a fraction of its side.
        scale_frac: largest enlargement or reduction of the crop.
        rotation_deg: largest rotation of the crop.
        noise: standard deviation of Gaussian noise, images in [0, 1].
        erase_probability: of covering one rectangle of 2–10 % of the area with grey.
        landmark_noise_frac: standard deviation of each landmark's noise, a fraction of the side.
    """

    flip_probability: float = 0.5
    shift_frac: float = 0.04
    scale_frac: float = 0.06
    rotation_deg: float = 4.0
    noise: float = 0.02
    erase_probability: float = 0.5
    landmark_noise_frac: float = 0.004


def mirror_images(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen images left to right; ``images`` (B, C, H, W), ``chosen`` (B,) bool."""
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def mirror_landmarks(landmarks_px: Tensor, chosen: Tensor, width_px: int) -> Tensor:
    """Mirror the chosen landmarks in a frame of the given width, as ``mirror_images`` does.

    Points keep their order, so in a mirrored face "left eye" names the other eye. Heat maps do not
    mind, as they have no order.

    Args:
        landmarks_px: (B, K, 2), pixel centres at integers.
        chosen: (B,) bool.
        width_px: width of the frame.

    Returns:
        (B, K, 2), x → width − 1 − x where chosen.
    """
    return torch.where(chosen[:, None, None], flip_points(landmarks_px, width_px), landmarks_px)


def random_similarity(
    count: int, augmentation: Augmentation, device: torch.device, generator: Generator | None = None
) -> Tensor:
    """Draw small similarities about the centre of a frame whose sides run from −1 to 1.

    Args:
        count: how many.
        augmentation: its limits of shift, scale and rotation.
        device: where to draw them.
        generator: random source on that device.

    Returns:
        (count, 2, 3) affine matrices.
    """
    uniform = torch.rand(count, 4, device=device, generator=generator) * 2 - 1
    angle = uniform[:, 0] * math.radians(augmentation.rotation_deg)
    scale = 1 + uniform[:, 1] * augmentation.scale_frac
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    # A shift by a fraction of the side is twice that in units of half sides.
    shift = uniform[:, 2:] * 2 * augmentation.shift_frac
    rows = [cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]]
    return torch.stack(rows, dim=1).reshape(count, 2, 3)


def vary_images(
    images: Tensor, augmentation: Augmentation, generator: Generator | None = None
) -> Tensor:
    """Shift, scale, rotate, add noise and erase: what only the RGB branch sees.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        augmentation: how strongly.
        generator: random source on the images' device.

    Returns:
        (B, 3, H, W) float in [0, 1].
    """
    motion = random_similarity(len(images), augmentation, images.device, generator)
    grid = functional.affine_grid(motion.to(images.dtype), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if augmentation.noise:
        spread = torch.empty_like(moved).normal_(generator=generator)
        moved = (moved + augmentation.noise * spread).clamp(0, 1)
    return erase_rectangles(moved, augmentation.erase_probability, generator)


def erase_rectangles(
    images: Tensor, probability: float, generator: Generator | None = None
) -> Tensor:
    """Cover one rectangle of some images with grey.

    Args:
        images: (B, C, H, W) float in [0, 1].
        probability: of an image to lose a rectangle of 2–10 % of its area, sides 0.3–3.3 to 1.
        generator: random source on the images' device.

    Returns:
        (B, C, H, W).

    Source: random erasing with the limits of ARM's published training code.
    """
    batch, _, height, width = images.shape
    draw = torch.rand(5, batch, device=images.device, generator=generator)
    area = 0.02 + 0.08 * draw[0]
    ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * draw[1])
    tall, wide = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    rows = _inside(draw[2] * (1 - tall), tall, height)[:, :, None]
    columns = _inside(draw[3] * (1 - wide), wide, width)[:, None, :]
    erased = rows & columns & (draw[4] < probability)[:, None, None]
    return images.masked_fill(erased[:, None], _FILL)


def _inside(start: Tensor, length: Tensor, pixels: int) -> Tensor:
    centres = (torch.arange(pixels, device=start.device) + 0.5) / pixels
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


def vary_landmarks(
    landmarks_px: Tensor,
    side_px: int,
    augmentation: Augmentation,
    generator: Generator | None = None,
) -> Tensor:
    """Shift, scale, rotate and disturb landmarks: what only the landmark branch sees.

    Args:
        landmarks_px: (B, K, 2) in a square frame; NaN stays NaN.
        side_px: side of the frame.
        augmentation: how strongly.
        generator: random source on the landmarks' device.

    Returns:
        (B, K, 2).
    """
    motion = random_similarity(len(landmarks_px), augmentation, landmarks_px.device, generator)
    centred = (landmarks_px + 0.5) * (2 / side_px) - 1
    moved = centred @ motion[:, :, :2].transpose(1, 2) + motion[:, None, :, 2]
    noise = torch.empty_like(moved).normal_(generator=generator)
    moved = moved + 2 * augmentation.landmark_noise_frac * noise
    return (moved + 1) * (side_px / 2) - 0.5
