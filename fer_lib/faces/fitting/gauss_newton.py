"""Maximum a posteriori fit of a morphable face to mesh points, by Gauss-Newton in batches.

Per face: rotation (increments on the left), logarithm of the scale, shift, ψ; β per face or shared
by all photographs of a person. The other unknowns are eliminated by a Schur complement (Triggs et
al. 2000, §6), so a shared β costs as much as independent ones; ψ is held in [0, 1] by an active
set. All sums are per face: another face in the batch changes nothing but rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fer_lib.faces.fitting.correspondence import N_POINTS, Correspondence
from fer_lib.faces.fitting.problem import (
    Fit,
    FitConfig,
    FitPrior,
    Points,
    check_mesh,
    mesh_model,
)
from fer_lib.faces.fitting.rows import (
    FaceState,
    linear_rows,
    pose_of,
    residual_iod,
    start,
    stepped,
)
from fer_lib.faces.light import sample_light
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

_CHUNK = 32
_DAMPING = (300.0, 30.0, 3.0)
_STEPS = (0.7, 0.7, 0.7, 0.7)
_SOLVES = 3
_POSE = 6


@dataclass(frozen=True)
class _Normal:
    """Normal equations H δ = -g of each face, unknowns pose (6), ψ, β, without priors on β."""

    hessian: Tensor
    gradient: Tensor


def fit_mesh(
    model: MorphableModel,
    correspondence: Correspondence,
    mesh: Tensor,
    size: int,
    init: FaceParams | None = None,
    prior: FitPrior | None = None,
    config: FitConfig | None = None,
    groups: Tensor | None = None,
) -> Fit:
    """Fit a face to every mesh.

    Args:
        model: the face that the correspondence belongs to.
        correspondence: where the mesh's points lie on it.
        mesh: (B,478,3) points in pixels of the square picture, z at their scale; a mesh with a
            point that is not finite is refused. Computed on its device in its dtype.
        size: side of the picture in pixels.
        init: where to start, such as an encoder's answer, and whose albedo and light are kept;
            without it pose comes from a rigid fit and β and ψ from the prior.
        prior: by default β ~ N(0, 1) and an exponential prior on ψ.
        config: settings; by default those measured on photographs.
        groups: (B,) int64, the same number for photographs of one person, who then share β (the
            prior of a shared β is the mean of their precisions); by default all are different.

    Returns:
        The faces, how far they are from the points, and which were refused.

    Raises:
        ValueError: the arrays do not fit each other.
    """
    config = config or FitConfig()
    config = replace(config, n_shape=min(config.n_shape, len(model.shape_names)))
    status = check_mesh(mesh)
    count = len(mesh)
    groups = torch.arange(count) if groups is None else groups.cpu()
    if len(groups) != count:
        raise ValueError(f"expected {count} group numbers, one per mesh, got {len(groups)}")
    prior = (prior or FitPrior.weak(model, config.expression_rate)).rows(count, mesh)
    good = torch.tensor([s == "ok" for s in status], dtype=torch.bool).nonzero()[:, 0]
    seen = (mesh[good.to(mesh.device), :N_POINTS] - (size - 1) / 2) / size
    group = groups[good].unique(return_inverse=True)[1].to(mesh.device)
    points = mesh_model(model, correspondence, mesh)
    prior = prior.take(good.to(mesh.device))
    state = start(points, seen, prior, None if init is None else init[good], config)
    # Shared steps keep what differs at the start: people begin with the mean of their photographs.
    shared = _mean_over_group(group)(state.beta)[group].to(state.beta)
    state = replace(state, beta=shared)
    for step in range(config.iterations if len(good) else 0):
        state = _iterate(points, seen, prior, state, group, config, step)
    residual = residual_iod(points, seen, state, config) if len(good) else mesh.new_zeros(0)
    params = _params(model, state, good, count, config.distance, init)
    return Fit(params, _scatter(100 * residual, good, count), tuple(status))


def _params(
    model: MorphableModel,
    state: FaceState,
    good: Tensor,
    count: int,
    distance: float | None,
    init: FaceParams | None,
) -> FaceParams:
    """Parameters of all faces, NaN where there is no fit."""
    scale = state.log_scale.exp()
    camera = [scale, state.shift]
    if distance is not None:
        camera.append(torch.full_like(scale, distance))
    tensors = (state.beta, state.psi, pose_of(state.rotation), torch.cat(camera, dim=1))
    if init is None:
        albedo = scale.new_zeros(count, len(model.albedo_names))
        light = sample_light(torch.Generator().manual_seed(0), 1).to(scale).repeat(count, 1, 1)
    else:
        albedo, light = init.albedo.to(scale), init.light.to(scale)
    kind = "weak_perspective" if distance is None else "perspective"
    return FaceParams(*(_scatter(t, good, count) for t in tensors), albedo, light, kind)


def _scatter(values: Tensor, good: Tensor, count: int) -> Tensor:
    every = values.new_full((count, *values.shape[1:]), torch.nan)
    return every.index_copy(0, good.to(values.device), values)


def _iterate(
    points: Points,
    seen: Tensor,
    prior: FitPrior,
    state: FaceState,
    group: Tensor,
    config: FitConfig,
    step: int,
) -> FaceState:
    damping = _DAMPING[step] if step < len(_DAMPING) else 0.0
    normal = _normal_equations(points, seen, state, config)
    normal = _with_expression_prior(normal, prior, state.psi, damping)
    n, share = config.n_shape, _mean_over_group(group)
    precision = share(1 / prior.beta_var[:, :n])
    pull = share((state.beta[:, :n] - prior.beta_mean[:, :n]) / prior.beta_var[:, :n])
    delta = _solve(normal, state.psi, precision + damping, pull, group)
    return stepped(state, delta, _STEPS[step] if step < len(_STEPS) else 1.0, n)


def _normal_equations(points: Points, seen: Tensor, state: FaceState, config: FitConfig) -> _Normal:
    parts = []
    for index in torch.arange(len(seen), device=seen.device).split(_CHUNK):
        rows, residual = linear_rows(points, seen[index], state.take(index), config)
        both = rows.transpose(1, 2) @ torch.cat([rows, residual[..., None]], dim=2)
        parts.append(both.double())
    both = torch.cat(parts)
    return _Normal(both[..., :-1], -both[..., -1])


def _with_expression_prior(
    normal: _Normal, prior: FitPrior, psi: Tensor, damping: float
) -> _Normal:
    """Add the prior on ψ; the damping holds back the first steps."""
    precision = (1 / prior.psi_var).double()
    end = _POSE + psi.shape[1]
    hessian, gradient = normal.hessian.clone(), normal.gradient.clone()
    # A trace of stiffness keeps modes that no point sees where they are.
    hessian.diagonal(dim1=1, dim2=2)[:, _POSE:end] += precision + damping + 1e-3
    pull = torch.where(precision > 0, precision * (psi - prior.psi_mean), 0.0)
    gradient[:, _POSE:end] += pull + prior.psi_rate
    return _Normal(hessian, gradient)


def _mean_over_group(group: Tensor):  # noqa: ANN202
    """A function that gives every member's row the mean over its group, one row per group."""
    count = torch.bincount(group).double()[:, None]

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(len(count), values.shape[1]).double()
        return total.index_add_(0, group, values.double()) / count

    return mean


def _solve(normal: _Normal, psi: Tensor, precision: Tensor, pull: Tensor, group: Tensor) -> Tensor:
    """Step (B,p) that keeps ψ in [0, 1]: what would leave is fixed at its bound, then again."""
    end = _POSE + psi.shape[1]
    psi = psi.double()
    inward = normal.gradient[:, _POSE:end]
    fixed = ((psi <= 0) & (inward > 0)) | ((psi >= 1) & (inward < 0))
    move = torch.zeros_like(psi)
    for _ in range(_SOLVES):
        delta = _solve_fixed(normal, fixed, move, precision, pull, group)
        target = psi + delta[:, _POSE:end]
        out = (target < 0) | (target > 1)
        fixed, move = fixed | out, torch.where(out, target.clamp(0, 1) - psi, move)
    delta[:, _POSE:end] = (psi + delta[:, _POSE:end]).clamp(0, 1) - psi
    return delta


def _solve_fixed(
    normal: _Normal, fixed: Tensor, move: Tensor, precision: Tensor, pull: Tensor, group: Tensor
) -> Tensor:
    """Solve with ψ moved by `move` where it is `fixed`."""
    own = _POSE + fixed.shape[1]
    moved = torch.nn.functional.pad(move, (_POSE, 0))
    free = torch.nn.functional.pad(~fixed, (_POSE, 0), value=True).double()
    right = -normal.gradient - (normal.hessian[..., :own] @ moved[..., None])[..., 0]
    corner = normal.hessian[:, :own, :own] * free[:, :, None] * free[:, None]
    corner = corner + torch.diag_embed(1 - free)
    border = normal.hessian[:, :own, own:] * free[..., None]
    alone = torch.where(free > 0, right[:, :own], moved)
    factor = torch.linalg.cholesky(corner)
    both = torch.cholesky_solve(torch.cat([border, alone[..., None]], dim=2), factor)
    through, alone = both[..., :-1], both[..., -1]
    schur = normal.hessian[:, own:, own:] - border.transpose(1, 2) @ through
    rest = right[:, own:] - (border.transpose(1, 2) @ (alone * free)[..., None])[..., 0]
    total = torch.diag_embed(precision).index_add_(0, group, schur)
    rest = (-pull).index_add_(0, group, rest)
    shared = torch.cholesky_solve(rest[..., None], torch.linalg.cholesky(total))[group]
    return torch.cat([alone - (through @ shared)[..., 0], shared[..., 0]], dim=1)
