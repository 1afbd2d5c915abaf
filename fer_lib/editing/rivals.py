"""Editors without diffusion, which every learned editor must beat: copy, paste, mesh warp.

All take the photograph and the parameters of source and edit, and know the renderer; none learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from fer_lib.datasets.edits import COPY_SOURCE
from fer_lib.faces.camera import project, supersample_px, to_camera
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.raster import barycentric
from fer_lib.faces.regions import region_masks
from fer_lib.faces.render import GAMMA, Rendering, render

SUPERSAMPLE = 2
"""Pixels per side that rivals average into one."""
_FEATHER = 0.1  # of the face's size
# σ as fractions of the side: colours, motion next to the head, a pasted border, a shaded outline.
_LOCAL, _BESIDE, _BORDER, _OUTLINE = 0.1, 0.02, 0.02, 0.01
_STIFF = 0.05  # the larger, the nearer to the head its surroundings stand still
_VISIBLE = 0.05  # change of a render, of a range of 1, from which it is pasted in full
_HIDDEN_IOD = 0.03
_RATIO = (0.5, 2.0)
_DARKEST = 0.03
_TINY = 1e-3


def copy_source(
    images: Tensor, model: MorphableModel, source: FaceParams, edited: FaceParams
) -> Tensor:
    """Leave the photographs as they are.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1].
        model: not looked at, as are the parameters; all rivals are called alike.
        source: B faces.
        edited: B faces.

    Returns:
        ``(B, 3, S, S)``, the same values.
    """
    return images.clone()


@torch.no_grad()
def paste_render(
    images: Tensor, model: MorphableModel, source: FaceParams, edited: FaceParams
) -> Tensor:
    """Lay the edited face's render over the photograph, in its colours, with a soft border.

    Only what the edit changes is pasted: the rest keeps beard, glasses and folds. The render takes
    the local ratio of the photograph's colours to those of the source's render.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1].
        model: from ``buffers.buffer_head``.
        source: B faces, where they are in the photographs.
        edited: B faces with another ψ.

    Returns:
        ``(B, 3, S, S)`` in [-1, 1].
    """
    photo, size = (images + 1) / 2, images.shape[-1]
    before, after = (render(model, p, size, SUPERSAMPLE) for p in (source, edited))
    faces = [_face(drawn, size, _FEATHER) for drawn in (before, after)]
    region = torch.maximum(*faces) * after.mask * _change(before, after)
    return _coded(photo + region * (_in_colours(photo, before, after) - photo))


@torch.no_grad()
def warp_by_mesh(
    images: Tensor, model: MorphableModel, source: FaceParams, edited: FaceParams
) -> Tensor:
    """Move the photograph's pixels with the mesh and change their light with its shading.

    Skin takes the ratio of the edit's to the source's shading. What the source does not show, such
    as teeth behind closed lips, comes from the render as in ``paste_render``. Without a change of
    the parameters the photograph stays as it is.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1].
        model: from ``buffers.buffer_head``.
        source: B faces, where they are in the photographs.
        edited: B faces with another ψ.

    Returns:
        ``(B, 3, S, S)`` in [-1, 1].

    Source: the expression ratio image of Liu, Shan and Zhang, "Expressive expression mapping with
    ratio images", SIGGRAPH 2001.
    """
    drawn = (render(model, p, images.shape[-1], SUPERSAMPLE) for p in (source, edited))
    return warp_drawn(images, model, source, edited, *drawn)[0]


def warp_drawn(
    images: Tensor,
    model: MorphableModel,
    source: FaceParams,
    edited: FaceParams,
    before: Rendering,
    after: Rendering,
) -> tuple[Tensor, Tensor]:
    """Do as ``warp_by_mesh`` with faces that are drawn already.

    Args:
        images: ``(B, 3, S, S)`` in [-1, 1].
        model: from ``buffers.buffer_head``.
        source: B faces, where they are in the photographs.
        edited: B faces with another ψ.
        before: ``source`` of side S, ``SUPERSAMPLE`` times as fine.
        after: ``edited`` likewise.

    Returns:
        The warped photographs ``(B, 3, S, S)`` in [-1, 1], and ``(B, 1, S, S)`` in [0, 1], the
        share of a pixel that the photographs do not show.
    """
    photo = (images + 1) / 2
    motion = _motion(model, source, edited, before, after)
    old, new = (
        _spread(drawn.shading, drawn.mask, _BESIDE).clamp_min(_DARKEST) for drawn in (before, after)
    )
    ratio = (new / _sample(old, motion.shift_px).clamp_min(_DARKEST)).clamp(*_RATIO)
    # Beside the head there is nothing that the mesh could shade; outlines are uncertain.
    ratio = _blur(1 + after.mask * (ratio ** (1 / GAMMA) - 1), _OUTLINE)
    warped = _sample(photo, motion.shift_px) * ratio
    whole = warped + motion.hidden * (_in_colours(photo, before, after) - warped)
    return _coded(whole), motion.hidden


RIVALS: dict[str, Callable[[Tensor, MorphableModel, FaceParams, FaceParams], Tensor]] = {
    COPY_SOURCE: copy_source,
    "pasted render": paste_render,
    "mesh warp": warp_by_mesh,
}
"""Every rival by the name that tables give it."""


class Motion(NamedTuple):
    """How the mesh moves on the screen, seen from the edit.

    Attributes:
        shift_px: ``(B, 2, S, S)``, right and down from a pixel to where the source shows the same
            point of the surface; it fades out beside the head.
        hidden: ``(B, 1, S, S)`` in [0, 1], the share of a pixel whose points the source hides.
    """

    shift_px: Tensor
    hidden: Tensor


@torch.no_grad()
def mesh_motion(model: MorphableModel, source: FaceParams, edited: FaceParams, size: int) -> Motion:
    """Find out where the points that an edit shows are in the source.

    Args:
        model: any head.
        source: B faces.
        edited: B faces.
        size: side of the images in pixels.

    Returns:
        The motion; zero where nothing changes.
    """
    drawn = (render(model, params, size, SUPERSAMPLE) for params in (source, edited))
    return _motion(model, source, edited, *drawn)


def _motion(
    model: MorphableModel,
    source: FaceParams,
    edited: FaceParams,
    before: Rendering,
    after: Rendering,
) -> Motion:
    size = after.image.shape[-1]
    old, new = (_on_screen(model, params, size) for params in (source, edited))
    seen = after.surface.fragments
    where, corners = barycentric(seen, new[0], new[1]), seen.corners + seen.face * new.shape[2]
    # Differences of vertices, not of places: exactly zero where nothing moves.
    shift = _interpolate(old[:2] - new[:2], corners, where) / SUPERSAMPLE
    hidden = _is_hidden(before, old, _interpolate(old, corners, where), seen.face)
    values = after.surface.resolve(torch.cat([shift, hidden[None].to(shift)]))
    return Motion(_spread(values[:, :2], after.mask, _BESIDE, _STIFF), values[:, 2:])


def _on_screen(model: MorphableModel, params: FaceParams, size: int) -> Tensor:
    """Vertices as ``(3, B, V)``: x and y in supersampled pixels, z towards the camera in IOD."""
    shaped = [model.vertices(*pair) for pair in
              zip(params.shape.split(1), params.expression.split(1), strict=True)]  # fmt: skip
    points = to_camera(torch.cat(shaped), params.pose)
    place = project(points, params, size)
    x, y = (supersample_px(at, SUPERSAMPLE) for at in (place.x_px, place.y_px))
    return torch.stack([x, y, points[..., 2] - model.depth_bias])


def _is_hidden(drawn: Rendering, screen: Tensor, place: Tensor, face: Tensor) -> Tensor:
    """Whether places ``(3, P)`` on the screen lie behind all that is drawn around them, ``(P,)``.

    Around them means 3 × 3 pixels: outlines and slopes hide nothing by themselves.
    """
    seen, count = drawn.surface.fragments, drawn.surface.batch
    corners = seen.corners + seen.face * screen.shape[2]
    (z,) = _interpolate(screen[2:], corners, barycentric(seen, screen[0], screen[1]))
    # Nothing is behind what is beside the head.
    depth = z.new_full((count * seen.size**2,), -math.inf).scatter(0, seen.pixel, z)
    farthest = -F.max_pool2d(-depth.view(count, seen.size, seen.size), 3, stride=1, padding=1)
    column, row = (at.round().long().clamp(0, seen.size - 1) for at in place[:2])
    return place[2] < farthest[face, row, column] - _HIDDEN_IOD


def _interpolate(values: Tensor, corners: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    """Values ``(C, B, V)`` of vertices at places on triangles, ``(C, P)``."""
    flat = values.flatten(1)
    return sum(w * flat.index_select(1, c) for w, c in zip(weights, corners, strict=True))


def _in_colours(photo: Tensor, before: Rendering, after: Rendering) -> Tensor:
    """The edit's render in the photograph's colours, [0, 1]."""
    weight = _face(before, photo.shape[-1]) * before.mask
    there, drawn = photo * weight, before.image * weight
    overall = there.sum((2, 3), keepdim=True) / drawn.sum((2, 3), keepdim=True).clamp_min(_TINY)
    gain = (_blur(there, _LOCAL) + _TINY * overall) / (_blur(drawn, _LOCAL) + _TINY)
    return (after.image * gain).clamp(0, 1)


def _change(before: Rendering, after: Rendering) -> Tensor:
    """Where two renders differ, ``(B, 1, S, S)`` in [0, 1], with a soft border."""
    change = (after.image - before.image).abs().amax(1, keepdim=True)
    return (_blur(change, _BORDER) / _VISIBLE).clamp(0, 1)


def _face(drawn: Rendering, size: int, feather: float = 0.0) -> Tensor:
    return region_masks(drawn.landmarks_px, size, feather=feather)["face"][:, None]


def _spread(values: Tensor, mask: Tensor, sigma: float, floor: float = _TINY) -> Tensor:
    """Free averages from the part of a pixel that is empty, and continue them beside the head.

    A ``floor`` lets what is continued fade with the distance.
    """
    beside = _blur(values, sigma) / (_blur(mask, sigma) + floor)
    return torch.where(mask > _TINY, values / mask.clamp_min(_TINY), beside)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian whose σ is a fraction of the side."""
    sigma_px = sigma * images.shape[-1]
    return gaussian_blur(images, 2 * math.ceil(3 * sigma_px) + 1, sigma_px)


def _sample(images: Tensor, shift_px: Tensor) -> Tensor:
    """Fetch every pixel from where its shift points to."""
    size = images.shape[-1]
    at = torch.arange(size, dtype=images.dtype, device=images.device)
    place = torch.stack(torch.meshgrid(at, at, indexing="xy")) + shift_px
    grid = ((2 * place + 1) / size - 1).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _coded(photo: Tensor) -> Tensor:
    return 2 * photo.clamp(0, 1) - 1
