"""What a judge is, what it answers, and what it may not judge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from fer_lib.labels import canonical_emotion
from fer_lib.networks.checkpoints import Lineage

# A file names it: what it asks for must not exhaust the memory.
_SIDES = range(8, 1025)


class UnavailableError(RuntimeError):
    """A judge whose weights are not here; the message is one sentence that says what to do."""


class Answers(NamedTuple):
    """What a network says of B faces; its tensors are on the network's device.

    ``probabilities`` (B, C); ``valence_arousal`` (B, 2), clipped to [-1, 1] by the judge, or None;
    ``features`` (B, F), or None.
    """

    probabilities: Tensor
    valence_arousal: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class JudgeSpec:
    """What a judge is.

    Attributes:
        name: as it appears in every table.
        image_size: side of the square input in px.
        crop: name of the crop rule: ``tight`` for the seed's three-point frame, ``box`` for a
            detector's box, which the judge itself brings to its size.
        emotions: class names in the order of its probabilities.
        weights_sha256: hash of its state dict.
        licence: of its weights.
        lineage: what it has been in touch with.
        stand_in: whether it merely takes the place of a real judge.
        affect: whether it also gives valence and arousal.
    """

    name: str
    image_size: int
    crop: str
    emotions: tuple[str, ...]
    weights_sha256: str
    licence: str
    lineage: Lineage
    stand_in: bool = False
    affect: bool = False

    def __post_init__(self) -> None:
        """Refuse names and sizes that no judge has, and a stand-in that hides what it is.

        Raises:
            ValueError: one of these.
        """
        if self.image_size not in _SIDES:
            raise ValueError(
                f"expected a side of {_SIDES[0]} to {_SIDES[-1]} px, got {self.image_size!r:.20}"
            )
        unknown = [name for name in self.emotions if canonical_emotion(name) != name]
        if unknown:
            raise ValueError(f"expected canonical emotions, got {unknown}")
        if not self.emotions or len(set(self.emotions)) < len(self.emotions):
            raise ValueError(f"expected emotions, each of them once, got {self.emotions}")
        if self.stand_in and "stand-in" not in self.name:
            raise ValueError(f"expected a stand-in to say so in its name, got {self.name!r}")


def check_independence(spec: JudgeSpec, subjects: Iterable[str], lineage: Lineage) -> None:
    """Refuse a judge that was in touch with what it is to judge.

    Args:
        spec: the judge.
        subjects: the people it is to judge.
        lineage: of what it is to judge.

    Raises:
        ValueError: the judge or one of its ancestors made or guided what is judged, or the judge
            learned from people it is to judge; or the people are given as one string.
    """
    if isinstance(subjects, str):
        raise ValueError(f"expected subjects as a list of names, got the string {subjects!r:.40}")
    ancestors = {spec.weights_sha256, *spec.lineage.networks}
    if ancestors & lineage.networks:
        raise ValueError(
            f"judge {spec.name!r} is in the lineage of what it is to judge; choose another judge"
        )
    known = spec.lineage.subjects & {name for name in subjects if isinstance(name, str)}
    if known:
        raise ValueError(
            f"judge {spec.name!r} learned from {len(known)} of the subjects it is to judge, "
            f"such as {min(known)!r}; judge the test split"
        )
