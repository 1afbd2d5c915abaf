"""Grain outside the face: known noise is found again, shades are none, failures are counted."""

import numpy as np
import pytest
import torch

from fer_lib.evaluation import residual_noise

SIDE = 64


def shades(n):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    plain = 90 + 60 * x + 30 * y + 20 * x * x
    return np.repeat(np.repeat(plain[None, ..., None], n, 0), 3, 3)


def noisy(sigma, n=4, seed=0, where=1.0):
    noise = np.random.default_rng(seed).normal(0, 255 * sigma, (n, SIDE, SIDE, 3))
    return np.clip(np.rint(shades(n) + noise * where), 0, 255).astype(np.uint8)


def outside(n=4):
    region = torch.ones(n, SIDE, SIDE)
    region[:, 16:48, 16:48] = 0
    return region


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_the_noise_is_found_again(sigma):
    assert residual_noise.roughness(noisy(sigma), outside()) == pytest.approx(sigma, rel=0.1)


def test_a_shade_is_hardly_any_noise_and_the_face_does_not_count():
    assert (residual_noise.roughness(noisy(0), outside()) < 0.003).all()
    inside = np.zeros((SIDE, SIDE, 1))
    inside[16:48, 16:48] = 1
    assert (residual_noise.roughness(noisy(0.2, where=inside), outside()) < 0.003).all()
    assert np.isnan(residual_noise.roughness(noisy(0.1), 0 * outside())).all()


def test_grain_is_what_the_source_does_not_have():
    source = noisy(0.02)
    assert (residual_noise.grain(source, source, outside()) == 0).all()
    found = residual_noise.grain(noisy(0.05, seed=1), source, outside())
    assert found == pytest.approx((0.05**2 - 0.02**2) ** 0.5, rel=0.1)


def test_failures_are_counted_by_seed_and_by_source():
    grains = np.array([[0.0, 0.1], [0.1, 0.2], [0.0, 0.0], [np.nan, 0.0]])
    table = residual_noise.failure_table(grains, ["a", "a", "b", "b"])
    shares = table["value"]
    assert shares["all seeds"] == pytest.approx(0.5)
    assert (shares["seed 0"], shares["seed 1"]) == (0.5, 0.5)
    assert (shares["with every seed"], shares["with any seed"]) == (0.25, 0.75)
    assert table["n"].tolist() == [8, 4, 4, 4, 4]
    assert (table["low"] <= shares).all() and (shares <= table["high"]).all()


def test_a_region_of_another_size_is_refused():
    with pytest.raises(ValueError, match="region"):
        residual_noise.roughness(noisy(0), outside()[:, :32, :32])
