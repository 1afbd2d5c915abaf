"""A training on disk, so that it goes on exactly where it was broken off.

One safetensors file holds the weights, the optimiser, the schedule, the random state, the place in
the order of the data and whatever else has a state (a moving average, say). It is written beside
its place and renamed: a process killed at any moment leaves the last whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fer_lib.weights import load_network, save_network

_TENSOR, _PAIRS = "tensor", "pairs"


class Stateful(Protocol):
    """What can be written down: networks, optimisers, schedules, averages."""

    def state_dict(self) -> Mapping[str, Any]:
        """Give the state: tensors and plain values in dicts and lists."""

    def load_state_dict(self, state: Any) -> Any:  # noqa: ANN401 - as torch's
        """Take a state over."""


@dataclass
class Place:
    """How far a training has come.

    Attributes:
        epoch: number of the epoch that is under way, from 0.
        step: steps of it that are done.
        sums: of the loss and the recorded values over these steps.
        learning_rate: at the start of this epoch.
        seconds: that this epoch has taken so far.
        rows: of the history, one per finished epoch.
        random: random states after the last step, by kind of device.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    random: dict[str, Tensor] = field(default_factory=dict)

    def note_random(self, device: torch.device) -> None:
        """Remember the random state of the processor and of the device."""
        self.random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            self.random["cuda"] = torch.cuda.get_rng_state(device)

    def restore_random(self, device: torch.device) -> None:
        """Bring the remembered random state back."""
        torch.set_rng_state(self.random["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(self.random["cuda"], device)


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a training is written down.

    Attributes:
        path: the file; if it exists when the training starts, the training goes on from it.
        every: steps from one checkpoint to the next, at least 1.
        of: says what is trained on what (a hash of settings and data); another one is refused.
        parts: what has a state beside networks, optimiser and schedule, by name.
    """

    path: Path
    every: int
    of: str = ""
    parts: Mapping[str, Stateful] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse checkpoints that would never come.

        Raises:
            ValueError: ``every`` is below 1.
        """
        if self.every < 1:
            raise ValueError(f"expected a checkpoint every 1 step or more, got {self.every}")

    def save(self, place: Place, parts: Mapping[str, Stateful], plan: Mapping[str, Any]) -> None:
        """Write a training down.

        Args:
            place: how far it has come.
            parts: networks, optimiser and schedule by name.
            plan: what must be the same when it goes on.

        Raises:
            ValueError: a state holds something that is neither tensor nor plain value.
        """
        tensors: dict[str, Tensor] = {}
        states = {name: part.state_dict() for name, part in {**parts, **self.parts}.items()}
        whole = {"plan": dict(plan) | {"of": self.of}, "place": asdict(place), "states": states}
        save_network(self.path, tensors, {"training": _packed(whole, "training", tensors)})

    def load(self, parts: Mapping[str, Stateful], plan: Mapping[str, Any]) -> Place:
        """Bring a training back, if there is one.

        Args:
            parts: as for ``save``; changed in place.
            plan: as for ``save``.

        Returns:
            How far it had come; the start where no file is.

        Raises:
            ValueError: the file is no checkpoint, or one of another training.
        """
        if not self.path.is_file():
            return Place()
        tensors, config = load_network(self.path)
        if "training" not in config:
            raise ValueError(f"expected a training in {self.path.name}, got another network's file")
        whole = _unpacked(config["training"], tensors)
        parts = {**parts, **self.parts}
        wanted = {**plan, "of": self.of, "parts": sorted(parts)}
        found = {**whole["plan"], "parts": sorted(whole["states"])}
        if other := [name for name in wanted if found.get(name) != wanted[name]]:
            told = ", ".join(f"{n} {found.get(n)!r} instead of {wanted[n]!r}" for n in other)
            raise ValueError(
                f"expected this training in {self.path.name}, got one of {told}; "
                "move the file away to start anew"
            )
        for name, part in parts.items():
            part.load_state_dict(whole["states"][name])
        return Place(**whole["place"])


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401
    """Plain values as JSON has them, tensors by a name under which they are put aside."""
    if isinstance(value, Tensor):
        # Numbered: two paths of names may spell alike.
        place = f"{len(tensors)} {name}"
        tensors[place] = value
        return {_TENSOR: place}
    if isinstance(value, Mapping):
        # Keys of an optimiser's state are numbers, which JSON would make into text.
        pairs = [[key, _packed(part, f"{name}.{key}", tensors)] for key, part in value.items()]
        return {_PAIRS: pairs}
    if isinstance(value, list | tuple):
        return [_packed(part, f"{name}.{k}", tensors) for k, part in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"expected tensors and plain values in the state to be saved, got {type(value).__name__} "
        f"at {name}"
    )


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_unpacked(part, tensors) for part in value]
    if isinstance(value, dict) and _TENSOR in value:
        return tensors[value[_TENSOR]]
    if isinstance(value, dict):
        return {key: _unpacked(part, tensors) for key, part in value[_PAIRS]}
    return value
