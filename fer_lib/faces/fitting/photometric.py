"""Refine fits of a morphable model on the pixels of the photograph itself.

Points of the skin are projected, the photograph is read there, and the colours are compared with
albedo × shading; gradients reach every parameter. No picture is drawn: what turns away is left out
by its normal, which holds for heads within some 20 degrees of frontal.

Cost of one face, after Blanz & Vetter (1999), equations 7 to 9, with robust terms as in Thies et
al., "Face2Face" (2016): w · mean_v ρ(I(v) - A(v) S(n_v)) / σ_I + Σ_k H(r_k) + priors, with ρ
Charbonnier's and H Huber's function, A albedo, S nine harmonics and r_k the mesh points' distances
in units of their deviation. Symbols: β shape, ψ expression, B faces, S side of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.fitting.albedo_basis import AlbedoBasis
from fer_lib.faces.fitting.appearance import Appearance, Photographs
from fer_lib.faces.fitting.correspondence import Correspondence
from fer_lib.faces.fitting.problem import FitPrior
from fer_lib.faces.fitting.surface import sample_surface
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

MOVABLE = ("shape", "expression", "pose", "camera", "light", "albedo")
RATES = {
    "shape": 0.06,
    "expression": 0.024,
    "pose": 0.006,
    "zoom": 0.004,
    "shift": 0.0036,
    "light": 0.04,
    "albedo": 0.12,
}
"""Step of each unknown: coefficients, radians, logarithm of the scale, inter-ocular distances."""

_BETAS, _DECAY_FROM, _DECAY = (0.8, 0.95), 0.6, 0.3
_SPARSITY = 4.0
# Far below a gradient that matters: rounding must not be turned into whole steps.
_EPSILON = 1e-3


@dataclass(frozen=True)
class PhotoConfig:
    """Settings of a refinement.

    Attributes:
        steps: steps of Adam; 0 leaves the geometry as it is.
        moving: which unknowns move, out of `MOVABLE`.
        weight: for how many independent pixels the whole face counts; 100 to 400 suits photographs,
            where more explains shadows and beards by shape.
        inflation: factor on the mesh points' variances, because neighbouring points err alike; 3
            to 10 suits photographs, 30 to 100 pictures whose mesh is biased, such as renderings.
        blur_iod: standard deviation of the blur, in inter-ocular distances.
        facing: smallest z of a normal that is compared.
        stride: compare every stride-th skin vertex.

    Raises:
        ValueError: an unknown is not known, or a number makes no sense.
    """

    steps: int = 25
    moving: tuple[str, ...] = MOVABLE
    weight: float = 300.0
    inflation: float = 10.0
    blur_iod: float = 0.014
    facing: float = 0.3
    stride: int = 2

    def __post_init__(self) -> None:
        unknown = set(self.moving) - set(MOVABLE)
        if unknown:
            raise ValueError(f"expected moving out of {MOVABLE}, got {sorted(unknown)}")
        if self.steps < 0 or self.stride < 1 or min(self.weight, self.inflation) <= 0:
            raise ValueError(
                f"expected steps >= 0, stride >= 1 and positive weight and inflation, got {self}"
            )


class PhotoFit(NamedTuple):
    """Refined fits.

    Attributes:
        params: B faces; albedo as it was given, light as fitted.
        albedo: (B,M) coefficients of the albedo basis, in standard deviations.
        residual: (B,) mean absolute difference of the visible skin in linear light.
    """

    params: FaceParams
    albedo: Tensor
    residual: Tensor


def refine(
    model: MorphableModel,
    fits: FaceParams,
    images: Tensor,
    mesh: Tensor | None,
    correspondence: Correspondence | None,
    albedo: AlbedoBasis,
    prior: FitPrior | None = None,
    config: PhotoConfig = PhotoConfig(),
    groups: Tensor | None = None,
) -> PhotoFit:
    """Move fits until the model's colours and mesh points agree with photographs.

    Every face is fitted by itself: its answer depends on its batch by rounding only, and on other
    faces only where `groups` ties their shape. Where the light moves, it and the albedo start from
    least squares; a frozen light is taken as given, with an albedo that starts at the mean.

    Args:
        model: the narrow face.
        fits: B faces to start from.
        images: (B,3,S,S) in [0,1], gamma-coded; the fits' cameras are in their frame.
        mesh: (B,468 or more,2 or more) mesh points in pixels, or None.
        correspondence: where the mesh points lie on the model; None goes with no mesh.
        albedo: colours of the model's vertices.
        prior: belief about β and ψ; without it β ~ N(0, 1) and a sparse ψ.
        config: settings.
        groups: (B,) int64 number of the person, 0 … G-1; faces of a person share one β, which
            starts at their mean. A frozen shape is not touched.

    Returns:
        The refined fits, on the device of `fits`.

    Raises:
        ValueError: mesh and correspondence do not come together, batches differ, or a fit is not
            finite.
    """
    _check(fits, images, mesh, correspondence)
    photographs = _photographs(model, fits, images, mesh, correspondence, albedo, config)
    neutral = photographs.surface.neutral(fits.shape)
    start = Appearance(fits, fits.pose.new_zeros(len(fits), len(albedo.sd)), neutral)
    if "light" in config.moving:
        start = photographs.solve_colours(start, config.weight)
    belief = (prior or FitPrior.weak(model, _SPARSITY)).rows(len(fits), fits.shape)
    face = _descend(photographs, start, belief, config, groups) if config.steps else start
    with torch.no_grad():
        _, error, share = photographs.look(face)
    return PhotoFit(face.params, face.albedo, (share * error.abs().mean(2)).sum(1))


def _check(
    fits: FaceParams, images: Tensor, mesh: Tensor | None, correspondence: Correspondence | None
) -> None:
    if (mesh is None) != (correspondence is None):
        raise ValueError("expected mesh points and their correspondence together, or neither")
    lengths = [len(fits), len(images), len(fits if mesh is None else mesh)]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected as many images and meshes as fits, got {lengths}")
    unfit = ~torch.cat([fits.shape, fits.expression, fits.camera], dim=1).isfinite().all(1)
    if bool(unfit.any()):
        raise ValueError(
            f"expected finite fits, faces {unfit.nonzero()[:, 0].tolist()} are not; leave them out"
        )


def _photographs(
    model: MorphableModel,
    fits: FaceParams,
    images: Tensor,
    mesh: Tensor | None,
    correspondence: Correspondence | None,
    albedo: AlbedoBasis,
    config: PhotoConfig,
) -> Photographs:
    surface = sample_surface(model, correspondence, config.stride)
    iod_px = fits.camera[:, 0] * images.shape[-1]
    seen = Photographs.take(surface, images, iod_px, albedo, config.blur_iod, config.facing)
    if mesh is None or correspondence is None:
        return seen
    sigma = correspondence.sigma.to(images) * config.inflation**0.5
    mesh_px = mesh[:, : len(sigma), :2].to(images)
    return replace(seen, mesh_px=mesh_px, sigma_px=iod_px[:, None] * sigma)


def _descend(
    photographs: Photographs,
    start: Appearance,
    prior: FitPrior,
    config: PhotoConfig,
    groups: Tensor | None,
) -> Appearance:
    """Adam (Kingma & Ba 2015), with smaller steps towards the end."""
    leaves = _leaves(start, config, groups)
    rates = [{"params": [leaf], "lr": RATES[name]} for name, leaf in leaves.items()]
    adam = torch.optim.Adam(rates, betas=_BETAS, eps=_EPSILON)
    decay = torch.optim.lr_scheduler.MultiStepLR(adam, [round(_DECAY_FROM * config.steps)], _DECAY)
    for _ in range(config.steps):
        face = _compose(photographs, start, leaves, groups)
        cost = photographs.cost(face, config.weight) + _disbelief(prior, face.params, groups)
        adam.zero_grad()
        cost.sum().backward()
        adam.step()
        decay.step()
        if "expression" in leaves:
            leaves["expression"].data.clamp_(0, 1)
    settled = {name: leaf.detach() for name, leaf in leaves.items()}
    return _compose(photographs, start, settled, groups)


def _leaves(start: Appearance, config: PhotoConfig, groups: Tensor | None) -> dict[str, Tensor]:
    """The unknowns that move; the camera's are steps away from its start."""
    params = start.params
    leaves = {name: getattr(params, name) for name in ("shape", "expression", "pose", "light")}
    leaves["albedo"] = start.albedo
    if groups is not None:
        leaves["shape"] = _means(params.shape, groups)
    leaves = {name: value for name, value in leaves.items() if name in config.moving}
    if "camera" in config.moving:
        leaves["zoom"] = torch.zeros_like(params.camera[:, :1])
        leaves["shift"] = torch.zeros_like(params.camera[:, :2])
    return {name: value.detach().clone().requires_grad_() for name, value in leaves.items()}


def _means(values: Tensor, groups: Tensor) -> Tensor:
    count = torch.bincount(groups).clamp_min(1)
    total = values.new_zeros(len(count), values.shape[1]).index_add(0, groups, values)
    return total / count[:, None]


def _compose(
    photographs: Photographs, start: Appearance, leaves: dict[str, Tensor], groups: Tensor | None
) -> Appearance:
    params, neutral = start.params, start.neutral
    changes = {name: leaves[name] for name in ("expression", "pose", "light") if name in leaves}
    if "shape" in leaves:
        beta = leaves["shape"] if groups is None else leaves["shape"][groups]
        changes["shape"], neutral = beta, photographs.surface.neutral(beta)
    if "zoom" in leaves:
        scale, shift, rest = params.camera.split([1, 2, params.camera.shape[1] - 3], dim=1)
        moved = [scale * leaves["zoom"].exp(), shift + scale * leaves["shift"], rest]
        changes["camera"] = torch.cat(moved, dim=1)
    return Appearance(params.replace(**changes), leaves.get("albedo", start.albedo), neutral)


def _disbelief(prior: FitPrior, params: FaceParams, groups: Tensor | None) -> Tensor:
    """(B,) cost of the coefficients; a shared shape counts once for all its faces."""
    beta = 0.5 * ((params.shape - prior.beta_mean).square() / prior.beta_var).sum(1)
    if groups is not None:
        beta = beta / torch.bincount(groups)[groups]
    psi = 0.5 * (params.expression - prior.psi_mean).square() / prior.psi_var
    return beta + (psi + prior.psi_rate * params.expression).sum(1)
