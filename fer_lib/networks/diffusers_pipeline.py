"""A denoiser in diffusers' own pipeline: what samplers are timed beside and held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler
from torch import Tensor, nn


class PipelineNetwork(nn.Module):
    """A denoiser under fixed conditions, to be called as pipelines call a U-Net.

    Args:
        denoise: predicts v, (B,3,S,S), from x_t and t, (B,) int64.
        size: S, side of the pictures in px.
        device: where ``denoise`` computes, in float32.
    """

    dtype = torch.float32

    def __init__(
        self, denoise: Callable[[Tensor, Tensor], Tensor], size: int, device: torch.device | str
    ) -> None:
        super().__init__()
        self.denoise, self.device = denoise, torch.device(device)
        self.config = SimpleNamespace(sample_size=size, in_channels=3)

    def forward(self, x_t: Tensor, t: Tensor) -> SimpleNamespace:
        """Predict v of a batch at one step of the schedule, as the answer's ``sample``."""
        return SimpleNamespace(sample=self.denoise(x_t, t.to(x_t.device).expand(len(x_t))))


def ddim_pipeline(network: PipelineNetwork, alpha: Tensor) -> DDIMPipeline:
    """Put a denoiser into diffusers' pipeline: DDIM, trailing steps, nothing clipped on the way.

    Args:
        network: the denoiser.
        alpha: (T,) share of the clean picture at each timestep of its training, falling.

    Returns:
        The pipeline, without its progress bar.
    """
    # A timestep adds β: ᾱ_t = ᾱ_{t-1} (1 - β_t) with ᾱ = α², and before the first ᾱ is 1.
    kept = alpha.double().square()
    betas = 1 - kept / torch.cat([kept.new_ones(1), kept[:-1]])
    scheduler = DDIMScheduler(
        num_train_timesteps=len(alpha), trained_betas=betas.tolist(), clip_sample=False,
        prediction_type="v_prediction", timestep_spacing="trailing",
    )  # fmt: skip
    pipeline = DDIMPipeline(network, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw_by_pipeline(pipeline: DDIMPipeline, seeds: Sequence[int], steps: int) -> np.ndarray:
    """Draw pictures from seeded noise, that of ``samplers.seeded_noise``.

    Args:
        pipeline: from ``ddim_pipeline``.
        seeds: one per picture, as many as the denoiser's conditions.
        steps: how often the denoiser is asked.

    Returns:
        (B,S,S,3) float32 in [0, 1].

    Raises:
        ValueError: the steps do not divide the schedule's; diffusers would go through other levels.
    """
    whole = pipeline.scheduler.config.num_train_timesteps
    if whole % steps:
        raise ValueError(f"expected steps that divide the schedule's {whole}, got {steps}")
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    count = len(generators)
    return pipeline(count, generators, num_inference_steps=steps, output_type="np").images
