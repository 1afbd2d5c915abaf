"""Noise schedules of variance-preserving diffusion, and what can be told from a noisy image.

Letters: x_t = α x_0 + σ ε with α² + σ² = 1, where ε is unit Gaussian noise, and v = α ε - σ x_0 is
what a network predicts. x_t and v together give the clean image x̂_0 and the noise ε̂ without a
division, so nothing is lost where α or σ is 0.

Sources: Ho et al., "Denoising diffusion probabilistic models", 2020 (linear); Nichol and Dhariwal,
"Improved denoising diffusion probabilistic models", 2021, equation 17 (cosine); Salimans and Ho,
"Progressive distillation for fast sampling of diffusion models", 2022, appendix D (v).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("linear", "cosine")
SPACINGS = ("trailing", "leading")
_LARGEST_BETA = 0.999


class Level(NamedTuple):
    """One level of noise: ``x = alpha x_0 + sigma noise``; ``t`` is -1 where there is none."""

    t: int
    alpha: float
    sigma: float


_CLEAN = Level(-1, 1.0, 0.0)


@dataclass(frozen=True)
class Schedule:
    """How much noise an image holds at each of the training's timesteps.

    Args:
        steps: number of timesteps T; t runs from 0 (almost clean) to T - 1 (almost noise).
        kind: ``"linear"`` in the variance added per step (1e-4 to 0.02 for T = 1000, in proportion
            for others) or ``"cosine"``.

    Raises:
        ValueError: the kind is unknown, or T is too small for the kind.
    """

    steps: int = 1000
    kind: str = "linear"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"expected a schedule of kind {' or '.join(KINDS)}, got {self.kind!r}")
        if self.steps < 25:
            raise ValueError(f"expected a schedule of at least 25 steps, got {self.steps}")

    @cached_property
    def alpha(self) -> Tensor:
        """Share of the clean image at each timestep, (T,) float64 in 0 to 1, falling."""
        return (1 - self._beta).cumprod(0).sqrt()

    @cached_property
    def sigma(self) -> Tensor:
        """Standard deviation of the noise at each timestep, (T,) float64 in 0 to 1, rising."""
        return (1 - self.alpha.square()).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio α²/σ² at each timestep, (T,) float64, falling."""
        return (self.alpha / self.sigma).square()

    @property
    def _beta(self) -> Tensor:
        if self.kind == "linear":
            per_step = 1000 / self.steps
            return torch.linspace(1e-4 * per_step, 0.02 * per_step, self.steps, dtype=torch.float64)
        share = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        alpha_squared = torch.cos((share + 0.008) / 1.008 * pi / 2).square()
        return (1 - alpha_squared[1:] / alpha_squared[:-1]).clamp_max(_LARGEST_BETA)

    def at(self, t: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give α and σ at one timestep per image, in a shape that multiplies the images.

        Args:
            t: (B,) int64 in 0 to T - 1.
            images: (B, …); their device and dtype are taken.

        Returns:
            α and σ, each (B, 1, …).
        """
        shape = (-1, *[1] * (images.ndim - 1))
        tables = (table.to(t.device)[t] for table in (self.alpha, self.sigma))
        alpha, sigma = (values.to(images).reshape(shape) for values in tables)
        return alpha, sigma

    def min_snr_weight(self, t: Tensor, gamma: float = 5.0) -> Tensor:
        """Weigh the squared error of v so that nearly clean images do not rule the training.

        Args:
            t: (B,) int64 in 0 to T - 1.
            gamma: signal-to-noise ratio above which the error of x̂_0 counts no more.

        Returns:
            (B,) float32: min(SNR, γ) / (SNR + 1), which is min(α², γ σ²).

        Source: Hang et al., "Efficient diffusion training via min-SNR weighting strategy", 2023,
        section 3.4.
        """
        weights = torch.minimum(self.alpha.square(), gamma * self.sigma.square())
        return weights.float().to(t.device)[t]

    def levels(self, count: int, spacing: str = "trailing") -> list[Level]:
        """Choose the levels that a sampler goes through, from the noisiest to the clean image.

        Args:
            count: how many times the network is to be asked, 1 to T.
            spacing: ``"trailing"`` starts at T - 1; ``"leading"`` ends at 0 and is what ``ddimN``
                means in older code (ADM, diffusion autoencoders).

        Returns:
            ``count`` levels and the clean one.

        Raises:
            ValueError: the count is out of range or the spacing unknown.

        Source: Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024,
        table 2.
        """
        if not 1 <= count <= self.steps:
            raise ValueError(f"expected 1 to {self.steps} sampling steps, got {count}")
        if spacing == "trailing":
            chosen = [round(self.steps * i / count) - 1 for i in range(count, 0, -1)]
        elif spacing == "leading":
            chosen = [self.steps // count * i for i in reversed(range(count))]
        else:
            raise ValueError(f"expected spacing {' or '.join(SPACINGS)}, got {spacing!r}")
        return [*(Level(t, float(self.alpha[t]), float(self.sigma[t])) for t in chosen), _CLEAN]


def velocity(x_0: Tensor, noise: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """Give v = α ε - σ x_0, what the network is to predict; α and σ broadcast to the images."""
    return alpha * noise - sigma * x_0


def clean_and_noise(
    x_t: Tensor, v: Tensor, alpha: Tensor | float, sigma: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Read the clean image and the noise off a noisy image and its v.

    Args:
        x_t: (B, …), noisy images.
        v: (B, …), predicted.
        alpha: α, a number or (B, 1, …).
        sigma: σ, likewise.

    Returns:
        x̂_0 = α x_t - σ v and ε̂ = σ x_t + α v, each (B, …).
    """
    return alpha * x_t - sigma * v, sigma * x_t + alpha * v


def v_from_noise(
    x_t: Tensor, noise: Tensor, alpha: Tensor | float, sigma: Tensor | float
) -> Tensor:
    """Give v = (ε - σ x_t) / α from predicted noise; α must not be 0."""
    return (noise - sigma * x_t) / alpha


def v_from_clean(x_t: Tensor, x_0: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """Give v = (α x_t - x_0) / σ from a predicted clean image; σ must not be 0."""
    return (alpha * x_t - x_0) / sigma
