"""Metrics of face parameters: closed forms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fer_lib.evaluation.face_parameters import (
    coefficient_r2,
    expression_errors_mm,
    landmark_errors_pct_iod,
    mean_interval,
    metrics_of,
    parameter_table,
    r2_table,
    rotation_errors_deg,
    shape_errors_mm,
)
from fer_lib.faces.light import sample_light
from fer_lib.faces.params import FaceParams


@pytest.fixture
def model(generator):
    """The linear part of a face of 40 vertices; shape 0 is pure growth, shape 1 pure shift."""
    template = torch.randn(40, 3, generator=generator)
    free = 0.1 * torch.randn(2, 40, 3, generator=generator)
    growth = template - template.mean(0)
    shape = torch.cat([growth[None], torch.ones(1, 40, 3), free])
    expression = torch.randn(3, 40, 3, generator=generator)
    return SimpleNamespace(
        template=template, shape_basis=shape, expression_basis=expression, unit_mm=60.0
    )


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_r2_of_the_truth_is_one_of_the_mean_zero_and_of_a_constant_unknown(random):
    true = random.normal(5, 2, (200, 3))
    true[:, 2] = 7
    perfect = coefficient_r2(true, true, ["a", "b", "c"])
    assert perfect["a"] == (1.0, 1.0, 1.0, 200)
    assert math.isnan(perfect["c"].value)
    average = coefficient_r2(np.broadcast_to(true.mean(0), true.shape), true, ["a", "b", "c"])
    assert average["a"].value == pytest.approx(0, abs=1e-12)
    # Noise of the truth's own variance costs as much as the mean does.
    noisy = coefficient_r2(true + random.normal(0, 2, true.shape), true, ["a", "b", "c"])
    assert noisy["b"].low < 0 < noisy["b"].high


def test_r2_counts_an_offset_as_error(random):
    true = random.normal(0, 1, (100, 1))
    shifted = coefficient_r2(true + 0.5, true, ["a"])["a"]
    assert shifted.value == pytest.approx(1 - 0.25 / true.var())


def test_people_widen_the_interval_where_their_photographs_agree(random):
    errors = np.repeat(random.normal(size=20), 10)
    alone, people = mean_interval(errors), mean_interval(errors, np.repeat(np.arange(20), 10))
    assert people.value == alone.value == pytest.approx(errors.mean())
    assert people.high - people.low > 2 * (alone.high - alone.low)


def test_shape_errors_do_not_see_shift_and_scale(model, generator):
    true = torch.randn(70, 4, generator=generator)
    true[:, 0] = 0.2
    grown = true.clone()
    grown[:, 1] = -3
    assert shape_errors_mm(grown, true, model).max() < 1e-3
    # Growth is a mode: everything else has to grow with it.
    larger = torch.cat([1.5 * (1 + true[:, :1]) - 1, 1.5 * true[:, 1:]], dim=1)
    assert shape_errors_mm(larger, true, model).max() < 1e-3
    other = true.clone()
    other[:, 2] += 1
    field = model.shape_basis[2]
    field = field - field.mean(0)
    most = 60 * field.square().sum(1).mean().sqrt()
    errors = shape_errors_mm(other, true, model)
    assert 0.5 * most < errors.min() <= errors.max() < most * 1.2


def test_expression_errors_are_displacements_of_chosen_vertices(model, generator):
    true = torch.rand(5, 3, generator=generator)
    guess = true + torch.tensor([0.0, 0.5, 0.0])
    some = torch.tensor([3, 7])
    expected = 30 * model.expression_basis[1, some].square().sum(1).mean().sqrt()
    np.testing.assert_allclose(expression_errors_mm(guess, true, model, some), expected, rtol=1e-4)
    assert expression_errors_mm(true, true, model).max() == 0


def test_rotation_errors_are_angles():
    pose = torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])
    turned = pose + torch.tensor([[0.0, 0.0, 0.25], [0.0, 1e-5, 0.0]])
    expected = np.rad2deg([0.25, 1e-5])
    np.testing.assert_allclose(rotation_errors_deg(turned, pose), expected, rtol=1e-3)


def test_landmark_errors_are_shares_of_the_eye_distance(random):
    true = random.random((4, 68, 2)) * 20
    true[:, 36:42], true[:, 42:48] = [30, 40], [80, 40]
    np.testing.assert_allclose(landmark_errors_pct_iod(true + np.array([3, 4]), true), 10)


def test_the_table_holds_the_trivial_answer_beside_the_others(model, generator):
    count = 6
    true = FaceParams(
        torch.randn(count, 4, generator=generator),
        torch.rand(count, 3, generator=generator),
        0.1 * torch.randn(count, 3, generator=generator),
        torch.ones(count, 4),
        torch.zeros(count, 1),
        sample_light(generator, count),
    )
    table = parameter_table({"truth": true}, true, model)
    assert set(metrics_of(table, "truth")) == {"shape_mm", "expression_mm", "rotation_deg"}
    assert metrics_of(table, "truth")["shape_mm"].n == count
    scores = r2_table({"truth": true}, true, lambda p: p.expression, ["a", "b", "c"])
    assert scores["truth"].to_dict() == {"a": 1, "b": 1, "c": 1}
    table = table.set_index(["estimator", "metric"])
    assert table.loc["truth", "value"].max() < 1e-3
    assert (table.loc["mean face, neutral", "value"] > 0.1).all()
    assert set(table["n"]) == {count}
