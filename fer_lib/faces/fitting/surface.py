"""The skin as a fit sees it: points, normals and mesh points, all linear in the coefficients.

A pixel term needs a few thousand points of the face, their normals and nothing else. Points and
tangents are linear in β and ψ, so one matrix product gives them all, and a normal is the cross
product of two tangents: no triangle is visited in a step.

Symbols: β shape, ψ expression; B faces, V vertices of the model, K sampled ones, M vertices that
carry a mesh point.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.normals import fan_normals
from fer_lib.faces.params import FaceParams, rotation_matrix
from fer_lib.faces.raster import rasterise
from fer_lib.faces.render import GAMMA

SKIN_TOP, SKIN_BOTTOM = 0.76, -1.97
"""Hairline and neck in inter-ocular distances above the eyes: beyond them is no skin to compare."""

_FACING = 0.35
_HIDDEN_IOD = 0.03
_CAST_PX = 512


class Seen(NamedTuple):
    """What a camera sees of the sampled points.

    Attributes:
        skin_px: (B,K,2) x, y of the sampled vertices in pixels.
        normals: (3,B,K) unit vectors in camera coordinates.
        mesh_px: (B,468,2) x, y of the mesh points; (B,0,2) without a correspondence.
    """

    skin_px: Tensor
    normals: Tensor
    mesh_px: Tensor


class Surface(NamedTuple):
    """A linear map from coefficients to points and tangents of the face.

    Attributes:
        index: (K,) int64 the model's vertices that are compared with pixels.
        area: (K,) float32 share of the face's frontal area that each stands for; the sum is 1.
        template: (3·N,) float32, N = 3K + mesh points: x of all, then y, then z; points first,
            then both tangents, then mesh points.
        shape: (n_shape,3·N) float32.
        expression: (n_expr,3·N) float32.
    """

    index: Tensor
    area: Tensor
    template: Tensor
    shape: Tensor
    expression: Tensor

    def neutral(self, beta: Tensor) -> Tensor:
        """Points of the face at rest.

        Args:
            beta: (B,n_shape).

        Returns:
            (B,3·N).
        """
        return torch.addmm(self.template[None], beta, self.shape)

    def see(self, neutral: Tensor, params: FaceParams, size: int) -> Seen:
        """Project the points of faces.

        Args:
            neutral: (B,3·N) as `neutral` gives it.
            params: expression, pose and camera of the faces; their shape is not read.
            size: side of the square image in pixels.

        Returns:
            Positions and normals; gradients flow to everything.
        """
        flat = torch.addmm(neutral, params.expression, self.expression)
        planes = flat.view(len(flat), 3, -1)
        count = len(self.index)
        across, down = planes[:, :, count : 2 * count], planes[:, :, 2 * count : 3 * count]
        points = torch.cat([planes[:, :, :count], planes[:, :, 3 * count :]], dim=2)
        seen = project(to_camera(points.transpose(1, 2), params.pose), params, size)
        places = torch.stack([seen.x_px, seen.y_px], dim=-1)
        normal = rotation_matrix(params.pose) @ torch.linalg.cross(across, down, dim=1)
        unit = normal / normal.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt()
        return Seen(places[:, :count], unit.transpose(0, 1), places[:, count:])


@lru_cache(maxsize=4)
def sample_surface(
    model: MorphableModel, correspondence: Correspondence | None = None, stride: int = 2
) -> Surface:
    """Choose the skin vertices of a model and prepare their linear map.

    Taken are vertices that face the camera in the neutral mean face, that nothing hides (no inner
    mouth) and that lie between hairline and neck.

    Args:
        model: the narrow face, or a whole head.
        correspondence: where the mesh points lie on it; without it there are none.
        stride: keep every stride-th vertex.

    Returns:
        The surface, on the model's device.
    """
    index = torch.nonzero(_is_skin(model)).flatten()[::stride]
    rings, shares = _rings(model, index)
    fields = torch.cat([model.template[None], model.shape_basis, model.expression_basis])
    parts = [fields[:, index]]
    parts += [torch.einsum("kr,fkrc->fkc", s, fields[:, rings]) for s in shares]
    if correspondence is not None:
        response = F.pad(correspondence.response, (0, 1)).to(fields)
        parts.append(correspondence.points(fields) + response)
    flat = torch.cat(parts, dim=1).transpose(1, 2).flatten(1)
    shapes = 1 + len(model.shape_basis)
    template, shape, expression = flat[0], flat[1:shapes], flat[shapes:]
    return Surface(index, _areas(model, index), template, shape, expression)


def sample_pixels(images: Tensor, places_px: Tensor) -> Tensor:
    """Read images between their pixels.

    Args:
        images: (B,C,S,S).
        places_px: (B,K,2) x, y; the first pixel's centre is (0, 0).

    Returns:
        (B,K,C); beyond the edge stands the edge's colour.
    """
    grid = places_px[:, None] * (2 / (images.shape[-1] - 1)) - 1
    read = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return read[:, :, 0].transpose(1, 2)


def linear_light(images: Tensor, blur_px: Tensor) -> Tensor:
    """Undo the gamma curve and blur each image as far as its face is large.

    Args:
        images: (B,C,S,S) gamma-coded in [0, 1].
        blur_px: (B,) standard deviations in pixels.

    Returns:
        (B,C,S,S) linear light.
    """
    reach = max(1, int(torch.ceil(3 * blur_px.max())))
    steps = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (steps / blur_px.clamp_min(1e-3)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    flat = (images.clamp(0, 1) ** GAMMA).flatten(0, 1)[None]
    flat = F.pad(flat, [reach] * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return flat.view_as(images)


def _is_skin(model: MorphableModel) -> Tensor:
    height = model.template[:, 1]
    facing = _rest_normals(model)[:, 2] > _FACING
    return facing & (height < SKIN_TOP) & (height > SKIN_BOTTOM) & ~_hidden(model)


def _rest_normals(model: MorphableModel) -> Tensor:
    return fan_normals(model.template[None], model.fans)[:, 0].T


def _hidden(model: MorphableModel) -> Tensor:
    """Vertices that lie clearly behind what is seen of the neutral mean face from the front."""
    x, y, z = model.template.T
    low, span = z.min() - 1, z.max() - z.min() + 2
    scale = _CAST_PX / (2.2 * model.template[:, :2].abs().max())
    x_px, y_px = _CAST_PX / 2 + scale * x, _CAST_PX / 2 - scale * y
    rows = [t[None].contiguous() for t in (x_px, y_px, (z - low) / span)]
    seen = rasterise(*rows, model.triangles, _CAST_PX)
    depth = torch.full((_CAST_PX**2,), float("-inf"), device=z.device)
    depth[seen.pixel] = z[seen.corners].amax(0)
    pixel = y_px.round().long() * _CAST_PX + x_px.round().long()
    return z < depth[pixel] - _HIDDEN_IOD


def _areas(model: MorphableModel, index: Tensor) -> Tensor:
    """Frontal area around every sampled vertex of the neutral mean face, as a share of all."""
    a, b, c = model.template[model.triangles].unbind(1)
    third = torch.linalg.cross(b - a, c - a)[:, 2].clamp_min(0)
    area = third.new_zeros(len(model.template))
    area = area.index_add(0, model.triangles.flatten(), third.repeat_interleave(3))[index]
    return area / area.sum()


def _rings(model: MorphableModel, index: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Neighbours of vertices, and their shares in two tangents: (K,R) and twice (K,R).

    The tangents are the slopes of the plane that fits a vertex's edges best, over a right-handed
    frame of the neutral mean face; their cross product is the normal in every other face.
    """
    rings = _neighbours(model.triangles, len(model.template))[index]
    rings = torch.where(rings < 0, index[:, None], rings)
    normal = _rest_normals(model)[index]
    helper = normal.new_tensor([1.0, 0.0, 0.0]).expand_as(normal)
    second = F.normalize(torch.linalg.cross(normal, helper), dim=1)
    frame = torch.stack([torch.linalg.cross(second, normal), second], dim=1)
    edges = model.template[rings] - model.template[index][:, None]
    flat = torch.einsum("krc,kac->kra", edges, frame)
    shares = torch.linalg.pinv(flat)
    own = -shares.sum(2, keepdim=True)
    across, down = torch.cat([shares, own], dim=2).unbind(1)
    return torch.cat([rings, index[:, None]], dim=1), (across, down)


def _neighbours(triangles: Tensor, count: int) -> Tensor:
    """(V,R) the vertices that share an edge with each vertex, filled up with -1."""
    pairs = torch.cat([triangles[:, [i, j]] for i in range(3) for j in range(3) if i != j])
    pairs = torch.unique(pairs, dim=0)
    degree = torch.bincount(pairs[:, 0], minlength=count)
    place = torch.arange(len(pairs), device=pairs.device) - (degree.cumsum(0) - degree)[pairs[:, 0]]
    rings = pairs.new_full((count, int(degree.max())), -1)
    rings[pairs[:, 0], place] = pairs[:, 1]
    return rings
