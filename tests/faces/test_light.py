import math

import numpy as np
import pytest
import torch
from scipy.special import lpmv

from fer_lib.faces.light import (
    SH_CONSTANTS,
    ambient_directional,
    lamp,
    sample_light,
    sh_basis,
    shade,
)


def sphere_quadrature(rows=64, columns=128):
    """Directions over the sphere (3, N) and weights that sum to 4π (Gauss × uniform)."""
    z, weight = np.polynomial.legendre.leggauss(rows)
    phi = 2 * np.pi * (np.arange(columns) + 0.5) / columns
    z, phi = np.meshgrid(z, phi, indexing="ij")
    r = np.sqrt(1 - z**2)
    weights = np.repeat(weight, columns) * 2 * np.pi / columns
    directions = np.stack([r * np.cos(phi), r * np.sin(phi), z]).reshape(3, -1)
    return torch.from_numpy(directions), torch.from_numpy(weights)


def test_constants_are_those_of_decas_renderer():
    pi = math.pi
    expected = [
        1 / math.sqrt(4 * pi),
        *[(2 * pi / 3) * math.sqrt(3 / (4 * pi))] * 3,
        *[(pi / 4) * 3 * math.sqrt(5 / (12 * pi))] * 3,
        (pi / 4) * (3 / 2) * math.sqrt(5 / (12 * pi)),
        (pi / 4) * (1 / 2) * math.sqrt(5 / (4 * pi)),
    ]
    assert SH_CONSTANTS == pytest.approx(expected)


def test_basis_is_real_spherical_harmonics_times_the_cosine_transfer():
    directions, _ = sphere_quadrature(6, 12)
    x, y, z = directions.numpy()
    phi = np.arctan2(y, x)

    def real(degree, order):
        m = abs(order)
        ratio = math.factorial(degree - m) / math.factorial(degree + m)
        value = math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio) * lpmv(m, degree, z)
        turn = np.cos(m * phi) if order >= 0 else np.sin(m * phi)
        return value if m == 0 else (-1) ** m * math.sqrt(2) * value * turn

    transfer = {0: 1.0, 1: 2 * math.pi / 3, 2: math.pi / 4}
    orders = [(0, 0), (1, 1), (1, -1), (1, 0), (2, -2), (2, 1), (2, -1), (2, 2), (2, 0)]
    expected = np.stack([transfer[d] * real(d, o) for d, o in orders])
    got = sh_basis(directions).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_ambient_and_lamp_match_their_projection_over_the_sphere():
    directions, weights = sphere_quadrature()
    aim = torch.tensor([[0.3, 0.5, 0.8], [-0.7, 0.1, -0.2]], dtype=torch.float64)
    aim = aim / aim.norm(dim=1, keepdim=True)
    ambient = torch.tensor([[0.4, 0.5, 0.6], [0.1, 0.0, 0.2]], dtype=torch.float64)
    strength = torch.tensor([[0.7, 0.6, 0.5], [1.0, 2.0, 0.5]], dtype=torch.float64)
    light = ambient_directional(ambient, strength, aim)
    basis = sh_basis(directions)
    gram = (basis * weights) @ basis.T
    for k in range(2):
        cosine = (aim[k] @ directions).clamp_min(0)
        exact = ambient[k][:, None] + strength[k][:, None] * cosine
        projected = torch.linalg.solve(gram, (basis * weights) @ exact.T)
        torch.testing.assert_close(light[k], projected, atol=2e-4, rtol=0)


def test_shading_equals_the_integral_of_the_surroundings_radiance():
    directions, weights = sphere_quadrature()
    radiance = 1 + directions[1] + 0.4 * directions[0] * directions[2]
    normal = torch.tensor([0.36, 0.48, 0.8], dtype=torch.float64)
    exact = (weights * radiance * (normal @ directions).clamp_min(0)).sum() / math.pi
    # Linear radiance keeps 2/3 of its slope, quadratic radiance 1/4 of its coefficient.
    light = torch.zeros(9, 3, dtype=torch.float64)
    light[0], light[2], light[5] = 1, 2 / 3, 0.25 * 0.4
    light /= torch.tensor(SH_CONSTANTS, dtype=torch.float64)[:, None]
    got = shade(normal[:, None], light)[:, 0]
    torch.testing.assert_close(got, exact.expand(3), atol=1e-4, rtol=0)


def test_constant_light_shades_every_normal_alike():
    light = ambient_directional(torch.full((1, 3), 0.8), torch.zeros(1, 3), torch.eye(3)[:1])[0]
    directions, _ = sphere_quadrature(4, 8)
    torch.testing.assert_close(shade(directions.float(), light), torch.full((3, 32), 0.8))


def test_lamp_is_found_again():
    direction = torch.tensor([[0.6, 0.0, 0.8]])
    colour = torch.tensor([[0.5, 0.6, 0.7]])
    got_direction, got_colour = lamp(ambient_directional(colour, colour, direction)[0])
    torch.testing.assert_close(got_direction, direction[0])
    torch.testing.assert_close(got_colour, colour[0])


def test_sampled_lights_come_from_the_front_and_are_bright_enough():
    light = sample_light(torch.Generator().manual_seed(3), 200)
    front = torch.stack([shade(torch.tensor([[0.0], [0.0], [1.0]]), each)[:, 0] for each in light])
    assert light.shape == (200, 9, 3)
    assert front.min() > 0.5
    assert front.max() < 2
