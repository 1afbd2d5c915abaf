"""Emotions and action units by name, and every source's own order of them.

Labels travel through this project as canonical names. A number means something only together with
the source it came from, so numbers are turned into names here, at the border, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

EMOTIONS: tuple[str, ...] = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)
"""Canonical names, in AffectNet's order."""

ACTION_UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 25, 26, 43)
"""FACS action units that the sample table has a column for."""

AU_COLUMNS: tuple[str, ...] = tuple(f"au{unit:02d}" for unit in ACTION_UNITS)

_ALPHABETICAL_8 = tuple(sorted(EMOTIONS))
_ALPHABETICAL_7 = tuple(name for name in _ALPHABETICAL_8 if name != "contempt")

_ORDERS: dict[str, tuple[str, ...]] = {
    "canonical": EMOTIONS,
    "affectnet": EMOTIONS,
    "rafdb": ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "fer2013": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    "affwild2": ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    "hsemotion8": _ALPHABETICAL_8,
    "hsemotion7": _ALPHABETICAL_7,
    "emonet8": EMOTIONS,
    "emonet5": ("neutral", "happiness", "sadness", "surprise", "anger"),
    "faceapi": ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
}

_FIRST_ID = {"rafdb": 1}

_ALIASES: dict[str, tuple[str, ...]] = {
    "neutral": ("ne", "neutrality"),
    "happiness": ("happy", "joy", "smile", "smiling", "ha"),
    "sadness": ("sad", "sa"),
    "surprise": ("surprised", "su"),
    "fear": ("fearful", "afraid", "fe"),
    "disgust": ("disgusted", "di"),
    "anger": ("angry", "an"),
    "contempt": ("contemptuous", "co"),
}

_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def canonical_emotion(text: str) -> str:
    """Give the canonical name of an emotion word, whatever its case or spelling.

    Args:
        text: a word such as ``"Happy"``, ``" SADNESS "`` or ``"angry"``.

    Returns:
        One of ``EMOTIONS``.

    Raises:
        ValueError: the word is not a known emotion.
    """
    name = _CANONICAL.get(text.strip().lower()) if isinstance(text, str) else None
    if name is None:
        raise ValueError(f"expected an emotion word such as {', '.join(EMOTIONS)}, got {text!r}")
    return name


def emotion_order(source: str) -> tuple[str, ...]:
    """Give the class names of a data set or network in its own order.

    Args:
        source: one of ``canonical``, ``affectnet``, ``rafdb``, ``fer2013``, ``affwild2``,
            ``hsemotion8``, ``hsemotion7``, ``emonet8``, ``emonet5``, ``faceapi``.

    Returns:
        Canonical names; the position is the source's class index counted from its first class.

    Raises:
        ValueError: the source is unknown.
    """
    if source not in _ORDERS:
        raise ValueError(f"expected a source out of {sorted(_ORDERS)}, got {source!r}")
    return _ORDERS[source]


def emotion_of_id(source: str, class_id: int) -> str:
    """Turn a source's class number into the canonical name.

    Args:
        source: as for ``emotion_order``.
        class_id: the number as the source writes it (RAF-DB counts from 1, the others from 0).

    Returns:
        The canonical name.

    Raises:
        ValueError: the number is outside the source's table.
    """
    order, first = emotion_order(source), _FIRST_ID.get(source, 0)
    if not first <= class_id < first + len(order):
        raise ValueError(
            f"expected a {source} class from {first} to {first + len(order) - 1}, got {class_id}"
        )
    return order[class_id - first]


def permutation(source: Sequence[str], target: Sequence[str]) -> list[int]:
    """Give the positions that reorder a source's columns into a target's order, by name.

    Args:
        source: names of the columns at hand.
        target: names wanted, each of them present in ``source``.

    Returns:
        Indices ``p`` with ``source[p[i]] == target[i]``.

    Raises:
        ValueError: a wanted name is absent, or a name stands twice.
    """
    positions = {name: index for index, name in enumerate(source)}
    missing = [name for name in target if name not in positions]
    if missing or len(positions) != len(source):
        raise ValueError(f"expected distinct names that include {list(target)}, got {list(source)}")
    return [positions[name] for name in target]
