"""Warping images and points by affines.

Coordinates are pixels with pixel centres at integers. Matrices are `(B, 2, 3)` and map source
pixels to output pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAX_SUPERSAMPLING = 16


def warp(images: Tensor, matrices: Tensor, size: int, *, border: str = "zeros") -> Tensor:
    """Warp a batch of images with one bilinear `grid_sample`.

    Where a matrix shrinks, bilinear samples alone would skip source pixels: the output is then
    sampled n x n times per pixel and averaged, n = the shrinking factor rounded up (at most
    `MAX_SUPERSAMPLING`). n is chosen per image, so the result never depends on the batch.

    Args:
        images: `(B, H, W, 3)` uint8 or `(B, 3, H, W)` float in [0, 1].
        matrices: `(B, 2, 3)`, source pixels to output pixels.
        size: side of the output in pixels.
        border: what lies outside the source: `zeros` (black), `border` or `reflection`.

    Returns:
        `(B, 3, size, size)` float32 in [0, 1].
    """
    matrices = matrices.to(device=images.device, dtype=torch.float32)
    factors = _supersampling(matrices)
    result = images.new_empty((len(images), 3, size, size), dtype=torch.float32)
    for factor in factors.unique().tolist():
        chosen = (factors == factor).nonzero().squeeze(1)
        grid = _sampling_grid(matrices[chosen], size, int(factor), _extent(images))
        sampled = functional.grid_sample(
            _planes(images[chosen]), grid, padding_mode=border, align_corners=False
        )
        result[chosen] = functional.avg_pool2d(sampled, int(factor)) if factor > 1 else sampled
    return result


def to_uint8(images: Tensor) -> Tensor:
    """Round float images to the layout that files hold.

    Args:
        images: `(B, 3, H, W)` float in [0, 1].

    Returns:
        `(B, H, W, 3)` uint8.
    """
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Move points by affines.

    Args:
        points: `(B, K, 2)` pixels; NaN stays NaN.
        matrices: `(B, 2, 3)`.

    Returns:
        `(B, K, 2)` pixels.
    """
    return points @ matrices[..., :2].mT + matrices[..., 2].unsqueeze(-2)


def invert_affine(matrices: Tensor) -> Tensor:
    """Invert affines.

    Args:
        matrices: `(B, 2, 3)`, not singular.

    Returns:
        `(B, 2, 3)`.
    """
    linear = torch.linalg.inv(matrices[..., :2])
    return torch.cat((linear, -linear @ matrices[..., 2:]), dim=-1)


def flip_points(points: Tensor, width: int) -> Tensor:
    """Mirror points left to right; their order is kept (a heat map does not need it).

    Args:
        points: `(..., 2)` pixels.
        width: width of the image in pixels.

    Returns:
        `(..., 2)` pixels.
    """
    return torch.stack((width - 1 - points[..., 0], points[..., 1]), dim=-1)


def resize_points(points: Tensor, size: int, new_size: int) -> Tensor:
    """Move points from an image to the same image resized about pixel centres.

    Args:
        points: `(..., 2)` pixels in the image of side `size`.
        size: side of the image in pixels.
        new_size: side of the resized image in pixels.

    Returns:
        `(..., 2)` pixels in the resized image.
    """
    return (points + 0.5) * (new_size / size) - 0.5


def _supersampling(matrices: Tensor) -> Tensor:
    smallest = torch.linalg.svdvals(matrices[..., :2])[:, -1].clamp_min(1e-6)
    # A hair above 1 is rounding, not shrinking.
    return (1 / smallest - 1e-3).ceil().clamp(1, MAX_SUPERSAMPLING)


def _sampling_grid(matrices: Tensor, size: int, factor: int, extent: tuple[int, int]) -> Tensor:
    """Return where each output sample lies in the source, in `grid_sample`'s coordinates."""
    height, width = extent
    steps = torch.arange(size * factor, dtype=torch.float32, device=matrices.device)
    centres = (steps + 0.5) / factor - 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    output = torch.stack((x, y), dim=-1).flatten(0, 1).expand(len(matrices), -1, -1)
    source = transform_points(output, invert_affine(matrices))
    sides = torch.tensor((width, height), dtype=torch.float32, device=matrices.device)
    return ((2 * source + 1) / sides - 1).unflatten(1, (size * factor, size * factor))


def _extent(images: Tensor) -> tuple[int, int]:
    if images.dtype == torch.uint8:
        return images.shape[1], images.shape[2]
    return images.shape[2], images.shape[3]


def _planes(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        return images.float()
    # In place: a 60-megapixel photograph is 0.7 GB of floats already.
    return images.permute(0, 3, 1, 2).float().div_(255)
