import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch.nn import functional

from fer_lib.networks.diffusers_pipeline import PipelineNetwork, ddim_pipeline, draw_by_pipeline

SIZE, SEEDS = 8, (3, 5)
WEIGHT = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 5
LINEAR = DDIMScheduler(timestep_spacing="trailing", prediction_type="v_prediction",
                       clip_sample=False)  # fmt: skip
ALPHA = LINEAR.alphas_cumprod.sqrt()


def denoise(x_t, t):
    assert t.shape == (len(x_t),)
    assert t.dtype == torch.int64
    time = (t.to(x_t) / 500 - 1).reshape(-1, 1, 1, 1)
    return torch.tanh(functional.conv2d(x_t, WEIGHT, padding=1) + time)


def pipeline(of=denoise, alpha=ALPHA):
    return ddim_pipeline(PipelineNetwork(of, SIZE, "cpu"), alpha)


def by_hand(steps):
    noise = [torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(s)) for s in SEEDS]
    x = torch.stack(noise)
    LINEAR.set_timesteps(steps)
    for t in LINEAR.timesteps:
        x = LINEAR.step(denoise(x, t.expand(len(x))), int(t), x).prev_sample
    return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("steps", [1, 10, 50])
def test_it_is_the_scheduler_with_these_levels_and_this_noise(steps):
    found = draw_by_pipeline(pipeline(), SEEDS, steps)
    assert found.shape == (2, SIZE, SIZE, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(steps), atol=1e-5)


def test_the_levels_are_those_of_the_training():
    alpha = torch.linspace(0.99, 0.1, 40, dtype=torch.float64)
    kept = pipeline(alpha=alpha).scheduler.alphas_cumprod
    np.testing.assert_allclose(kept, alpha.square(), rtol=1e-5)


def test_the_denoiser_is_asked_once_per_step():
    asked = []

    def counting(x_t, t):
        asked.append(int(t[0]))
        return denoise(x_t, t)

    draw_by_pipeline(pipeline(counting), SEEDS, 4)
    assert asked == [999, 749, 499, 249]


def test_steps_that_would_go_through_other_levels_are_refused():
    with pytest.raises(ValueError, match="divide the schedule's 1000, got 30"):
        draw_by_pipeline(pipeline(), SEEDS, 30)
