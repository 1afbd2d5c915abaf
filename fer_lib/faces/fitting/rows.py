"""The equations of one Gauss-Newton step: projected mesh points and how they move.

Coordinates are fractions of the picture's side from its centre, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fer_lib.faces.fitting.problem import FitConfig, FitPrior, Points
from fer_lib.faces.params import FaceParams, rotation_matrix

# Upper and lower inner lip, mesh points that face each other.
LIP_PAIRS = ((13, 14), (82, 87), (312, 317))


@dataclass(frozen=True)
class FaceState:
    """Unknowns of B faces during a fit.

    Attributes:
        rotation: (B,3,3) head to camera coordinates.
        log_scale: (B,1) of the scale as a fraction of the side.
        shift: (B,2) right and down, fractions of the side.
        psi: (B,n_expr).
        beta: (B,n_shape), all modes.
        unit: (B,) scale of the rigid fit, by which distances are measured.
    """

    rotation: Tensor
    log_scale: Tensor
    shift: Tensor
    psi: Tensor
    beta: Tensor
    unit: Tensor

    def take(self, index: Tensor) -> FaceState:
        """Give some faces."""
        return FaceState(*(value[index] for value in vars(self).values()))


def start(
    points: Points, seen: Tensor, prior: FitPrior, init: FaceParams | None, config: FitConfig
) -> FaceState:
    """Begin at the prior's means and a rigid fit, or where the caller says.

    Args:
        points: the model.
        seen: (B,K,3) seen points, fractions of the side.
        prior: with a row per face.
        init: parameters to start from; their camera may be of the other kind.
        config: settings.

    Returns:
        The state.
    """
    psi = torch.where(prior.psi_var.isfinite(), prior.psi_mean, 0.0).clamp(0, 1)
    beta = prior.beta_mean.clone()
    if init is not None:
        psi, beta = init.expression.to(seen).clamp(0, 1), beta.clone()
        beta[:, : config.n_shape] = init.shape.to(seen)[:, : config.n_shape]
    rotation, scale, shift = _rigid(points.at(beta, psi), seen)
    if init is not None:
        rotation = rotation_matrix(init.pose.to(seen))
    return FaceState(rotation, scale.log()[:, None], shift, psi, beta, scale)


def _rigid(model: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity (B,3,3), (B,), (B,2) that takes model points to seen ones (Umeyama 1991)."""
    flip = seen.new_tensor([1.0, -1.0, -1.0])
    there = seen * flip
    centre, target = model.mean(1, keepdim=True), there.mean(1, keepdim=True)
    left, size, right = torch.linalg.svd((there - target).transpose(1, 2) @ (model - centre))
    sign = torch.ones_like(size)
    sign[:, 2] = torch.linalg.det(left @ right)
    rotation = (left * sign[:, None]) @ right
    scale = (size * sign).sum(1) / ((model - centre) ** 2).sum((1, 2))
    shift = target[:, 0] - scale[:, None] * (rotation @ centre.transpose(1, 2))[..., 0]
    return rotation, scale, (shift * flip)[:, :2]


def _project(placed: Tensor, state: FaceState, distance: float | None) -> tuple[Tensor, Tensor]:
    """Place (B,K,2) of camera points (B,K,3), and its derivative by them (B,K,2,3)."""
    x, y, z = placed.unbind(-1)
    scale = state.log_scale.exp()
    zero = torch.zeros_like(z)
    weight = scale + zero if distance is None else scale * distance / (distance - z)
    deeper = zero if distance is None else weight / (distance - z)
    place = torch.stack([weight * x, -weight * y], dim=-1)
    rows = [weight, zero, deeper * x, zero, -weight, -deeper * y]
    return place + state.shift[:, None], torch.stack(rows, dim=-1).unflatten(-1, (2, 3))


def linear_rows(
    points: Points, seen: Tensor, state: FaceState, config: FitConfig
) -> tuple[Tensor, Tensor]:
    """Linearise the seen points about a state.

    Args:
        points: the model.
        seen: (B,K,3).
        state: B faces.
        config: settings.

    Returns:
        rows (B,R,6+n_expr+n_shape) of pose, ψ and β, and residuals (B,R); both are divided by
        their standard deviations and by Huber's root.
    """
    placed = points.at(state.beta, state.psi) @ state.rotation.transpose(1, 2)
    place, slope = _project(placed, state, config.distance)
    basis = torch.cat([points.expression, points.shape[: config.n_shape]])
    modes = torch.einsum("bkij,nkj->bkin", slope @ state.rotation[:, None], basis)
    rows = torch.cat([_pose_rows(placed, place, slope, state), modes], dim=-1)
    residual = seen[..., :2] - place
    sigma = points.sigma[None] * state.unit[:, None] * config.inflation**0.5
    far = residual.norm(dim=-1) / sigma
    root = (config.huber / far.clamp_min(config.huber)).sqrt() / sigma
    both = torch.cat([rows, residual[..., None]], dim=-1) * root[..., None, None]
    if config.lip_sigma is not None:
        lips = _lip_rows(points, rows, residual, seen, state, config)
        both = torch.cat([both, lips], dim=1)
    both = both.flatten(1, 2)
    return both[..., :-1], both[..., -1]


def _pose_rows(placed: Tensor, place: Tensor, slope: Tensor, state: FaceState) -> Tensor:
    """Derivative (B,K,2,6) by rotation on the left, logarithm of the scale and shift."""
    x, y, z = placed.unbind(-1)
    zero = torch.zeros_like(x)
    turn = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], dim=-1).unflatten(-1, (3, 3))
    shift = torch.eye(2).to(place).expand(*place.shape, 2)
    grow = (place - state.shift[:, None])[..., None]
    return torch.cat([slope @ turn, grow, shift], dim=-1)


def _lip_rows(
    points: Points,
    rows: Tensor,
    residual: Tensor,
    seen: Tensor,
    state: FaceState,
    config: FitConfig,
) -> Tensor:
    """Rows and residual (B,P,2,p+1) of the gap between lips that are closed."""
    upper, lower = (list(side) for side in zip(*LIP_PAIRS, strict=True))
    gap = seen[:, upper, :2] - seen[:, lower, :2]
    wide = gap.norm(dim=-1) / state.unit[:, None] / config.lip_closed
    # From one to two times the limit the term fades, so that frames of a video do not jump.
    closed = (2 - wide).clamp(0, 1).sqrt()[..., None]
    rest = (points.mean[upper] - points.mean[lower]) @ state.rotation.transpose(1, 2)
    rest = state.log_scale.exp()[..., None] * rest[..., :2] * rest.new_tensor([1.0, -1.0])
    miss = residual[:, upper] - residual[:, lower] + rest - gap
    sigma = config.lip_sigma * config.inflation**0.5 * state.unit
    both = torch.cat([rows[:, upper] - rows[:, lower], miss[..., None]], dim=-1)
    return both * (closed / sigma[:, None, None])[..., None]


def stepped(state: FaceState, delta: Tensor, step: float, n_shape: int) -> FaceState:
    """Move along a step.

    Args:
        state: B faces.
        delta: (B,6+n_expr+n_shape) change of pose, ψ and β.
        step: share of it that is gone.
        n_shape: identity modes that move.

    Returns:
        The next state.
    """
    delta = (step * delta).to(state.psi)
    turn, grow, shift, psi, beta = delta.split([3, 1, 2, state.psi.shape[1], n_shape], dim=1)
    moved = state.beta.clone()
    moved[:, :n_shape] += beta
    return replace(
        state,
        rotation=torch.linalg.matrix_exp(_skew(turn)) @ state.rotation,
        log_scale=state.log_scale + grow,
        shift=state.shift + shift,
        psi=(state.psi + psi).clamp(0, 1),
        beta=moved,
    )


def _skew(turn: Tensor) -> Tensor:
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def residual_iod(points: Points, seen: Tensor, state: FaceState, config: FitConfig) -> Tensor:
    """Mean distance of the points from the seen ones.

    Args:
        points: the model.
        seen: (B,K,3).
        state: B faces.
        config: settings.

    Returns:
        (B,) in inter-ocular distances.
    """
    placed = points.at(state.beta, state.psi) @ state.rotation.transpose(1, 2)
    place, _ = _project(placed, state, config.distance)
    return (seen[..., :2] - place).norm(dim=-1).mean(1) / state.log_scale.exp()[:, 0]


def pose_of(rotation: Tensor) -> Tensor:
    """Give pitch, yaw and roll of rotations, the inverse of `params.rotation_matrix`.

    Args:
        rotation: (B,3,3).

    Returns:
        (B,3) radians.
    """
    pitch = rotation[:, 2, 1].clamp(-1, 1).asin()
    yaw = torch.atan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    roll = torch.atan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    return torch.stack([pitch, yaw, roll], dim=1)
