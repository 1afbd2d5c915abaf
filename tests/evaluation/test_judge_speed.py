import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.evaluation.judge_speed import (
    REFERENCE,
    JudgeBench,
    calibrated_network,
    fastest,
    memory_growth,
    random_crops,
)
from fer_lib.evaluation.speed import time_ways

FACES = 3


def crops(count=FACES):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    return random_crops(
        [np.kron(one, np.ones((16, 20, 1), np.uint8)) for one in pictures], count, 0
    )


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        # As where the package is not installed.
        patch.setitem(sys.modules, "emotiefflib.facial_analysis", None)
        before = dict(os.environ), torch.load
        made = JudgeBench.make(crops(), seed=1)
        assert (dict(os.environ), torch.load) == before, "nothing is left changed"
        time_ways(made.ways(), FACES, rounds=1)
        return made


def test_all_answer_as_hsemotion_does(bench):
    differences = bench.differences(list(bench.answers))
    assert set(differences) == {REFERENCE, "hsemotion, lists", "ours, exact", "ours, fast"}
    assert differences[REFERENCE] == 0
    assert differences["hsemotion, lists"] < 1e-4
    assert differences["ours, exact"] < 1e-4
    assert differences["ours, fast"] < 0.1
    said = bench.answers[REFERENCE]
    assert said.shape == (FACES, 8)
    assert np.ptp(said, axis=0).max() > 0.01, "random, but not the same of all faces"


def test_what_is_not_installed_is_absent_with_a_reason(bench):
    assert list(bench.absent) == ["emotiefflib"]
    assert "emotiefflib is not timed" in bench.absent["emotiefflib"]


@pytest.mark.skipif(
    importlib.util.find_spec("emotiefflib") is None, reason="emotiefflib is for notebook 90 alone"
)
def test_emotiefflib_has_the_same_weights():
    bench = JudgeBench.make(crops(2))
    time_ways(bench.ways(), 2, rounds=1)
    found = {name: value for name, value in bench.differences(list(bench.answers)).items()
             if "emotieff" in name}
    assert len(found) == 4
    # Its onnx way resizes with another library, the torch way with the same.
    assert max(value for name, value in found.items() if "torch" in name) < 1e-4
    assert max(found.values()) < 0.2


def test_fewer_faces_can_be_asked_for(bench):
    whole = bench.answers["ours, exact"]
    bench.ways(1)["ours, exact"]()
    np.testing.assert_allclose(bench.answers["ours, exact"], whole[:1], atol=1e-5)
    bench.ways()["ours, exact"]()


def test_a_network_is_random_by_its_seed_alone(bench):
    state = torch.random.get_rng_state()
    first = bench.judges["exact"].network
    again, other = (calibrated_network(crops(), seed) for seed in (1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    name = "trunk.blocks.0.0.bn1.running_var"
    assert torch.equal(first.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    assert (first.state_dict()[name] != 1).all(), "calibrated"


def test_crops_are_parts_of_the_pictures():
    picture = np.arange(40 * 30 * 3, dtype=np.int64).reshape(40, 30, 3).astype(np.uint8)
    found = random_crops([picture], 30, seed=0)
    assert len({crop.shape for crop in found}) > 10
    for crop in found:
        assert 20 <= crop.shape[0] <= 40
        assert 15 <= crop.shape[1] <= 30
        windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)
        assert (windows == crop).all(axis=(-3, -2, -1)).any()


def test_the_fastest_way_is_that_of_the_package():
    times = pd.DataFrame({
        "way": ["a, slow", "a, quick", "a, slow", "a, quick", "b"],
        "seconds": [3.0, 1.4, 1.5, 2.1, 0.1],
    })  # fmt: skip
    assert fastest(times, "a") == "a, quick"
    assert fastest(times, "b") == "b"


class Hoarder:
    """Stands for a judge that keeps what it saw."""

    def __init__(self, mib):
        self.kept, self.mib = [], mib

    def judge_stream(self, clip):
        for _ in clip:
            self.kept.append(np.ones(self.mib * 2**17))
            yield pd.DataFrame()


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc")
def test_memory_that_is_kept_is_seen():
    # So large that none of it comes out of memory that was freed before.
    assert memory_growth(Hoarder(64), crops(), 6) > 150
    assert memory_growth(Hoarder(0), crops(), 20) < 8
