"""Speed as a ratio: two ways of doing the same work, timed in turn in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from fer_lib.evaluation.intervals import Interval

MIN_ROUNDS = 6


def time_ways(
    ways: Mapping[str, Callable[[], object]], items: int, rounds: int = MIN_ROUNDS
) -> pd.DataFrame:
    """Time several ways of doing the same work.

    Each way runs once unmeasured; then the ways take turns, so that a busy moment of the machine
    meets all of them alike.

    Args:
        ways: name to work; a call does all of it, and waits for the device where it uses one.
        items: how many faces (or steps) one call works through.
        rounds: how often each way is timed.

    Returns:
        One row per way and round: `way`, `round`, `seconds`, `per_s` (items per second).

    Raises:
        ValueError: there are fewer than one item or one round.
    """
    if items < 1 or rounds < 1:
        raise ValueError(f"expected at least one item and one round, got {items} and {rounds}")
    for work in ways.values():
        work()
    rows = []
    for number in range(rounds):
        for name, work in ways.items():
            start = time.perf_counter()
            work()
            rows.append((name, number, time.perf_counter() - start))
    times = pd.DataFrame(rows, columns=["way", "round", "seconds"])
    return times.assign(per_s=items / times["seconds"])


def speed(times: pd.DataFrame, way: str) -> Interval:
    """Give the items per second of a way: median and range of its rounds.

    The range of six rounds or more covers the median with at least 96.9 % (sign test).

    Args:
        times: what `time_ways` returned.
        way: its name.
    """
    return _median_and_range(times.loc[times["way"] == way, "per_s"].to_numpy())


def speed_ratio(times: pd.DataFrame, ours: str, peer: str) -> Interval:
    """Say how many times faster one way is than another: median and range over the rounds.

    Args:
        times: what `time_ways` returned.
        ours: the way that should be fast.
        peer: the way it is compared with.

    Returns:
        Seconds of the peer over seconds of ours, round by round.
    """
    seconds = times.pivot(index="round", columns="way", values="seconds")
    return _median_and_range((seconds[peer] / seconds[ours]).to_numpy())


def _median_and_range(values: np.ndarray) -> Interval:
    return Interval(float(np.median(values)), float(values.min()), float(values.max()), len(values))
