from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_lib.measurements import checked_metrics


class Interval(NamedTuple):
    value: float
    low: float
    high: float
    n: int


@dataclass
class Estimate:
    value: float
    low: float
    high: float
    n: int


@pytest.mark.parametrize(
    ("given_value", "kept"),
    [
        (1, 1),
        (0.5, 0.5),
        (None, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array(2.0), 2.0),
        (torch.tensor(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        ({"value": 0.5, "low": 0, "high": 1, "n": np.int64(8)}, None),
        (Interval(0.5, 0, 1, 8), None),
        (Estimate(0.5, 0, 1, 8), None),
    ],
)
def test_numbers_and_intervals_become_plain_json(given_value, kept):
    expected = kept
    if kept is None and given_value is not None:
        expected = {"value": 0.5, "low": 0, "high": 1, "n": 8}
    found = checked_metrics({"score": given_value})["score"]
    assert found == expected
    assert type(found) in (int, float, dict, type(None))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, np.float32("nan")])
def test_nan_and_infinity_are_refused(value):
    with pytest.raises(ValueError, match=r"expected a finite number.*write None"):
        checked_metrics({"accuracy_frac": value})
    with pytest.raises(ValueError, match=r"accuracy_frac\.low"):
        checked_metrics({"accuracy_frac": {"value": 0.5, "low": value, "high": 1}})


@pytest.mark.parametrize("value", ["0.5", True, np.bool_(True), [0.5], np.zeros(2), object()])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="score: expected a number"):
        checked_metrics({"score": value})


@pytest.mark.parametrize("name", ["", "Accuracy", "a-b", "a b", "1st", "<b>", "a/b", 3, "é"])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(ValueError, match="expected a metric name"):
        checked_metrics({name: 1})


@pytest.mark.parametrize(
    "entry",
    [
        {"low": 0, "high": 1},
        {"value": 0.5, "mean": 1},
        {"value": 0.5, "low": 1, "high": 0},
        {"value": 0.5, "n": -1},
        {"value": 0.5, "n": 2.5},
        {},
    ],
)
def test_a_malformed_interval_is_refused(entry):
    with pytest.raises(ValueError, match="score"):
        checked_metrics({"score": entry})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_is_kept_exactly(value):
    assert checked_metrics({"score": value}) == {"score": value}
