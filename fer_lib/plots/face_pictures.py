"""Pictures of fitted faces as arrays: on their photographs, as grids, as clay, in false colours."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fer_lib.faces.light import ambient_directional, shade
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import GAMMA, Rendering, render

# The chart of the face, in inter-ocular distances: half its side, how far its lines are apart, and
# the step from pixel to pixel that is no surface any more.
_HALF_SIDE, _SPACING, _JUMP = 2.0, 0.2, 0.06
_LINE_PX = 0.9
_BACKGROUND = 0.9
_CLAY = 0.62


class FitPictures(NamedTuple):
    """One fit beside its photograph.

    Attributes:
        grid: ``(S, S, 3)`` uint8 RGB, lines of the fitted surface over the darkened photograph.
        laid: the face drawn on the photograph.
        geometry: the surface alone in grey clay, on white.
        landmarks_px: ``(68, 2)`` of the model.
    """

    grid: np.ndarray
    laid: np.ndarray
    geometry: np.ndarray
    landmarks_px: np.ndarray


@torch.no_grad()
def plain_picture(
    model: MorphableModel, params: FaceParams, size: int, supersample: int = 2
) -> np.ndarray:
    """Draw one face on light grey.

    Args:
        model: its model.
        params: a batch of one.
        size: side in pixels.
        supersample: pixels per side averaged into one.

    Returns:
        ``(size, size, 3)`` uint8 RGB.
    """
    behind = model.template.new_full((1, 3, 1, 1), _BACKGROUND)
    return _bytes(_image(render(model, params, size, supersample, behind).image))


@torch.no_grad()
def fit_pictures(model: MorphableModel, params: FaceParams, photo: np.ndarray) -> FitPictures:
    """Draw one fit over its photograph and by itself.

    Args:
        model: the model of the fit.
        params: a batch of one in the frame of the photograph.
        photo: ``(S, S, 3)`` uint8 RGB.

    Returns:
        The pictures; lines are 0.2 inter-ocular distances apart, seen from the front.
    """
    behind = torch.from_numpy(photo).to(model.template).permute(2, 0, 1)[None] / 255
    drawn = render(model, params, len(photo), background=behind)
    lines, region = _chart_on(model, params, len(photo))
    return FitPictures(
        grid=faded(photo * 0.8, 0.85 * lines),
        laid=_bytes(photo / 255 * (1 - region) + _image(drawn.image) * region),
        geometry=_bytes(_on_white(drawn, _clay(drawn))[0]),
        landmarks_px=drawn.landmarks_px[0].cpu().numpy(),
    )


def faded(picture: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Mix a picture with white.

    Args:
        picture: ``(H, W, 3)``, up to 255.
        share: of white, in [0, 1], a number or ``(H, W, 1)``.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    return _bytes(picture / 255 * (1 - share) + share)


@torch.no_grad()
def error_pictures(
    model: MorphableModel, params: FaceParams, share: np.ndarray, ramp: np.ndarray, size: int
) -> np.ndarray:
    """Draw faces in false colours, shaded so that their form is seen.

    Args:
        model: their model.
        params: B faces.
        share: ``(V,)`` place of each vertex on the ramp, in [0, 1]; NaN is grey.
        ramp: ``(n, 3)`` gamma-coded colours in [0, 1].
        size: side in pixels.

    Returns:
        ``(B, size, size, 3)`` in [0, 1], on white.
    """
    unknown = np.isnan(share)
    texture = torch.from_numpy(np.stack([ramp, np.full_like(ramp, 0.8)])).float() ** GAMMA
    uv = torch.from_numpy(np.stack([np.where(unknown, 0, share), unknown], 1)).float()
    drawn = _render_painted(model, params, uv, texture, size)
    return _on_white(drawn, drawn.surface.albedo * (_clay(drawn) / _CLAY).clamp(0.35, 1.1))


def _render_painted(
    model: MorphableModel, params: FaceParams, uv: Tensor, texture: Tensor, size: int, fine: int = 2
) -> Rendering:
    """Draw the same surface under another texture, ``(H, W, 3)``, which no α or ψ changes."""
    painted = replace(
        model, uv=uv.to(model.uv), albedo_mean=texture.to(model.uv), albedo_names=(),
        albedo_maps=model.albedo_maps[:0], albedo_mix=model.albedo_mix[:0, :0],
        wrinkles=model.wrinkles[:0], wrinkle_modes=model.wrinkle_modes[:0],
    )  # fmt: skip
    return render(painted, params.replace(albedo=params.albedo[:, :0]), size, fine)


def _chart_on(
    model: MorphableModel, params: FaceParams, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Grid lines of the face and the face's region as the image sees them, ``(size, size, 1)``."""
    middle = model.template.new_tensor([0.0, -0.5])
    # Between four texels that hold the corners, the colour is the place on the chart.
    corners = torch.tensor([[[0.0, 0, 1], [1, 0, 1]], [[0, 1, 1], [1, 1, 1]]])
    uv = (model.template[:, :2] - middle) / (2 * _HALF_SIDE) + 0.5
    drawn = _render_painted(model, params, uv.clamp(0, 1), corners, 2 * size, 1)
    x, y, seen = drawn.albedo[0].cpu()
    x, y = ((z - 0.5) * 2 * _HALF_SIDE + m for z, m in zip((x, y), middle.tolist(), strict=True))
    region = _face_region(model, x, y) * seen
    lines = torch.maximum(_near_line(x), _near_line(y)) * region
    small = avg_pool2d(torch.stack([lines, region])[None], 2)[0].numpy()
    return small[0, ..., None], small[1, ..., None]


def _face_region(model: MorphableModel, x: Tensor, y: Tensor) -> Tensor:
    """1 inside a rounded frame from the chin to the forehead, 0 outside, of places of the chart."""
    marks = model.landmarks(model.template[None])[0].cpu()
    low, high, wide = marks[8, 1], marks[17:27, 1].max() + 0.35, 0.97 * marks[:17, 0].max()
    tall = (high - low) / 2
    radius = ((x / wide).abs() ** 2.5 + ((y - low - tall) / tall).abs() ** 2.5) ** 0.4
    return ((1 - radius) / 0.06).clamp(0, 1)


def _near_line(z: Tensor) -> Tensor:
    """1 on the lines of a coordinate ``(H, W)``, all equally thick, 0 a pixel away from them."""
    slope = torch.stack(torch.gradient(z)).norm(dim=0)
    away_px = (z / _SPACING - (z / _SPACING).round()).abs() * _SPACING / slope.clamp_min(1e-9)
    # Where the coordinate jumps, one part of the face hides another.
    return (_LINE_PX + 0.5 - away_px).clamp(0, 1) * (slope < _JUMP)


def _clay(drawn: Rendering) -> Tensor:
    """Grey clay under one lamp from the upper left, ``(3, P)`` in linear light."""
    direction = torch.tensor([[-0.35, 0.5, 0.8]])
    light = ambient_directional(
        torch.full((1, 3), 0.28), torch.full((1, 3), 0.78), direction / direction.norm()
    )
    normals = drawn.surface.normals
    return _CLAY * shade(normals, light[0].to(normals)).clamp_min(0.02)


def _on_white(drawn: Rendering, linear: Tensor) -> np.ndarray:
    """Average colours of covered pixels over white and gamma-code them, ``(B, size, size, 3)``."""
    colour = drawn.surface.resolve(linear.clamp(0, 1)) + 1 - drawn.mask
    return (colour.clamp(0, 1) ** (1 / GAMMA)).permute(0, 2, 3, 1).cpu().numpy()


def _image(images: Tensor) -> np.ndarray:
    """The first image of ``(B, 3, S, S)`` as ``(S, S, 3)``."""
    return images[0].permute(1, 2, 0).cpu().numpy()


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)
