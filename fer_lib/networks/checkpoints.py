"""Recognisers on disk: weights, class names and lineage in one file, made into a network again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import nn

from fer_lib.labels import canonical_emotion
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.landmark_fusion import LandmarkFusion, build
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import load_network, save_network, state_hash

_PARTS = ("stores", "subjects", "networks")
_LISTS = (list, tuple, set, frozenset)


@dataclass(frozen=True)
class Lineage:
    """What a network or an edit set has been in touch with.

    Attributes:
        stores: content hashes of the stores it learned from.
        subjects: names of the people it learned from.
        networks: weight hashes of the networks that it was made from or guided by.
    """

    stores: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, store: str, subjects: Iterable[str], networks: Iterable[str] = ()) -> Self:
        """Make the lineage of something that learned from one store; unknown subjects are left out.

        Args:
            store: content hash of the store.
            subjects: the ``subject`` column of the samples it learned from, validation included.
            networks: weight hashes of networks that it was made from.
        """
        named = frozenset(name for name in subjects if isinstance(name, str))
        return cls(frozenset([store]), named, frozenset(networks))

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[str]]) -> Self:
        """Read what ``as_json`` gave.

        Raises:
            ValueError: it is of another form, so that it would say nothing of whom it should name.
        """
        parts = [data.get(name, []) for name in _PARTS] if isinstance(data, Mapping) else [None]
        for part in parts:
            if not isinstance(part, _LISTS) or not all(isinstance(name, str) for name in part):
                raise ValueError(f"expected a lineage of lists of names, got {data!r:.60}")
        return cls(*map(frozenset, parts))

    def as_json(self) -> dict[str, list[str]]:
        """Give the lineage as sorted lists."""
        return {name: sorted(getattr(self, name)) for name in _PARTS}


@dataclass(frozen=True)
class Recogniser:
    """A network read from disk.

    Attributes:
        network: in evaluation mode, on the CPU.
        emotions: class names in the order of its logits.
        lineage: what it has been in touch with.
        recorded_sha256: hash of its weights as written when it was saved.
    """

    network: RgbArm | LandmarkFusion | EmotionNet
    emotions: tuple[str, ...]
    lineage: Lineage
    recorded_sha256: str


def save_recogniser(
    path: Path, network: nn.Module, emotions: Sequence[str], lineage: Lineage
) -> str:
    """Write a network of this project with what is needed to use it honestly.

    Args:
        path: the safetensors file to write.
        network: has a ``config`` from which it is made again.
        emotions: class names in the order of its logits; none of an identity embedder.
        lineage: what it has been in touch with.

    Returns:
        SHA-256 of its weights.
    """
    state = network.state_dict()
    digest = state_hash(state)
    config: dict[str, Any] = {
        "architecture": network.config,
        "emotions": list(emotions),
        "lineage": lineage.as_json(),
        "weights_sha256": digest,
    }
    save_network(path, state, config)
    return digest


def load_recogniser(path: Path) -> Recogniser:
    """Read what ``save_recogniser`` wrote, strictly: every tensor has its place and its shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a recogniser's checkpoint, or its tensors do not fit its config.
    """
    state, config = load_network(path)
    missing = {"architecture", "emotions", "lineage", "weights_sha256"} - set(config)
    if missing:
        raise ValueError(f"expected a recogniser in {path.name}, its config lacks {missing}")
    try:
        network = _made(dict(config["architecture"]))
    except (TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"expected a network's config in {path.name}, got {error}") from error
    check_state(state, network.state_dict(), path.name, "the network")
    network.load_state_dict(state)
    emotions = tuple(canonical_emotion(name) for name in config["emotions"])
    lineage = Lineage.from_json(config["lineage"])
    return Recogniser(network.eval(), emotions, lineage, config["weights_sha256"])


def _made(options: dict[str, Any]) -> nn.Module:
    if options.get("network") != "emotion_net":
        return build(options)
    del options["network"]
    return EmotionNet(**options)
