"""Checks of single settings; a message names the parameter in capitals, as the notebooks do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args, get_origin


def type_name(wanted: type) -> str:
    """Give the name of a field's type as it is annotated."""
    return str(wanted) if get_origin(wanted) else wanted.__name__


def has_type(value: object, wanted: type) -> bool:
    """Tell whether a value has exactly the type of its field; whole numbers pass for floats."""
    if get_origin(wanted) is tuple:
        item, _ = get_args(wanted)
        return isinstance(value, tuple) and all(has_type(one, item) for one in value)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def check_root(source: str, root: str) -> None:
    """Refuse a source that needs a folder and has none, and a folder that is not from / on."""
    if source != "synthetic" and not root:
        raise ValueError(f"ROOT: expected the folder of {source}, got none; pass ROOT=…")
    if root and not Path(root).is_absolute():
        raise ValueError(f"ROOT: expected a folder from / on, got {root!r}")


def one_of(name: str, value: str | int, known: Sequence[str | int]) -> None:
    """Refuse a value that is not among the known ones."""
    if value not in known:
        listed = ", ".join(map(str, known))
        raise ValueError(f"{name.upper()}: expected one of {listed}, got {value!r}")


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a value below a bound."""
    if value < least:
        raise ValueError(f"{name.upper()}: expected at least {least}, got {value}")


def above_zero(name: str, value: float) -> None:
    """Refuse zero, less, and NaN."""
    if not value > 0:
        raise ValueError(f"{name.upper()}: expected above 0, got {value}")
