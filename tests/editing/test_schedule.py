from itertools import pairwise
from math import cos, pi

import pytest
import torch

from fer_lib.editing.schedule import (
    Schedule,
    clean_and_noise,
    v_from_clean,
    v_from_noise,
    velocity,
)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [25, 100, 1000])
def test_the_signal_falls_from_almost_one_to_almost_nothing(kind, steps):
    schedule = Schedule(steps, kind)
    power = schedule.alpha.square() + schedule.sigma.square()
    assert torch.allclose(power, torch.ones(steps, dtype=torch.float64), atol=1e-14)
    assert (schedule.snr.diff() < 0).all()
    assert schedule.alpha[0] > 0.95 and schedule.alpha[-1] < 0.02


def test_both_kinds_are_the_published_ones():
    signal = 1.0
    for t in range(1000):
        signal *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
    assert Schedule().alpha[-1].item() ** 2 == pytest.approx(signal, rel=1e-9)
    share, start = (cos((t / 1000 + 0.008) / 1.008 * pi / 2) ** 2 for t in (500, 0))
    assert Schedule(kind="cosine").alpha[499].item() ** 2 == pytest.approx(share / start, rel=1e-9)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_noise_velocity_and_clean_image_follow_from_one_another(kind):
    schedule, generator = Schedule(kind=kind), torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64, generator=generator)
    alpha, sigma = schedule.at(torch.tensor([0, 10, 400, 998, 999]), x_0)
    assert alpha.shape == (5, 1, 1, 1) and alpha.dtype == torch.float64
    x_t, v = alpha * x_0 + sigma * noise, velocity(x_0, noise, alpha, sigma)
    for found, true in zip(clean_and_noise(x_t, v, alpha, sigma), (x_0, noise), strict=True):
        assert torch.allclose(found, true, atol=1e-12)
    assert torch.allclose(v_from_clean(x_t, x_0, alpha, sigma), v, atol=1e-11)
    # Dividing by α costs digits where hardly any signal is left; v itself costs none.
    assert torch.allclose(v_from_noise(x_t, noise, alpha, sigma), v, atol=1e-9)


def test_the_velocity_is_how_the_image_turns_into_noise():
    x_0, noise = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    angle = torch.tensor(0.7, dtype=torch.float64)

    def noisy(angle):
        return angle.cos() * x_0 + angle.sin() * noise

    slope = (noisy(angle + 1e-6) - noisy(angle - 1e-6)) / 2e-6
    assert torch.allclose(velocity(x_0, noise, angle.cos(), angle.sin()), slope, atol=1e-8)


def test_min_snr_weight_bounds_the_weight_of_the_clean_image():
    schedule, t = Schedule(), torch.arange(1000)
    snr = schedule.snr
    expected = snr.clamp_max(5) / (snr + 1)
    assert torch.allclose(schedule.min_snr_weight(t).double(), expected, rtol=1e-6)
    # The error of v is (SNR + 1) times that of x̂_0: in x̂_0 no weight exceeds γ, and none does less.
    in_x_0 = schedule.min_snr_weight(t).double() * (snr + 1)
    assert in_x_0.max() <= 5 * (1 + 1e-6) and (in_x_0[snr > 5] > 5 * (1 - 1e-6)).all()
    assert torch.allclose(schedule.min_snr_weight(t, 1e9).double(), schedule.alpha.square(),
                          rtol=1e-6)


def test_at_takes_device_and_dtype_of_the_images():
    alpha, sigma = Schedule().at(torch.tensor([3, 7]), torch.zeros(2, 3, 8, 8))
    assert alpha.dtype == sigma.dtype == torch.float32 and sigma.shape == (2, 1, 1, 1)
    assert alpha.flatten().tolist() == Schedule().alpha[[3, 7]].float().tolist()


def test_levels_are_those_of_the_table():
    leading = [level.t for level in Schedule().levels(20, "leading")]
    assert leading == [*range(950, -1, -50), -1]
    trailing = [level.t for level in Schedule().levels(20)]
    assert trailing == [*range(999, 0, -50), -1]
    assert [level.t for level in Schedule().levels(3)] == [999, 666, 332, -1]
    assert Schedule().levels(1)[1] == (-1, 1.0, 0.0)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("steps", [100, 1000])
def test_levels_fall_whatever_their_number(spacing, steps):
    schedule = Schedule(steps)
    for count in {*range(1, steps, 41), steps - 1, steps}:
        levels = schedule.levels(count, spacing)
        assert len(levels) == count + 1
        assert all(a.t > b.t and a.alpha < b.alpha for a, b in pairwise(levels))
        assert levels[0].t == steps - 1 or spacing == "leading"


@pytest.mark.parametrize(("act", "complaint"), [
    (lambda: Schedule(kind="sigmoid"), "kind linear or cosine, got 'sigmoid'"),
    (lambda: Schedule(10), "at least 25 steps, got 10"),
    (lambda: Schedule().levels(0), "1 to 1000 sampling steps, got 0"),
    (lambda: Schedule().levels(1001), "1 to 1000 sampling steps, got 1001"),
    (lambda: Schedule().levels(5, "linspace"), "trailing or leading, got 'linspace'"),
])
def test_what_cannot_be_is_refused(act, complaint):
    with pytest.raises(ValueError, match=complaint):
        act()
