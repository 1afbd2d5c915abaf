"""Samplers: from noise to an image and back, along the deterministic path of one diffusion model.

The model is a closure ``denoise(x_t, t) -> v`` with t as (B,) int64, so that conditions, guidance
and several networks are wrapped outside. Nothing here mixes the images of a batch: each comes out
as it would alone, if ``denoise`` itself treats them one by one.

Why not the schedulers of diffusers: written in v, DDIM, DPM-Solver++ and inversion are three lines
on one list of levels; the tests hold them to diffusers' results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log

import torch
from torch import Tensor

from fer_lib.editing.schedule import Level, Schedule, clean_and_noise

Denoise = Callable[[Tensor, Tensor], Tensor]
METHODS = ("ddim", "dpm++")


def seeded_noise(
    seeds: Sequence[int],
    shape: Sequence[int],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw unit Gaussian noise, each image's from its own seed.

    Args:
        seeds: B seeds; an image's noise depends on its own alone, on any device.
        shape: of one image, (3, S, S) as a rule.
        device: of the result; the numbers are drawn on the CPU.
        dtype: of the result; the numbers are drawn as float32.

    Returns:
        (B, *shape).
    """
    draws = [
        torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds
    ]
    return torch.stack(draws).to(device, dtype)


@torch.no_grad()
def sample(
    denoise: Denoise,
    x_T: Tensor,
    schedule: Schedule,
    steps: int,
    method: str = "ddim",
    *,
    spacing: str = "trailing",
    clip: bool = False,
) -> Tensor:
    """Turn noise into images.

    DPM-Solver++ (2M) is DDIM with x̂_0 extrapolated from the last two predictions.

    Args:
        denoise: predicts v, (B, …), from x_t and t; it is asked ``steps`` times.
        x_T: (B, …), noise: seeded, or from ``invert`` with the same steps and spacing.
        schedule: the one that the model was trained with.
        steps: 1 to the schedule's.
        method: ``"ddim"`` (reference; takes back what ``invert`` did) or ``"dpm++"`` (fewer steps).
        spacing: ``"trailing"``, or ``"leading"`` as in older code.
        clip: whether to keep every x̂_0 in [-1, 1] and the noise in keeping with it; with
            ``"leading"`` this is how ADM and diffusion autoencoders sample. Never after ``invert``.

    Returns:
        (B, …), the images, in about [-1, 1] if the training's were.

    Raises:
        ValueError: method, spacing or steps is out of range.

    Sources: Song et al., "Denoising diffusion implicit models", 2021, equation 12 with σ = 0; Lu et
    al., "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models", 2022,
    algorithm 2, the last step of first order.
    """
    if method not in METHODS:
        raise ValueError(f"expected method {' or '.join(METHODS)}, got {method!r}")
    x, before = x_T, None
    for here, there in pairwise(schedule.levels(steps, spacing)):
        x_0, _ = clean_and_noise(x, _ask(denoise, x, here), here.alpha, here.sigma)
        if clip:
            x_0 = x_0.clamp(-1, 1)
        aim = x_0
        if method == "dpm++" and before is not None and there.sigma > 0:
            aim = x_0 + _reach(before[0], here, there) * (x_0 - before[1])
        x = there.alpha * aim + there.sigma / here.sigma * (x - here.alpha * aim)
        before = here, x_0
    return x


@torch.no_grad()
def invert(
    denoise: Denoise,
    x_0: Tensor,
    schedule: Schedule,
    steps: int,
    *,
    refine: int = 0,
    spacing: str = "trailing",
) -> Tensor:
    """Find the noise from which DDIM makes given images: DDIM's steps taken upwards.

    An upward step asks the model at the level it goes to, but with the image it comes from. Each
    refinement asks again with the image just found and corrects it by what a step down would miss,
    so that ``sample`` by DDIM comes back to the images themselves, unless the steps are so few that
    two images step down to one. Nothing is clipped.

    Args:
        denoise: predicts v, (B, …), from x_t and t; it is asked ``steps * (1 + refine)`` times.
        x_0: (B, …), images in [-1, 1].
        schedule: the one that the model was trained with.
        steps: 1 to the schedule's; the same for ``sample``.
        refine: corrections per step; 0 is plain inversion. One is worth more than twice the steps.
        spacing: ``"trailing"`` or ``"leading"``; the same for ``sample``.

    Returns:
        (B, …), noise x_T.

    Raises:
        ValueError: spacing or steps is out of range.

    Sources: Song et al. 2021, section 4.3; the correction is the fixed point of Pan et al.,
    "Effective real image editing with accelerated iterative diffusion inversion", 2023.
    """
    x = x_0
    for here, there in pairwise(reversed(schedule.levels(steps, spacing))):
        start = x
        x = _move(start, _ask(denoise, start, there), here, there)
        for _ in range(refine):
            x = x + start - _move(x, _ask(denoise, x, there), there, here)
    return x


def _ask(denoise: Denoise, x: Tensor, level: Level) -> Tensor:
    return denoise(x, torch.full((len(x),), level.t, device=x.device))


def _move(x: Tensor, v: Tensor, here: Level, there: Level) -> Tensor:
    x_0, noise = clean_and_noise(x, v, here.alpha, here.sigma)
    return there.alpha * x_0 + there.sigma * noise


def _reach(before: Level, here: Level, there: Level) -> float:
    past, now, next_ = (log(level.alpha / level.sigma) for level in (before, here, there))
    return (next_ - now) / (now - past) / 2
