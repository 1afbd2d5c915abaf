"""Samplers against the schedulers of diffusers, on a random network where nothing cancels."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DPMSolverMultistepScheduler
from torch.nn import functional

from fer_lib.editing.samplers import invert, sample, seeded_noise
from fer_lib.editing.schedule import Schedule, v_from_noise

NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
WEIGHT = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)) / 5


def network(x_t, t):
    time = (t.to(x_t) / 500 - 1).reshape(-1, 1, 1, 1)
    return torch.tanh(functional.conv2d(x_t, WEIGHT.to(x_t), padding=1) + time)


def noise(dtype=torch.float32):
    return seeded_noise(range(2), (3, 8, 8), dtype=dtype)


def theirs(scheduler, x, steps, **options):
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        v = network(x, t.expand(len(x)))
        x = scheduler.step(v, int(t), x, **options).prev_sample
    return x


def settings(kind, spacing, prediction="v_prediction"):
    return {"beta_schedule": NAMES[kind], "timestep_spacing": spacing,
            "prediction_type": prediction}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [10, 50])
def test_ddim_and_its_inverse(kind, spacing, steps):
    ours = settings(kind, spacing)
    expected = theirs(DDIMScheduler(clip_sample=False, **ours), noise(), steps)
    found = sample(network, noise(), Schedule(kind=kind), steps, spacing=spacing)
    assert (found - expected).abs().max() < 1e-5
    upwards = theirs(DDIMInverseScheduler(clip_sample=False, **ours), found, steps)
    again = invert(network, found, Schedule(kind=kind), steps, spacing=spacing)
    assert (again - upwards).abs().max() < 1e-5


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("steps", [5, 10, 25])
def test_dpm_solver_multistep(kind, steps):
    expected = theirs(DPMSolverMultistepScheduler(**settings(kind, "trailing")), noise(), steps)
    found = sample(network, noise(), Schedule(kind=kind), steps, "dpm++")
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_the_way_older_code_samples(prediction):
    """Leading, clipped, the noise in keeping with the clipped image: ddim20 of ADM."""
    scheduler = DDIMScheduler(clip_sample=True, **settings("linear", "leading", prediction))
    x_T, schedule = noise(torch.float64), Schedule()

    def denoise(x_t, t):
        if prediction == "v_prediction":
            return network(x_t, t)
        return v_from_noise(x_t, network(x_t, t), *schedule.at(t, x_t))

    found = sample(denoise, x_T, schedule, 20, spacing="leading", clip=True)
    expected = theirs(scheduler, x_T, 20, use_clipped_model_output=True)
    assert (found - expected).abs().max() < 1e-5
    assert found.abs().max() <= 1
