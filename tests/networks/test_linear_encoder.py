"""The linear rival: closed forms."""

import numpy as np
import torch

from fer_lib.faces.light import sample_light
from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import FaceEncoderSpec
from fer_lib.networks.linear_encoder import LinearEncoder, fit_ridge, solve_ridge


def test_without_penalty_it_is_least_squares(generator):
    x, y = torch.randn(60, 5, generator=generator), torch.randn(60, 3, generator=generator)
    weight, bias = solve_ridge(x, y, 0.0)
    with_one = np.column_stack([x.numpy(), np.ones(60)])
    expected = np.linalg.lstsq(with_one, y.numpy().astype(float), rcond=None)[0]
    np.testing.assert_allclose(weight, expected[:-1], atol=1e-6)
    np.testing.assert_allclose(bias, expected[-1], atol=1e-6)


def test_with_penalty_it_is_least_squares_with_further_rows(generator):
    x, y = torch.randn(60, 5, generator=generator), torch.randn(60, 3, generator=generator)
    weight, _ = solve_ridge(x, y, 7.0)
    rows = np.vstack([x - x.mean(0), np.sqrt(7.0) * np.eye(5)])
    aims = np.vstack([y - y.mean(0), np.zeros((5, 3))])
    np.testing.assert_allclose(weight, np.linalg.lstsq(rows, aims, rcond=None)[0], atol=1e-6)


def test_noise_asks_for_a_penalty_and_exact_data_for_none(generator):
    x = torch.randn(80, 30, generator=generator)
    people = torch.arange(80) // 2
    exact = fit_ridge(x, x[:, :2] * 2, people)
    noise = fit_ridge(x, torch.randn(80, 2, generator=generator), people)
    assert exact.penalty.max() < 0.01 < noise.penalty.min()
    assert exact.variance.max() < 1e-3
    assert 0.5 < noise.variance.mean() < 1.5


def test_parameters_that_are_linear_in_the_mesh_are_found(generator):
    count, crop_px = 120, 100
    beta = torch.randn(count, 3, generator=generator)
    base = torch.rand(478, 3, generator=generator) * 60 + 20
    fields = torch.randn(3, 478, 3, generator=generator)
    mesh = base + torch.einsum("bn,nkc->bkc", beta, fields)
    camera = torch.tensor([0.24, 0.0, 0.0, 16.0]).repeat(count, 1)
    params = FaceParams(
        beta, torch.rand(count, 2, generator=generator), torch.zeros(count, 3), camera,
        torch.zeros(count, 1), sample_light(generator, count),
    )  # fmt: skip
    spec = FaceEncoderSpec("some", 3, 1, (0.0, 0.0), (1.0, 1.0), mesh_modes=8)
    scores = torch.rand(count, 52, generator=generator)
    learn, test = slice(0, 100), slice(100, None)
    encoder = LinearEncoder.fit(
        spec, params[learn], mesh[learn], scores[learn], torch.arange(100), crop_px
    )
    answer = encoder.encode(mesh[test], scores[test], crop_px)
    error = (answer.params.shape - beta[test]).square().mean()
    assert error < 0.05
    assert answer.shape_log_var.exp().mean() < 0.1
    torch.testing.assert_close(answer.params.camera, params.camera[test], rtol=1e-3, atol=1e-3)
    blind = encoder.encode(torch.full((1, 478, 3), torch.nan), scores[:1], crop_px)
    torch.testing.assert_close(blind.params.shape[0], beta[learn].mean(0), rtol=0, atol=1e-4)
