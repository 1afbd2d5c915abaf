"""Skin colour per vertex: a mean and a few modes, from a model's paint or from photographs.

A pixel fit needs an albedo that is linear in few coefficients. For pictures of the project's own
renderer it is the model's painted albedo, read at the vertices, and then exact. For photographs it
is learned from photographs, as Blanz & Vetter (1999) learned theirs from scans: light and albedo
are separated by turns, and principal components describe how people differ.

Symbols: V vertices of the narrow face, K modes, C colours (3, or 1 for luminance), N photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lib.faces.fitting.surface import linear_light, sample_pixels, sample_surface
from fer_lib.faces.light import sh_basis
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

_LIGHT_RIDGE = (1e-5, *[1e-3] * 8)
_ROUNDS, _FACING = 5, 0.3
_DARKEST, _OUTLIER = 5e-3, 0.6
_LEVEL = -1.2


@dataclass(frozen=True)
class AlbedoBasis:
    """Albedo of vertices, linear in its coefficients: mean + Σ_k a_k · sd_k · modes_k.

    Attributes:
        mean: (V,C) float32, linear light; NaN where nothing is known of a vertex.
        modes: (K,V,C) float32.
        sd: (K,) float32; coefficients are in units of it, about N(0, 1).
        source: what it was made from.
        count: number of photographs or of painted modes behind it.
        licence: terms of that source.
    """

    mean: Tensor
    modes: Tensor
    sd: Tensor
    source: str
    count: int
    licence: str

    def __post_init__(self) -> None:
        """Check that the tables agree.

        Raises:
            ValueError: they do not.
        """
        expected = (len(self.sd), *self.mean.shape)
        if self.mean.ndim != 2 or tuple(self.modes.shape) != expected:
            raise ValueError(
                f"expected modes of shape {expected} for a mean (V,C), got "
                f"{tuple(self.modes.shape)}; make both for one model"
            )

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The albedo of some vertices.

        Args:
            index: (K',) int64 vertices.

        Returns:
            Mean (K',C), and modes times their deviations (K,K',C).
        """
        return self.mean[index], self.modes[:, index] * self.sd[:, None, None]

    def save(self, path: Path | str) -> None:
        """Write the basis as an npz file of plain arrays.

        Args:
            path: the file.
        """
        arrays = {k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> AlbedoBasis:
        """Read what `save` wrote.

        Args:
            path: the file.

        Returns:
            The basis, on the CPU.

        Raises:
            ValueError: the file holds something else.
        """
        with np.load(path, allow_pickle=False) as file:
            if set(file.files) != set(cls.__dataclass_fields__):
                raise ValueError(
                    f"expected {sorted(cls.__dataclass_fields__)} in {path}, got "
                    f"{sorted(file.files)}; write it with AlbedoBasis.save"
                )
            tensors = {k: torch.from_numpy(file[k]) for k in ("mean", "modes", "sd")}
            source, licence = str(file["source"]), str(file["licence"])
            return cls(**tensors, source=source, count=int(file["count"]), licence=licence)


def painted_albedo(model: MorphableModel) -> AlbedoBasis:
    """Read a model's own paint at its vertices; its coefficients are the model's α.

    Args:
        model: the narrow face.

    Returns:
        A basis of three colours, exact for pictures of this model but for its wrinkles.
    """
    textures = torch.cat([model.albedo_mean[None], model.albedo_basis]).permute(0, 3, 1, 2)
    grid = (model.uv * 2 - 1)[None, None].expand(len(textures), -1, -1, -1)
    read = F.grid_sample(textures, grid, padding_mode="border", align_corners=True)
    mean, *modes = read[:, :, 0].transpose(1, 2)
    modes = torch.stack(modes)
    sd = torch.ones(len(modes), device=mean.device)
    return AlbedoBasis(mean, modes, sd, f"paint of {model.name}", len(modes), model.licence)


def learn_albedo(
    model: MorphableModel,
    fits: FaceParams,
    images: Tensor,
    source: str,
    licence: str,
    modes: int = 12,
    luminance: bool = False,
    blur_iod: float = 0.014,
) -> AlbedoBasis:
    """Learn an albedo basis from photographs whose geometry is fitted.

    Light of every photograph and the logarithm of a common albedo are found by turns: ridge
    regression, then a median over the photographs, which hair and shadows of a few do not move.
    What remains, as a share of the common albedo, is brought into principal components. The
    basis knows one scale only: bright skin and bright light look the same.

    Args:
        model: the narrow face.
        fits: N faces; their light and albedo are not read.
        images: (N,3,S,S) in [0,1], gamma-coded.
        source: name of the photographs, for the basis' lineage.
        licence: their terms.
        modes: principal components kept.
        luminance: whether to learn one grey channel, as grey photographs need.
        blur_iod: standard deviation of the blur in inter-ocular distances.

    Returns:
        The basis; vertices that the photographs do not show are NaN.

    Raises:
        ValueError: there are no more photographs than modes.

    Source: the alternation of Kemelmacher-Shlizerman and Seitz, "Face Reconstruction in the Wild"
    (2011), section 3, on fixed geometry.
    """
    if len(fits) <= modes:
        raise ValueError(
            f"expected more than {modes} photographs for {modes} modes, got {len(fits)}"
        )
    surface = sample_surface(model, None, 1)
    seen = surface.see(surface.neutral(fits.shape), fits, images.shape[-1])
    linear = linear_light(images, fits.camera[:, 0] * images.shape[-1] * blur_iod)
    colours = sample_pixels(linear, seen.skin_px)
    colours = colours.mean(2, keepdim=True) if luminance else colours
    visible = seen.normals[2] > _FACING
    common, ratio = _separate(sh_basis(seen.normals).permute(1, 2, 0), colours, visible)
    deviation = ((ratio - common).exp() - 1).clamp(-_OUTLIER, _OUTLIER) * visible[..., None]
    left = deviation - deviation.mean(0)
    _, spread, parts = torch.linalg.svd(left.flatten(1), full_matrices=False)
    mean = common.exp() * (1 + deviation.mean(0))
    parts = parts[:modes].view(modes, *mean.shape) * common.exp()
    sd = spread[:modes] / (len(fits) - 1) ** 0.5
    mean, parts = (
        _spread(values, surface.index, len(model.template)) for values in (mean[None], parts)
    )
    return AlbedoBasis(mean[0], parts, sd, source, len(fits), licence)


def _separate(harmonics: Tensor, colours: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the common albedo (K,C) and of each photograph's own (N,K,C)."""
    common = colours.new_zeros(colours.shape[1:])
    weight = visible / visible.sum(1, keepdim=True).clamp_min(1)
    hidden = ~visible[..., None].expand_as(colours)
    for _ in range(_ROUNDS):
        light = solve_light(harmonics, colours, common.exp()[None], weight)
        shading = (harmonics @ light).clamp_min(_DARKEST)
        ratio = colours.clamp_min(_DARKEST).log() - shading.log()
        common = ratio.masked_fill(hidden, torch.nan).nanmedian(0).values.nan_to_num()
        common = common - common.mean(0) + _LEVEL
    return common, ratio


def _spread(values: Tensor, index: Tensor, count: int) -> Tensor:
    """(L,K,C) at some vertices to (L,V,C), NaN elsewhere."""
    spread = values.new_full((len(values), count, values.shape[2]), torch.nan)
    return spread.index_copy(1, index, values)


def solve_light(harmonics: Tensor, colours: Tensor, albedo: Tensor, weight: Tensor) -> Tensor:
    """Light under which an albedo looks most like the colours seen, by ridge regression.

    Args:
        harmonics: (B,K,9) the nine functions at the points' normals.
        colours: (B,K,3) linear light.
        albedo: (B or 1,K,C) with C 1 or 3.
        weight: (B,K) of the points; a face's weights add up to about 1.

    Returns:
        (B,9,3).

    Source: Ramamoorthi and Hanrahan 2001, equation 12, solved for the light.
    """
    rows = torch.einsum("bkn,bkc->bckn", harmonics, albedo.expand(*colours.shape))
    weighted = rows * weight[:, None, :, None]
    normal = weighted.transpose(2, 3) @ rows
    size = normal.diagonal(dim1=2, dim2=3).sum(2)
    ridge = harmonics.new_tensor(_LIGHT_RIDGE).diag() * size[:, :, None, None]
    right = torch.einsum("bckn,bkc->bcn", weighted, colours)
    return torch.linalg.solve(normal + ridge, right).transpose(1, 2)
