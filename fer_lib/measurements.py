"""What ``metrics.json`` holds: flat names, each with a number or a number and its interval."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import pandas as pd

_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]*")
_BOUNDS = ("low", "high")
_KEYS = frozenset({"value", *_BOUNDS, "n"})


def checked_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Turn measured values into what ``metrics.json`` holds, refusing what it must not hold.

    Args:
        metrics: name (lower case, with the unit as its suffix: ``_frac``, ``_pct_iod``, ``_db``,
            ``_per_s``, ``_ratio``, …) → a number, None for *not measured*, or value, low, high and
            n as a mapping, a dataclass or a named tuple.

    Returns:
        The same with plain int, float, None and dict.

    Raises:
        ValueError: a name is malformed, a number is NaN or infinite, or an interval is reversed.
        TypeError: a value is not a number.
    """
    return {_checked_name(name): _checked_entry(name, value) for name, value in metrics.items()}


def metrics_frame(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay metrics out as a table for a notebook's last look.

    Args:
        metrics: what ``metrics.json`` holds.

    Returns:
        One row per name: ``value``, ``low``, ``high``, ``n``, rounded to four figures and empty
        where a value has no interval.
    """
    rows = {name: entry_parts(entry) for name, entry in metrics.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=["value", *_BOUNDS, "n"])
    return table.map(lambda number: "" if pd.isna(number) else f"{number:.4g}")


def entry_parts(entry: float | Mapping[str, Any] | None) -> dict[str, Any]:
    """Give an entry of ``metrics.json`` as a mapping: a bare number is its ``value``."""
    return dict(entry) if isinstance(entry, Mapping) else {"value": entry}


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name):
        raise ValueError(
            f"expected a metric name like accuracy_frac (lower case, digits, _), got {name!r}"
        )
    return name


def _checked_entry(name: str, value: Any) -> Any:  # noqa: ANN401 - a number, None or a mapping
    parts = _as_mapping(value)
    if parts is None:
        return _checked_number(name, value)
    if "value" not in parts or not parts.keys() <= _KEYS:
        raise ValueError(
            f"{name}: expected value, low, high and n, got {', '.join(map(str, parts))}"
        )
    entry = {key: _checked_number(f"{name}.{key}", number) for key, number in parts.items()}
    low, high = (entry.get(key) for key in _BOUNDS)
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name}: expected low ≤ high, got {low} and {high}")
    n = entry.get("n")
    if n is not None and not (isinstance(n, int) and n >= 0):
        raise ValueError(f"{name}: expected n as a count, got {n!r}")
    return entry


def _as_mapping(value: Any) -> dict[str, Any] | None:  # noqa: ANN401 - what notebooks pass
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    return None


def _checked_number(name: str, value: Any) -> int | float | None:  # noqa: ANN401 - checked here
    if value is None:
        return None
    plain = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise TypeError(f"{name}: expected a number or None, got {type(value).__name__} {value!r}")
    if not math.isfinite(plain):
        raise ValueError(
            f"{name}: expected a finite number, got {plain}; write None where nothing was measured"
        )
    return int(plain) if isinstance(plain, Integral) else float(plain)
