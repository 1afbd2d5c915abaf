"""The timed ways do the same work: equal losses, equal sweeps."""

import pytest
import torch

from fer_lib.training.fusion_speed import FusionBench


@pytest.fixture(scope="module")
def bench():
    return FusionBench.make(6, 192, (8, 2), torch.device("cpu"), seed=0)


def test_both_epochs_learn_and_the_floor_is_the_landmark_network_alone(bench):
    before = [p.clone() for p in bench.cached.landmark.parameters()]
    losses = [bench.plain_epoch(), bench.cached_epoch_fp32(), bench.cached_epoch()]
    assert all(0 < loss < 20 for loss in losses)
    after = bench.cached.landmark.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert 0 < bench.landmark_floor() < 20


def test_sweeps_agree_however_they_are_computed():
    bench = FusionBench.make(8, 192, (8, 2), torch.device("cpu"), seed=1)
    assert bench.cached_sweep() == bench.plain_sweep() == bench.sweep_with_pass()
    assert bench.sweep_difference_pt() == 0
    assert len(bench.cached_sweep()) == 11
    assert bench.cached.disagreement_weight == 0.6
