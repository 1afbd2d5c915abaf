"""Ratios of time: closed forms from given seconds, and turns that are really taken."""

import pandas as pd
import pytest

from fer_lib.evaluation import speed as speed_module
from fer_lib.evaluation.speed import speed, speed_ratio, time_ways


def table(**seconds):
    rows = [(way, i, s, 10 / s) for way, each in seconds.items() for i, s in enumerate(each)]
    return pd.DataFrame(rows, columns=["way", "round", "seconds", "per_s"])


def test_ratio_and_speed_are_medians_with_their_range():
    times = table(ours=[1.0, 2.0, 1.0], peer=[4.0, 4.0, 3.0])
    assert tuple(speed_ratio(times, "ours", "peer")) == (3.0, 2.0, 4.0, 3)
    assert tuple(speed(times, "peer")) == (2.5, 2.5, pytest.approx(10 / 3), 3)
    assert speed_ratio(times, "ours", "ours").value == 1


def test_ways_take_turns_after_one_run_each_that_does_not_count(monkeypatch):
    calls, clock = [], iter(range(100))
    monkeypatch.setattr(speed_module.time, "perf_counter", lambda: next(clock))
    times = time_ways({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 7, 3)
    assert "".join(calls) == "ab" + "ab" * 3
    assert times["way"].tolist() == ["a", "b"] * 3
    assert (times["seconds"] == 1).all()
    assert (times["per_s"] == 7).all()


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        time_ways({}, 0)
    with pytest.raises(ValueError, match="at least one"):
        time_ways({}, 1, rounds=0)
