"""Pictures of a morphable model: batched, in plain tensor operations, on CPU or GPU.

The image of a face depends on its own parameters only, never on what else is in the batch.
Gradients flow to landmarks, light, albedo and – inside the silhouette – to the geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lib.faces.camera import project, supersample_px, to_camera
from fer_lib.faces.light import lamp, shade
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.normals import fan_normals, unit
from fer_lib.faces.params import FaceParams
from fer_lib.faces.raster import Fragments, barycentric, rasterise

GAMMA = 2.2
_DARKEST_SHADING = 0.03
_BLACK = 1e-7


@dataclass(frozen=True)
class Surface:
    """What is seen at every covered pixel of the supersampled images.

    Attributes:
        fragments: the P covered pixels.
        normals: ``(3, P)`` unit vectors in camera coordinates.
        albedo: ``(3, P)``, linear light.
        shading: ``(3, P)``, factor on the albedo, not clamped.
        batch: number of faces.
        supersample: pixels per side that are averaged into one.
    """

    fragments: Fragments
    normals: Tensor
    albedo: Tensor
    shading: Tensor
    batch: int
    supersample: int

    def resolve(self, values: Tensor) -> Tensor:
        """Average values of covered pixels into images; uncovered pixels count as zero.

        Args:
            values: ``(C, P)``.

        Returns:
            ``(B, C, size, size)``.
        """
        fine, step = self.fragments.size, self.supersample
        empty = values.new_zeros(self.batch * fine * fine)
        images = [empty.scatter(0, self.fragments.pixel, channel) for channel in values]
        image = torch.stack(images).view(len(values), self.batch, fine, fine)
        # Plain additions are many times faster than a mean over two inner dimensions.
        image = sum(image[:, :, i::step] for i in range(1, step)) + image[:, :, ::step]
        image = sum(image[..., i::step] for i in range(1, step)) + image[..., ::step]
        return (image / step**2).transpose(0, 1)


@dataclass(frozen=True)
class Rendering:
    """A batch of rendered faces; buffers are averaged from the surface when first asked for.

    Attributes:
        image: ``(B, 3, size, size)`` RGB in [0, 1], gamma-coded like a photograph.
        mask: ``(B, 1, size, size)`` in [0, 1], the part of a pixel that the head covers.
        landmarks_px: ``(B, 68, 2)`` x, y; the first pixel's centre is (0, 0).
        surface: the supersampled surface that the buffers come from.
    """

    image: Tensor
    mask: Tensor
    landmarks_px: Tensor
    surface: Surface

    @cached_property
    def normals(self) -> Tensor:
        """Normals in camera coordinates, ``(B, 3, size, size)`` in [-1, 1], zero outside."""
        return self.surface.resolve(self.surface.normals)

    @cached_property
    def albedo(self) -> Tensor:
        """Albedo in linear light, ``(B, 3, size, size)`` in [0, 1], zero outside."""
        return self.surface.resolve(self.surface.albedo)

    @cached_property
    def shading(self) -> Tensor:
        """Factor on the albedo by the light, ``(B, 3, size, size)``, zero outside."""
        return self.surface.resolve(self.surface.shading)


def render(
    model: MorphableModel,
    params: FaceParams,
    size: int,
    supersample: int = 2,
    background: Tensor | None = None,
) -> Rendering:
    """Draw faces.

    Args:
        model: the head, on the device of ``params``.
        params: B faces.
        size: side of the square image in pixels.
        supersample: pixels per side that are averaged into one before the gamma curve.
        background: ``(B or 1, 3, size, size)`` RGB in [0, 1], gamma-coded; black when absent.

    Returns:
        Images, mask, landmarks and the surface.
    """
    points = to_camera(_each(model.vertices, params.shape, params.expression), params.pose)
    seen = project(points, params, size, model.depth_bias)
    x_px, y_px = (supersample_px(p, supersample) for p in (seen.x_px, seen.y_px))
    fragments = rasterise(x_px, y_px, seen.nearness, model.triangles, size * supersample)
    weights = _surface_weights(fragments, barycentric(fragments, x_px, y_px), seen.weight)
    normals = fan_normals(points, model.fans)
    *buffers, highlight = _shade_fragments(model, params, fragments, weights, normals)
    surface = Surface(fragments, *buffers, len(params), supersample)
    linear = surface.albedo * surface.shading.clamp_min(_DARKEST_SHADING) + highlight
    image = surface.resolve(torch.cat([linear.clamp(0, 1), torch.ones_like(linear[:1])]))
    colour, mask = image[:, :3], image[:, 3:]
    if background is not None:
        colour = colour + (1 - mask) * background**GAMMA
    picked = torch.stack([seen.x_px, seen.y_px], dim=-1)[:, model.landmark_vertices]
    return Rendering(_encode_gamma(colour), mask, picked, surface)


def _each(function: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    """Apply a function of two batches face by face.

    A matrix product over the whole batch may round differently for another number of faces.
    """
    pairs = zip(first.split(1), second.split(1), strict=True)
    return torch.cat([function(a, b) for a, b in pairs])


def _encode_gamma(colour: Tensor) -> Tensor:
    # The power's slope is infinite at zero: black stays black, and gradients stay finite.
    return torch.where(colour > _BLACK, colour.clamp_min(_BLACK) ** (1 / GAMMA), 0.0)


def _surface_weights(
    fragments: Fragments, bary: tuple[Tensor, ...], weight: Tensor
) -> tuple[Tensor, ...]:
    """Turn barycentric coordinates in the image into those on the surface."""
    index = fragments.corners + fragments.face * weight.shape[1]
    weighted = [b * weight.flatten().index_select(0, i) for b, i in zip(bary, index, strict=True)]
    total = weighted[0] + weighted[1] + weighted[2]
    return tuple(w / total for w in weighted)


def _shade_fragments(
    model: MorphableModel,
    params: FaceParams,
    fragments: Fragments,
    weights: tuple[Tensor, ...],
    normals: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give normals, albedo, shading and highlight of every covered pixel, each ``(3, P)``."""
    constants = torch.cat([model.uv, model.gloss], dim=1).T.contiguous()
    constant = torch.stack([_interpolate(c, fragments.corners, weights) for c in constants])
    index = fragments.corners + fragments.face * normals.shape[2]
    normal = unit(torch.stack([_interpolate(n.flatten(), index, weights) for n in normals]))
    # Pixels lie in the order of the faces; a face's work is the same whatever its neighbours.
    counts = torch.bincount(fragments.face, minlength=len(params)).tolist()
    parts = zip(normal.split(counts, dim=1), constant.split(counts, dim=1), strict=True)
    lit, albedo = [], []
    for k, (face_normal, (u, v, *gloss)) in enumerate(parts):
        lit.append(_light_face(face_normal, *gloss, params.light[k]))
        texture = model.albedo(params.albedo[k : k + 1], params.expression[k : k + 1])
        albedo.append(_fetch(texture, u, v))
    shading, highlight = (torch.cat(part, dim=1) for part in zip(*lit, strict=True))
    return normal, torch.cat(albedo, dim=1), shading, highlight


def _light_face(
    normal: Tensor, strength: Tensor, exponent: Tensor, light: Tensor
) -> tuple[Tensor, Tensor]:
    """Give one face's shading, and Blinn's highlight of the light's lamp, each ``(3, P)``."""
    direction, colour = lamp(light)
    x, y, z = unit(direction + direction.new_tensor([0.0, 0.0, 1.0]))
    cosine = (normal[0] * x + normal[1] * y + normal[2] * z).clamp_min(1e-4)
    return shade(normal, light), colour[:, None] * (strength * cosine**exponent)


def _interpolate(values: Tensor, index: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
    first, second, third = (
        weight * values.index_select(0, i) for i, weight in zip(index, weights, strict=True)
    )
    return first + second + third


def _fetch(texture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Read a texture ``(1, H, W, 3)`` between its four nearest texels, ``(3, P)``."""
    grid = torch.stack([u * 2 - 1, v * 2 - 1], dim=-1)[None, None]
    return F.grid_sample(
        texture.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=True
    )[0, :, 0]
