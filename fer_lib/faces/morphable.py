"""A linear 3-D face: geometry, texture, landmarks and names, whatever its source.

The embedded head, ICT-FaceKit and FLAME are all loaded into this one type (after Blanz & Vetter
1999: a mesh and a texture that are linear in their coefficients).

Conventions: inter-ocular distance = 1, pupils at x = ±0.5 and y = 0 at rest, x to the right in the
image (the subject's left), y up, z to the camera. Symbols: β shape, ψ expression and α albedo
coefficients; V vertices, F triangles, B faces in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from fer_lib.faces.normals import Fans, list_fans

N_LANDMARKS = 68
_SHADE_RANGE = (0.15, 1.3)
_NEGLIGIBLE = 1e-4

Box = tuple[slice, slice]


@dataclass(frozen=True)
class MorphableModel:
    """A face that is linear in shape, expression and albedo coefficients.

    Attributes:
        name: which model.
        licence: under what terms its data may be used.
        template: (V,3) float32 mean neutral face.
        shape_basis: (n_shape,V,3) float32 displacement per unit of each identity mode.
        shape_names: names of the identity modes.
        expression_basis: (n_expr,V,3) float32 displacement per unit of each expression mode.
        expression_names: "au01" … "au43", "gaze_x", "gaze_y", then "au02_left", "au02_right", …
        triangles: (F,3) int64, counter-clockwise seen from outside.
        uv: (V,2) float32 texture position in [0,1], u right, v down; u = 0 is the centre of the
            first texel column and u = 1 that of the last.
        albedo_mean: (Ht,Wt,3) float32 linear-light RGB.
        albedo_maps: (M,Ht,Wt,3) float32 maps from which the albedo modes are mixed; modes that
            share a pattern (the skin's three colour axes) share its map.
        albedo_mix: (n_albedo,M,3) float32 share of each map and channel in each mode.
        albedo_names: names of the albedo modes.
        wrinkles: (n_w,Ht,Wt) float32 share of light lost per unit of an expression mode.
        wrinkle_modes: (n_w,) int64 the expression mode of each wrinkle map; the other modes have
            none, which keeps the maps few.
        landmark_vertices: (68,) int64 vertices of the landmarks in iBUG order (first = image left).
        depth_bias: (V,) float32 push away from the camera in the depth buffer only.
        gloss: (V,2) float32 specular strength and Blinn exponent.
        weld: (V,) int64 one vertex to stand for all at the same place of the surface, itself where
            no seam of the texture splits it; vertex normals are shared along it.
        unit_mm: millimetres of one inter-ocular distance of the mean head.
    """

    name: str
    licence: str
    template: Tensor
    shape_basis: Tensor
    shape_names: tuple[str, ...]
    expression_basis: Tensor
    expression_names: tuple[str, ...]
    triangles: Tensor
    uv: Tensor
    albedo_mean: Tensor
    albedo_maps: Tensor
    albedo_mix: Tensor
    albedo_names: tuple[str, ...]
    wrinkles: Tensor
    wrinkle_modes: Tensor
    landmark_vertices: Tensor
    depth_bias: Tensor
    gloss: Tensor
    weld: Tensor
    unit_mm: float

    def __post_init__(self) -> None:
        """Check that the tables agree.

        Raises:
            ValueError: if names, bases, landmarks or triangles do not fit each other.
        """
        n_vertices = len(self.template)
        for basis, names in (
            (self.shape_basis, self.shape_names),
            (self.expression_basis, self.expression_names),
        ):
            expected = (len(names), n_vertices, 3)
            if tuple(basis.shape) != expected:
                raise ValueError(f"expected a basis of shape {expected}, got {tuple(basis.shape)}")
        expected = (len(self.albedo_names), len(self.albedo_maps), 3)
        if tuple(self.albedo_mix.shape) != expected:
            raise ValueError(
                f"expected an albedo mix of shape {expected}, got {tuple(self.albedo_mix.shape)}"
            )
        if tuple(self.landmark_vertices.shape) != (N_LANDMARKS,):
            raise ValueError(
                f"expected {N_LANDMARKS} landmark vertices, got {len(self.landmark_vertices)}"
            )
        if int(self.triangles.max()) >= n_vertices or int(self.triangles.min()) < 0:
            raise ValueError(f"expected triangles over {n_vertices} vertices; check their indices")

    def vertices(self, beta: Tensor, psi: Tensor) -> Tensor:
        """Shape the head.

        Args:
            beta: (B,n_shape) identity coefficients.
            psi: (B,n_expr) expression coefficients.

        Returns:
            (B,V,3) positions in inter-ocular distances: template + β·shape + ψ·expression.
        """
        flat = torch.addmm(
            self.template.reshape(1, -1), beta, self.shape_basis.reshape(len(self.shape_names), -1)
        )
        flat = torch.addmm(flat, psi, self.expression_basis.reshape(len(self.expression_names), -1))
        return flat.reshape(len(beta), *self.template.shape)

    def albedo(self, alpha: Tensor, psi: Tensor) -> Tensor:
        """Colour the head.

        Every face is computed by itself, so that its colours do not depend on the batch.

        Args:
            alpha: (B,n_albedo) albedo coefficients.
            psi: (B,n_expr) expression coefficients; they deepen the wrinkles.

        Returns:
            (B,Ht,Wt,3) linear-light RGB, not below 0.
        """
        return torch.stack([self._albedo(a, p) for a, p in zip(alpha, psi, strict=True)])

    def _albedo(self, alpha: Tensor, psi: Tensor) -> Tensor:
        """Albedo of one face; each map is only touched in the box where it is not zero."""
        height, width, _ = self.albedo_mean.shape
        # Rows of width · 3 numbers: adding whole rows is several times faster than triples.
        share = torch.einsum("a,amc->mc", alpha, self.albedo_mix).repeat(1, width)
        colour = self.albedo_mean.reshape(height, -1).clone()
        for k, (rows, columns) in enumerate(self._albedo_boxes):
            colour[rows, columns] += (
                share[k, columns] * self.albedo_maps[k].flatten(1)[rows, columns]
            )
        colour = colour.reshape(height, width, 3)
        shade = colour.new_ones(colour.shape[:2])
        for k, box in enumerate(self._wrinkle_boxes):
            shade[box] -= psi[self.wrinkle_modes[k]] * self.wrinkles[k][box]
        shade = shade.clamp(*_SHADE_RANGE)[..., None]
        return (colour * shade).clamp(min=0.0)

    @cached_property
    def albedo_basis(self) -> Tensor:
        """(n_albedo,Ht,Wt,3) change of the albedo per unit of each albedo mode."""
        return torch.einsum("amc,mhwc->ahwc", self.albedo_mix, self.albedo_maps)

    @cached_property
    def fans(self) -> Fans:
        """The triangles around every vertex, seams closed."""
        return list_fans(self.triangles, self.weld)

    @cached_property
    def _albedo_boxes(self) -> list[Box]:
        return [_occupied_box(m.abs().flatten(1), 3) for m in self.albedo_maps]

    @cached_property
    def _wrinkle_boxes(self) -> list[Box]:
        return [_occupied_box(m.abs()) for m in self.wrinkles]

    def landmarks(self, vertices: Tensor) -> Tensor:
        """The 68 landmarks of shaped heads.

        Args:
            vertices: (B,V,3) from `vertices`.

        Returns:
            (B,68,3) positions in iBUG order.
        """
        return vertices[:, self.landmark_vertices]

    def to(self, device: torch.device | str) -> MorphableModel:
        """The same model with its tensors on another device.

        Args:
            device: where to.

        Returns:
            A new model; strings and names are shared.
        """
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {k: v.to(device) for k, v in tensors.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def _occupied_box(strength: Tensor, step: int = 1) -> Box:
    """Rows that are not negligible somewhere, and their columns, ``step`` by ``step``, not zero."""
    rows = torch.nonzero(strength.amax(1) > _NEGLIGIBLE).flatten()
    if not len(rows):
        return slice(0), slice(0)
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = torch.nonzero(strength[band].amax(0)).flatten() // step * step
    return band, slice(int(columns[0]), int(columns[-1]) + step)
