"""Calm out-of-focus backgrounds: a wall, a room, greenery – low-pass colour with little chroma."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BASE_COLOURS = (
    (0.63, 0.60, 0.56), (0.56, 0.58, 0.61), (0.38, 0.42, 0.48), (0.52, 0.56, 0.49),
    (0.75, 0.70, 0.63), (0.43, 0.37, 0.32), (0.32, 0.36, 0.44), (0.82, 0.81, 0.79),
    (0.24, 0.24, 0.26), (0.31, 0.36, 0.29), (0.66, 0.66, 0.64), (0.50, 0.46, 0.44),
)


def sample_background(generator: torch.Generator, size: int) -> Tensor:
    """Draw one background.

    Args:
        generator: source of chance, on the CPU.
        size: side of the square image in pixels.

    Returns:
        ``(1, 3, size, size)`` RGB in [0, 1], gamma-coded.
    """
    palette = torch.tensor(_BASE_COLOURS)
    first, second = palette[torch.randint(len(palette), (2,), generator=generator)]
    brightness, mottle, bokeh = torch.rand(3, generator=generator)
    image = first[:, None, None] * (0.85 + 0.3 * brightness)
    image = image + 0.9 * _panels(generator, size) * (second - first)[:, None, None]
    # Squared: most walls are nearly plain, a few backgrounds are leaves or crowds.
    rough = _cloud(generator, 1, 2, size) + 0.5 * _cloud(generator, 1, 6, size)
    image = image + 0.10 * mottle**2 * rough
    colour = _cloud(generator, 3, 3, size)
    image = image + (0.008 + 0.02 * mottle**2) * (colour - colour.mean(dim=0))
    image = image + 0.25 * (bokeh > 0.7) * _discs(generator, size)
    image = image + 0.16 * _slope(generator, size)
    return image.clamp(0.02, 0.98)[None]


def _cloud(generator: torch.Generator, channels: int, cells: int, size: int) -> Tensor:
    """Smooth noise of unit strength over ``cells`` cells, ``(channels, size, size)``."""
    coarse = torch.randn(1, channels, cells + 1, cells + 1, generator=generator)
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[0]


def _slope(generator: torch.Generator, size: int) -> Tensor:
    """Brightness that rises evenly in one direction, mostly upwards, from -1 to 1."""
    across, up = torch.randn(2, generator=generator) * torch.tensor([0.5, 0.3])
    line = torch.linspace(-1, 1, size)
    return across * line - (0.35 + up) * line[:, None]


def _panels(generator: torch.Generator, size: int) -> Tensor:
    """Blurred upright stripes as of doors, shelves and curtains, ``(size, size)`` in [0, 1]."""
    count = int(torch.randint(1, 5, (), generator=generator))
    edges = torch.rand(count, generator=generator) * size
    blur = size * (0.01 + 0.08 * torch.rand(count, generator=generator))
    levels = torch.rand(count, generator=generator) - 0.5
    steps = torch.sigmoid((torch.arange(size)[:, None] - edges) / blur)
    return (0.5 + (steps * levels).sum(dim=1)).clamp(0, 1).expand(size, size)


def _discs(generator: torch.Generator, size: int) -> Tensor:
    """Lights far out of focus, ``(size, size)`` in [0, 1]."""
    x, y, radius, strength = torch.rand(4, 7, 1, 1, generator=generator)
    line = torch.linspace(0, 1, size)
    distance = ((line - x).square() + (line[:, None] - y).square()).sqrt()
    rim = torch.sigmoid((0.04 + 0.12 * radius - distance) / 0.012)
    return (rim * strength).amax(dim=0)
