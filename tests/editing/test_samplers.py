"""Samplers against closed forms and against themselves."""

from itertools import pairwise

import pytest
import torch

from fer_lib.editing.samplers import invert, sample, seeded_noise
from fer_lib.editing.schedule import Schedule, v_from_clean

SCHEDULE = Schedule()
MEAN, SPREAD = 0.3, 0.5
SHAPE = (3, 8, 8)


def gaussian(schedule=SCHEDULE, mean=MEAN, spread=SPREAD):
    """The v of data that is Gaussian in every pixel: the posterior mean is linear in x_t."""

    def denoise(x_t, t):
        alpha, sigma = schedule.at(t, x_t)
        gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        return v_from_clean(x_t, mean + gain * (x_t - alpha * mean), alpha, sigma)

    return denoise


def flow(x, alpha, sigma, alpha_to, sigma_to, mean=MEAN, spread=SPREAD):
    """Where the probability flow takes x: its distance from the mean scales with the spread."""
    width = (alpha**2 * spread**2 + sigma**2) ** 0.5
    width_to = (alpha_to**2 * spread**2 + sigma_to**2) ** 0.5
    return alpha_to * mean + width_to / width * (x - alpha * mean)


def two_modes(schedule=SCHEDULE, modes=(-0.5, 0.6), spread=0.15):
    """The v of data with two modes in every pixel: as far from linear as a pixel can be."""

    def denoise(x_t, t):
        alpha, sigma = (value[..., None] for value in schedule.at(t, x_t))
        means, variance = torch.tensor(modes).to(x_t), alpha**2 * spread**2 + sigma**2
        residual = x_t[..., None] - alpha * means
        share = torch.softmax(-residual.square() / (2 * variance), dim=-1)
        x_0 = (share * (means + alpha * spread**2 / variance * residual)).sum(dim=-1)
        return v_from_clean(x_t, x_0, alpha[..., 0], sigma[..., 0])

    return denoise


def noise(count=4, dtype=torch.float64):
    return seeded_noise(range(count), SHAPE, dtype=dtype)


def ends(schedule=SCHEDULE):
    return float(schedule.alpha[-1]), float(schedule.sigma[-1])


def answer(x_T, schedule=SCHEDULE):
    return flow(x_T, *ends(schedule), 1.0, 0.0)


def error(method, steps, schedule=SCHEDULE, **options):
    x_T = noise()
    found = sample(gaussian(schedule), x_T, schedule, steps, method, **options)
    return (found - answer(x_T, schedule)).abs().max().item()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_ddim_comes_to_the_closed_form_as_the_step_goes_to_nothing(kind):
    errors = [error("ddim", steps, Schedule(kind=kind)) for steps in (125, 250, 500, 1000)]
    for longer, shorter in pairwise(errors):
        assert longer / shorter == pytest.approx(2, abs=0.1)
    assert errors[-1] < 6e-3


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_second_order_is_there_with_a_twentieth_of_the_questions(kind):
    schedule = Schedule(kind=kind)
    assert error("dpm++", 50, schedule) < error("ddim", 1000, schedule)
    assert error("dpm++", 20, schedule) < error("ddim", 20, schedule) / 3
    assert error("dpm++", 1000, schedule) < 2e-4


@pytest.mark.parametrize("method", ["ddim", "dpm++"])
def test_one_value_in_all_data_needs_one_question(method):
    denoise = gaussian(mean=torch.linspace(-1, 1, 8, dtype=torch.float64), spread=0)
    for steps in (1, 2, 7):
        found = sample(denoise, noise(), SCHEDULE, steps, method)
        assert torch.allclose(found, torch.linspace(-1, 1, 8, dtype=torch.float64), atol=1e-9)


def test_noise_becomes_data_with_their_mean_and_spread():
    x_0 = sample(gaussian(), seeded_noise(range(40), (3, 16, 16)), SCHEDULE, 100, "dpm++")
    assert x_0.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x_0.std().item() == pytest.approx(SPREAD, abs=0.01)


def test_inversion_comes_to_the_closed_form_as_the_step_goes_to_nothing():
    x_0 = MEAN + SPREAD * noise()
    exact = flow(x_0, 1.0, 0.0, *ends())
    errors = [(invert(gaussian(), x_0, SCHEDULE, steps) - exact).abs().max().item()
              for steps in (250, 500, 1000)]
    for longer, shorter in pairwise(errors):
        assert longer / shorter == pytest.approx(2, abs=0.1)
    assert errors[-1] < 8e-3


@pytest.fixture(scope="module")
def data():
    return sample(two_modes(), noise(), SCHEDULE, 100, "dpm++")


def lost(x_0, steps, refine=0, **options):
    """What is missing of each pixel after the way up and down again, on average."""
    x_T = invert(two_modes(), x_0, SCHEDULE, steps, refine=refine, **options)
    return (sample(two_modes(), x_T, SCHEDULE, steps, **options) - x_0).abs().mean().item()


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_what_is_lost_on_the_way_up_and_down_goes_with_the_step(data, spacing):
    losses = [lost(data, steps, spacing=spacing) for steps in (25, 50, 100, 200)]
    assert all(longer / shorter > 1.6 for longer, shorter in pairwise(losses))
    assert losses[1] < 0.03


def test_refinement_brings_the_images_themselves_back(data):
    assert lost(data, 50, refine=1) < lost(data, 100) / 2
    losses = [lost(data, 100, refine) for refine in (0, 1, 2, 4)]
    assert all(longer / shorter > 3 for longer, shorter in pairwise(losses))
    assert losses[-1] < 1e-4


def test_refined_inversion_takes_back_every_step_down():
    x_T, denoise = noise(), gaussian()
    found = invert(denoise, sample(denoise, x_T, SCHEDULE, 20), SCHEDULE, 20, refine=60)
    assert (found - x_T).abs().max() < 1e-9


@pytest.mark.parametrize("method", ["ddim", "dpm++"])
def test_an_image_is_the_same_alone_and_in_any_company(method):
    x_T, denoise = noise(5, torch.float32), two_modes()
    together = sample(denoise, x_T, SCHEDULE, 10, method)
    for i in range(5):
        assert torch.equal(sample(denoise, x_T[i : i + 1], SCHEDULE, 10, method)[0], together[i])
    turned = invert(denoise, together.flip(0), SCHEDULE, 10, refine=1)
    assert torch.equal(turned.flip(0), invert(denoise, together, SCHEDULE, 10, refine=1))


def test_noise_depends_on_its_own_seed_alone():
    drawn = seeded_noise([7, 3, 7], SHAPE)
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(seeded_noise([3], SHAPE)[0], drawn[1])
    before = torch.get_rng_state()
    halves = seeded_noise([3], SHAPE, dtype=torch.bfloat16)
    assert halves.dtype == torch.bfloat16 and torch.equal(halves[0], drawn[1].bfloat16())
    assert torch.equal(torch.get_rng_state(), before)
    many = seeded_noise(range(400), SHAPE)
    assert many.mean().abs() < 0.02 and many.std().item() == pytest.approx(1, abs=0.01)
    assert (many.mean(dim=(1, 2, 3)).std() * 192**0.5).item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("run", "asked"), [
    (lambda ask, x: sample(ask, x, SCHEDULE, 20), [*range(999, 0, -50)]),
    (lambda ask, x: sample(ask, x, SCHEDULE, 5, "dpm++"), [999, 799, 599, 399, 199]),
    (lambda ask, x: invert(ask, x, SCHEDULE, 4), [249, 499, 749, 999]),
    (lambda ask, x: invert(ask, x, SCHEDULE, 2, refine=2), [499] * 3 + [999] * 3),
])
def test_the_model_is_asked_once_per_step_with_a_time_for_every_image(run, asked):
    heard = []

    def denoise(x_t, t):
        assert t.shape == (4,) and t.dtype == torch.int64 and not torch.is_grad_enabled()
        heard.append(set(t.tolist()))
        return torch.zeros_like(x_t).requires_grad_()

    assert not run(denoise, noise()).requires_grad
    assert heard == [{t} for t in asked]


@pytest.mark.parametrize("method", ["ddim", "dpm++"])
def test_clipping_keeps_a_wild_model_in_range_and_a_tame_one_as_it_is(method):
    def wild(x_t, t):
        return -5 * torch.ones_like(x_t)

    assert sample(wild, noise(), SCHEDULE, 10, method).max() > 1.5
    assert sample(wild, noise(), SCHEDULE, 10, method, clip=True).abs().max() <= 1
    tame = gaussian(mean=0.1, spread=0.05)
    free = sample(tame, noise(), SCHEDULE, 10, method)
    assert torch.equal(free, sample(tame, noise(), SCHEDULE, 10, method, clip=True))


def test_a_model_in_half_precision_does_not_make_the_path_coarse():
    def coarse(x_t, t):
        return two_modes()(x_t, t).bfloat16()

    fine = sample(two_modes(), noise(dtype=torch.float32), SCHEDULE, 20)
    found = sample(coarse, noise(dtype=torch.float32), SCHEDULE, 20)
    assert found.dtype == torch.float32 and (found - fine).abs().mean() < 0.02


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"method ddim or dpm\+\+, got 'euler'"):
        sample(gaussian(), noise(), SCHEDULE, 5, "euler")
