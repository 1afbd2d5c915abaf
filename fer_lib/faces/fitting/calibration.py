"""What of a fitted β is the person, and what is expression and noise.

A fit pushes part of an expression into the shape. With several photographs of each of many people,
β̂ = b + C (ψ̂ - ψ_rest) + ε is learned: C from the deviations within people (ridge regression), the
covariances Σ_b of people and Σ_w of ε, and the posterior mean of b is
μ + Σ_b (Σ_b + Σ_w)⁻¹ (β̂ - C (ψ̂ - ψ_rest) - μ) (Fukunaga 1990, §3; two-covariance model of
Brümmer & de Villiers 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_RIDGE = 1.0
_FLOOR = 1e-6


@dataclass(frozen=True)
class Calibration:
    """The map from a fitted β to the person's, all float64.

    Attributes:
        mean: (n_shape,) of people.
        gain: (n_shape,n_shape) share of a deviation that is the person.
        leak: (n_expr,n_shape) change of β̂ per unit of ψ̂.
        rest: (n_expr,) ψ̂ at which β̂ is taken as it is.
    """

    mean: Tensor
    gain: Tensor
    leak: Tensor
    rest: Tensor

    def apply(self, beta: Tensor, psi: Tensor) -> Tensor:
        """Estimate the person's β.

        Args:
            beta: (B,n_shape) fitted.
            psi: (B,n_expr) fitted.

        Returns:
            (B,n_shape) in the dtype and on the device of `beta`.
        """
        mean, gain, leak, rest = (t.to(beta) for t in vars(self).values())
        return mean + (beta - (psi - rest) @ leak - mean) @ gain.T

    def save(self, path: Path) -> None:
        """Write to an npz file."""
        with path.open("wb") as file:
            np.savez(file, **{name: value.numpy() for name, value in vars(self).items()})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is no calibration.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                names = ("mean", "gain", "leak", "rest")
                return cls(*(torch.from_numpy(file[name]) for name in names))
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"expected a calibration in {path.name}, cannot read it ({error}); learn it anew"
            ) from error


def learn_calibration(beta_hat: Tensor, psi_hat: Tensor, person: Tensor) -> Calibration:
    """Learn the calibration from photographs of people who are each seen several times.

    Args:
        beta_hat: (N,n_shape) fitted one photograph at a time.
        psi_hat: (N,n_expr).
        person: (N,) int64; people with one photograph only help Σ_b.

    Returns:
        The calibration.

    Raises:
        ValueError: a value is not finite, or fewer people than two have several photographs.
    """
    beta, psi = beta_hat.double().cpu(), psi_hat.double().cpu()
    if not (beta.isfinite().all() and psi.isfinite().all()):
        raise ValueError("expected finite fits, got NaN; leave out the faces that were refused")
    person, count = person.cpu().unique(return_inverse=True, return_counts=True)[1:]
    if int((count > 1).sum()) < 2:
        raise ValueError("expected several photographs of at least two people, got fewer")
    within = psi - _means(psi, person, count)[person]
    spread = within.T @ within
    ridge = _RIDGE * spread.diagonal().mean() * torch.eye(len(spread)).double()
    leak = torch.linalg.solve(
        spread + ridge,
        within.T @ (beta - _means(beta, person, count)[person]),
    )
    rest = psi.median(0).values
    clean = beta - (psi - rest) @ leak
    return _two_covariances(clean, person, count, leak, rest)


def _two_covariances(
    clean: Tensor, person: Tensor, count: Tensor, leak: Tensor, rest: Tensor
) -> Calibration:
    """Split the covariance of β into people and noise by the method of moments."""
    means = _means(clean, person, count)
    error = clean - means[person]
    noise = error.T @ error / (len(clean) - len(count))
    mean = means.mean(0)
    # A mean over n photographs still holds noise / n.
    people = (means - mean).T @ (means - mean) / (len(count) - 1)
    people = _positive(people - noise * (1 / count).mean())
    total = people + noise + _FLOOR * torch.eye(len(noise)).double()
    return Calibration(mean, torch.linalg.solve(total, people).T, leak, rest)


def _means(values: Tensor, person: Tensor, count: Tensor) -> Tensor:
    total = values.new_zeros(len(count), values.shape[1]).index_add_(0, person, values)
    return total / count[:, None]


def _positive(matrix: Tensor) -> Tensor:
    """The nearest matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0)) @ vectors.T
