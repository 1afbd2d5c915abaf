"""What cannot be measured here, and why: it stands in tables where the number would be."""

from __future__ import annotations

from typing import NamedTuple


class Absent(NamedTuple):
    """A metric or network that is not to be had.

    Attributes:
        name: of the metric or network.
        reason: one sentence that says what to do about it.
    """

    name: str
    reason: str
