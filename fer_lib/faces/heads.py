"""The morphable heads by name."""

from __future__ import annotations

from collections.abc import Callable

from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.ict import ict_head
from fer_lib.faces.morphable import MorphableModel

HEADS: dict[str, Callable[[], MorphableModel]] = {"ict": ict_head, "embedded": embedded_head}
"""Makes each head with its plain groom."""


def narrow_head(name: str) -> MorphableModel:
    """Give a head's face without what encoders and fits do not look at.

    Args:
        name: one of ``HEADS``.

    Returns:
        The face of ICT-FaceKit; the embedded head has no smaller one.

    Raises:
        ValueError: there is no such head.
    """
    if name not in HEADS:
        raise ValueError(f"expected one of {sorted(HEADS)}, got {name!r}")
    return ict_head(detail="face") if name == "ict" else embedded_head()
