"""How far a face in colours is from its photograph, and the light and albedo that fit it best.

Symbols: B faces, K sampled skin points, M modes of the albedo basis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lib.faces.fitting.albedo_basis import AlbedoBasis, solve_light
from fer_lib.faces.fitting.surface import Seen, Surface, linear_light, sample_pixels
from fer_lib.faces.light import sh_basis
from fer_lib.faces.params import FaceParams

CHARBONNIER, COLOUR_SD, HUBER = 1e-2, 0.03, 2.5
"""Rounding of the pixel term and its unit, in linear light; the mesh term's, in deviations."""

_ROUNDS = 4


@dataclass(frozen=True)
class Appearance:
    """The unknowns of B faces.

    Attributes:
        params: shape, expression, pose, camera and light; their own albedo is not read.
        albedo: (B,M) coefficients of the albedo basis.
        neutral: the surface's points at rest, as `Surface.neutral` gives them.
    """

    params: FaceParams
    albedo: Tensor
    neutral: Tensor


@dataclass(frozen=True)
class Photographs:
    """What is seen of B faces.

    Attributes:
        surface: the skin points.
        linear: (B,3,S,S) linear light, blurred.
        mesh_px: (B,468,2) mesh points, or (B,0,2).
        sigma_px: (B,468) their deviations in pixels, inflated; (B,0) without mesh points.
        mean: (K,C) mean albedo, C 1 or 3.
        modes: (M,K,C) its modes, in standard deviations.
        facing: smallest z of a normal that is compared.
    """

    surface: Surface
    linear: Tensor
    mesh_px: Tensor
    sigma_px: Tensor
    mean: Tensor
    modes: Tensor
    facing: float

    @classmethod
    def take(
        cls,
        surface: Surface,
        images: Tensor,
        iod_px: Tensor,
        albedo: AlbedoBasis,
        blur_iod: float,
        facing: float,
    ) -> Photographs:
        """Prepare photographs, without mesh points.

        Args:
            surface: the skin points.
            images: (B,3,S,S) in [0,1], gamma-coded.
            iod_px: (B,) inter-ocular distances in pixels.
            albedo: colours of the model's vertices; where its mean is NaN nothing is compared.
            blur_iod: standard deviation of the blur in inter-ocular distances.
            facing: smallest z of a normal that is compared.

        Returns:
            The photographs, on the device of the images.
        """
        mean, modes = (table.to(images) for table in albedo.at(surface.index))
        known = mean.isfinite().all(1)
        surface = surface._replace(area=surface.area * known)
        linear = linear_light(images, iod_px * blur_iod)
        nothing = images.new_zeros(len(images), 0)
        mean, modes = mean.nan_to_num(), modes.nan_to_num()
        return cls(
            surface, linear, nothing[..., None].expand(-1, -1, 2), nothing, mean, modes, facing
        )

    def look(self, face: Appearance) -> tuple[Seen, Tensor, Tensor]:
        """Compare colours.

        Args:
            face: the unknowns.

        Returns:
            The points; photograph minus model (B,K,3) in linear light; and the share (B,K) of each
            point in its face, 0 for those turned away.
        """
        seen = self.surface.see(face.neutral, face.params, self.linear.shape[-1])
        shading = sh_basis(seen.normals).permute(1, 2, 0) @ face.params.light
        colours = sample_pixels(self.linear, seen.skin_px)
        return seen, colours - self._albedo(face.albedo) * shading, self._share(seen)

    def cost(self, face: Appearance, weight: float) -> Tensor:
        """Pixel and mesh terms, and the albedo's prior.

        Args:
            face: the unknowns.
            weight: for how many independent pixels the face counts.

        Returns:
            (B,) negative logarithm of the likelihood, up to a constant.
        """
        seen, error, share = self.look(face)
        rho = (error.square() + CHARBONNIER**2).sqrt().mean(2)
        off = (seen.mesh_px - self.mesh_px) / self.sigma_px[..., None]
        mesh = F.huber_loss(off, torch.zeros_like(off), reduction="none", delta=HUBER)
        pixels = weight / COLOUR_SD * (share * rho).sum(1)
        return pixels + mesh.sum((1, 2)) + 0.5 * face.albedo.square().sum(1)

    @torch.no_grad()
    def solve_colours(self, face: Appearance, weight: float) -> Appearance:
        """Find light and albedo for the geometry as it is.

        Both are linear in the colours given the other: they are solved by turns, each by least
        squares, re-weighted so that Charbonnier's cost falls.

        Args:
            face: its light and albedo are not read.
            weight: as of `cost`.

        Returns:
            The same faces with new light and albedo.
        """
        seen = self.surface.see(face.neutral, face.params, self.linear.shape[-1])
        colours = sample_pixels(self.linear, seen.skin_px)
        harmonics = sh_basis(seen.normals).permute(1, 2, 0)
        share = robust = self._share(seen)
        coefficients = torch.zeros_like(face.albedo)
        for _ in range(_ROUNDS):
            light = solve_light(harmonics, colours, self._albedo(coefficients), robust)
            shading = harmonics @ light
            error = colours - self._albedo(coefficients) * shading
            robust = share / (error.square().mean(2) + CHARBONNIER**2).sqrt()
            precision = robust * weight / COLOUR_SD / colours.shape[2]
            coefficients = self._solve_albedo(colours, shading, precision)
        return replace(face, params=face.params.replace(light=light), albedo=coefficients)

    def _solve_albedo(self, colours: Tensor, shading: Tensor, precision: Tensor) -> Tensor:
        rows = torch.einsum("mkc,bkc->bkcm", self.modes.expand(-1, -1, 3), shading).flatten(1, 2)
        left = (colours - self.mean * shading).flatten(1)[..., None]
        weighted = (rows * precision.repeat_interleave(3, 1)[..., None]).transpose(1, 2)
        prior = torch.eye(len(self.modes), device=rows.device)
        return torch.linalg.solve(weighted @ rows + prior, weighted @ left)[..., 0]

    def _albedo(self, coefficients: Tensor) -> Tensor:
        flat = torch.addmm(self.mean.reshape(1, -1), coefficients, self.modes.flatten(1))
        return flat.view(len(coefficients), *self.mean.shape)

    def _share(self, seen: Seen) -> Tensor:
        share = self.surface.area * (seen.normals[2].detach() > self.facing)
        return share / share.sum(1, keepdim=True).clamp_min(1e-6)
