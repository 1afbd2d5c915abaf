"""Light as nine spherical-harmonics coefficients per colour, in one order everywhere.

The shading of a surface with unit normal n = (x, y, z) in camera coordinates (x to image-right, y
up, z to the camera) is Σ_k basis_k(n) · light[k] per colour, with the basis in the order
1, x, y, z, xy, xz, yz, x²-y², 3z²-1 and with the constants of DECA's renderer.

Source: Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps",
SIGGRAPH 2001, equations 5 to 13; constants as in Feng et al., "Learning an animatable detailed 3D
face model from in-the-wild images" (DECA), SIGGRAPH 2021.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

SH_CONSTANTS: tuple[float, ...] = (
    1 / sqrt(4 * pi),
    *[2 * pi / 3 * sqrt(3 / (4 * pi))] * 3,
    *[pi / 4 * 3 * sqrt(5 / (12 * pi))] * 3,
    pi / 4 * 1.5 * sqrt(5 / (12 * pi)),
    pi / 4 * 0.5 * sqrt(5 / (4 * pi)),
)
"""Constant of each basis function: normalised harmonic times the clamped cosine's transfer."""


def sh_basis(normals: Tensor) -> Tensor:
    """Evaluate the nine basis functions.

    Args:
        normals: unit vectors ``(3, …)`` in camera coordinates, their x, y and z first.

    Returns:
        ``(9, …)``.
    """
    x, y, z = normals
    values = [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    return torch.stack([v * c for v, c in zip(values, SH_CONSTANTS, strict=True)])


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """Give the shading of surface points under one light.

    Args:
        normals: unit vectors ``(3, P)`` in camera coordinates, their x, y and z first.
        light: ``(9, 3)``.

    Returns:
        Factor on the albedo per colour, ``(3, P)``; not clamped, so it may be slightly negative.
    """
    return light.T @ sh_basis(normals)


def ambient_directional(ambient: Tensor, directional: Tensor, direction: Tensor) -> Tensor:
    """Express ambient light plus one distant lamp as nine coefficients per colour.

    The lamp's clamped cosine max(n·l, 0) is replaced by its projection on the nine functions,
    1/4 + (n·l)/2 + 5/32 (3(n·l)²-1).

    Args:
        ambient: shading by the ambient light, ``(B, 3)`` per colour.
        directional: shading by the lamp where the surface faces it, ``(B, 3)`` per colour.
        direction: unit vectors towards the lamp, ``(B, 3)`` in camera coordinates.

    Returns:
        ``(B, 9, 3)``.

    Source: Ramamoorthi and Hanrahan 2001, equation 8 (A_0 = π, A_1 = 2π/3, A_2 = π/4).
    """
    x, y, z = direction.unbind(-1)
    quadratic = [6 * x * y, 6 * x * z, 6 * y * z, 1.5 * (x * x - y * y), (3 * z * z - 1) / 2]
    lamp = torch.stack(
        [torch.full_like(x, 0.25), x / 2, y / 2, z / 2, *[q * 5 / 32 for q in quadratic]], dim=-1
    )
    light = lamp[:, :, None] * directional[:, None, :]
    constant = torch.zeros(9, device=lamp.device, dtype=lamp.dtype)
    constant[0] = 1
    light = light + constant[:, None] * ambient[:, None, :]
    return light / light.new_tensor(SH_CONSTANTS)[:, None]


def lamp(light: Tensor) -> tuple[Tensor, Tensor]:
    """Find the lamp that a light's linear part describes; highlights are drawn from it.

    Args:
        light: ``(9, 3)``.

    Returns:
        Unit direction of the lamp ``(3,)`` and its shading per colour ``(3,)``, exact for what
        ``ambient_directional`` makes.
    """
    linear = light[1:4] * SH_CONSTANTS[1] * 2
    mean = linear.mean(dim=1)
    direction = mean / mean.norm().clamp_min(1e-6)
    return direction, (direction @ linear).clamp_min(0)


def sample_light(generator: torch.Generator, count: int) -> Tensor:
    """Draw indoor-like lights: soft ambient, one lamp from above the camera, a slight tint.

    Args:
        generator: source of chance, on the CPU.
        count: number of lights B.

    Returns:
        ``(B, 9, 3)``.
    """
    ambient = 0.42 + 0.16 * torch.rand(count, 1, generator=generator)
    strength = 0.62 + 0.3 * (torch.rand(count, 1, generator=generator) - 0.3)
    direction = torch.randn(count, 3, generator=generator) * torch.tensor([0.55, 0.35, 0.0])
    direction = direction + torch.tensor([0.0, 0.35, 0.9])
    direction = direction / direction.norm(dim=1, keepdim=True)
    tint = 1.15 * (1 + 0.06 * torch.randn(count, 3, generator=generator))
    light = ambient_directional(ambient * tint, strength * tint, direction)
    # The sky is brighter than the floor: a little more light from above.
    light[:, 2] += 0.07 * tint / SH_CONSTANTS[2]
    return light
