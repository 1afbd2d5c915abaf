"""The moving average of a network's weights, which is what a diffusion model is used with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of everything in a network's state.

    The n-th update (from 0) keeps min(decay, (1 + n) / (10 + n)) of the average, so that a short
    training does not keep its random start.

    Args:
        network: whose weights are averaged, on the device where it will be trained.
        decay: share of the average that is kept in the long run, in [0, 1).

    Raises:
        ValueError: the decay is out of range.
    """

    def __init__(self, network: nn.Module, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay from 0 to below 1, got {decay}")
        self.network, self.decay, self.updates = network, decay, 0
        self.weights = {name: part.detach().clone() for name, part in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's weights; to be called after each step of the optimiser."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, now in self.network.state_dict().items():
            if now.is_floating_point():
                self.weights[name].lerp_(now, 1 - kept)
            else:
                self.weights[name].copy_(now)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network have the averaged weights for a while, then its own again."""
        own = {name: part.detach().clone() for name, part in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint needs."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave.

        Raises:
            ValueError: it is the average of another network.
        """
        if set(state["weights"]) != set(self.weights):
            raise ValueError(
                "expected the average of this network, got other tensors; start the training anew"
            )
        for name, part in state["weights"].items():
            self.weights[name].copy_(part)
        self.updates = int(state["updates"])
