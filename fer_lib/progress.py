"""Progress bars with time left, in notebooks and in the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm as text_bar
from tqdm.auto import tqdm as rich_bar

T = TypeVar("T")
_SILENT_S = 2.0


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Go through an iterable and show a bar with time left once it has lasted two seconds.

    Args:
        iterable: what to go through.
        description: what is being done, a few words.
        total: number of items where ``iterable`` has no length.

    Yields:
        The items of ``iterable``, unchanged.
    """
    # A notebook run headlessly has no place for widgets: it writes text that reaches the terminal.
    bar = text_bar if os.environ.get("FER_PROGRESS") == "text" else rich_bar
    yield from bar(iterable, desc=description, total=total, delay=_SILENT_S, mininterval=0.5)
