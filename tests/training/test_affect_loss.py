import math

import numpy as np
import pytest
import torch

from fer_lib.training.affect_loss import affect_loss, concordance


def sample(seed=0):
    return torch.randn(50, 2, generator=torch.Generator().manual_seed(seed))


def test_concordance_has_its_closed_forms():
    x = sample()
    assert torch.allclose(concordance(x, x), torch.ones(2), atol=1e-6)
    assert torch.allclose(concordance(-x + 2 * x.mean(0), x), -torch.ones(2), atol=1e-6)
    # Shifted by one standard deviation: 2·s² / (2·s² + s²).
    moved = x + x.std(dim=0, correction=0)
    assert torch.allclose(concordance(moved, x), torch.full((2,), 2 / 3), atol=1e-6)
    # Twice the spread about the same mean: 4·s² / (5·s²).
    wide = 2 * (x - x.mean(0)) + x.mean(0)
    assert torch.allclose(concordance(wide, x), torch.full((2,), 0.8), atol=1e-6)


def test_concordance_is_the_one_of_its_definition():
    x, y = sample(1).double().numpy(), sample(2).double().numpy()
    for column in range(2):
        a, b = x[:, column], y[:, column]
        expected = (
            2
            * np.corrcoef(a, b)[0, 1]
            * a.std()
            * b.std()
            / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        )
        found = concordance(torch.from_numpy(x), torch.from_numpy(y))[column].item()
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_loss_counts_both_by_half_and_leaves_out_what_is_unknown():
    x, y = sample(1), sample(2)
    expected = ((1 - concordance(x, y)) / 2).sum().item()
    assert affect_loss(x, y).item() == pytest.approx(expected, abs=1e-6)
    gaps = torch.cat([y, torch.full((3, 2), math.nan)])
    more = torch.cat([x, torch.full((3, 2), 9.0)])
    assert affect_loss(more, gaps).item() == pytest.approx(expected, abs=1e-6)
    assert affect_loss(x, torch.full_like(y, math.nan)).item() == 0


def test_a_constant_answer_costs_a_half_each_and_can_be_left():
    x = torch.zeros(50, 2, requires_grad=True)
    loss = affect_loss(x, sample() - sample().mean(0))
    assert loss.item() == pytest.approx(1, abs=1e-5)
    loss.backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
