"""A frozen encoder as a reader of edited pictures, and how far it can be believed.

An encoder errs, and mistakes expression for shape: what it says of a coefficient counts as far as
it told the truth about faces that it had not seen, and a change of β counts beyond the one that it
sees between photographs of a person whose β is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import FaceEncoder
from fer_lib.networks.face_view import View

Read = Callable[[Tensor], FaceParams]
"""Pictures (B,3,S,S) in [-1, 1] → parameters; gradients flow through it."""

_LEAST_R2 = 0.2
_TINY = 1e-6
_CHUNK = 64


@dataclass(frozen=True)
class Reader:
    """A frozen encoder, and how far it can be believed.

    Attributes:
        read: the encoder.
        shape_trust: (n_shape,) R² of every β on faces it has not learned from, 0 below 0.2.
        shape_variance: (n_shape,) of β between people.
        shape_margin: (n_shape,) mean squared change of a read β between two photographs of a
            person that differ in expression alone, in units of ``shape_variance``.
        psi_trust: (n_expr,) R² of every ψ, likewise.
        psi_variance: (n_expr,) of ψ.
    """

    read: Read
    shape_trust: Tensor
    shape_variance: Tensor
    shape_margin: Tensor
    psi_trust: Tensor
    psi_variance: Tensor


def encoder_reading(network: FaceEncoder) -> Read:
    """Let a face encoder read pictures, without a mesh; it is frozen from then on.

    Args:
        network: on the device of the pictures.
    """
    network.eval().requires_grad_(False)

    def read(images: Tensor) -> FaceParams:
        view = View.central(len(images), network.spec.central, images.device)
        # Shape and expression do not depend on the frame of the view.
        return network(view.cut((images + 1) / 2, network.spec.image_size)).params

    return read


@torch.no_grad()
def measure_reader(read: Read, images: Tensor, truth: FaceParams, groups: Tensor) -> Reader:
    """Find out how far an encoder can be believed.

    Args:
        read: the encoder.
        images: (N,3,S,S) in [-1, 1], faces that it has not learned from.
        truth: N faces.
        groups: (N,) int64, equal for photographs that differ in expression alone.

    Returns:
        The reader; a coefficient that is the same for all faces is trusted 0.

    Raises:
        ValueError: no two faces share a group.
    """
    number = groups.unique(return_inverse=True)[1]
    if len(number) == int(number.max()) + 1:
        raise ValueError("expected two faces or more in some group, got none; pass their groups")
    answers = [read(part) for part in images.split(_CHUNK)]
    beta = torch.cat([answer.shape for answer in answers])
    psi = torch.cat([answer.expression for answer in answers])
    beta_variance, psi_variance = truth.shape.var(0), truth.expression.var(0)
    margin = 2 * _within_variance(beta, number) / beta_variance.clamp_min(_TINY)
    return Reader(
        read, _trust(beta, truth.shape), beta_variance, margin,
        _trust(psi, truth.expression), psi_variance,
    )  # fmt: skip


def _trust(read: Tensor, truth: Tensor) -> Tensor:
    variance = truth.var(0, correction=0)
    r2 = 1 - (read - truth).square().mean(0) / variance.clamp_min(_TINY)
    return torch.where((r2 >= _LEAST_R2) & (variance > _TINY), r2, 0.0)


def _within_variance(values: Tensor, groups: Tensor) -> Tensor:
    """Unbiased variance inside of groups, (N,K) → (K,)."""
    count = torch.bincount(groups)
    sums = values.new_zeros(len(count), values.shape[1]).index_add_(0, groups, values)
    gaps = values - (sums / count[:, None])[groups]
    return gaps.square().sum(0) / (len(values) - len(count))
