"""Landmark heat maps: every point drawn as a filled disc, nothing between 0 and 1.

Source: the landmark branch of seed 001, whose first kernel is five pixels wide, as wide as a disc.
"""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS_AT_224_PX = 2.0


def draw_heatmaps(landmarks: Tensor, size: int, radius_px: float | None = None) -> Tensor:
    """Draw landmarks as white discs on black.

    A point is rounded half up to a pixel and stamped with all pixels within `radius_px + 0.5`
    (radius 2: 21 pixels of a 5 x 5 block). A disc is cut at the border; a point that is NaN or
    whose own pixel lies outside leaves nothing.

    Args:
        landmarks: `(B, K, 2)` in pixels of the heat map.
        size: side of the heat map in pixels.
        radius_px: disc radius; by default 2 px at a size of 224, in proportion elsewhere.

    Returns:
        `(B, 1, size, size)` float32, each 0 or 1.
    """
    radius_px = RADIUS_AT_224_PX * size / 224 if radius_px is None else radius_px
    centres = torch.floor(landmarks.float() + 0.5)
    # Comparisons with NaN are false, so unknown points fall out here as well.
    inside = ((centres >= 0) & (centres < size)).all(dim=-1)
    centres = torch.where(inside.unsqueeze(-1), centres, torch.zeros_like(centres)).long()
    pixels = centres.unsqueeze(2) + _disc(radius_px).to(landmarks.device)
    drawn = ((pixels >= 0) & (pixels < size)).all(dim=-1) & inside.unsqueeze(-1)
    image = torch.arange(len(landmarks), device=landmarks.device)[:, None, None]
    places = (image * size + pixels[..., 1]) * size + pixels[..., 0]
    heatmaps = torch.zeros(len(landmarks) * size * size, device=landmarks.device)
    heatmaps[places[drawn]] = 1.0
    return heatmaps.view(len(landmarks), 1, size, size)


def _disc(radius_px: float) -> Tensor:
    """Return the offsets `(P, 2)` of a disc's pixels from its centre."""
    if radius_px < 0:
        raise ValueError(f"expected a radius of 0 px or more, got {radius_px}; do not negate it")
    reach = int(radius_px + 0.5)
    steps = torch.arange(-reach, reach + 1)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    offsets = torch.stack((x, y), dim=-1).flatten(0, 1)
    return offsets[offsets.square().sum(dim=1) <= (radius_px + 0.5) ** 2]
