"""The one training loop of the project, on Accelerate: any step function, any loader, one history.

Every epoch starts from a random state that depends on nothing but the seed and the epoch's number,
so an epoch can be repeated from the networks, the optimiser and the scheduler alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fer_lib.progress import track

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16"}
_SEED_STRIDE = 1_000_003

Values = Mapping[str, float | Tensor]
Step = Callable[[Any], tuple[Tensor, Values]]
OnEpoch = Callable[[int], Mapping[str, float] | None]


class Batches(Protocol):
    """What a loader must be: it can be gone through again and again, and knows its length."""

    def __len__(self) -> int:
        """Give the number of batches."""

    def __iter__(self) -> Iterator[Any]:
        """Give the batches of one epoch."""


def fit(
    step: Step,
    loader: Batches,
    networks: Sequence[nn.Module],
    optimiser: Optimizer,
    epochs: int,
    *,
    scheduler: LRScheduler | None = None,
    scheduler_every: str = "epoch",
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    description: str = "training",
) -> pd.DataFrame:
    """Train in one process, with a progress bar over the whole training.

    Args:
        step: takes a batch (already on the device) and returns the loss and named values to record;
            it runs under autocast when ``precision`` is ``"bf16"``.
        loader: the batches, gone through once per epoch.
        networks: what is trained; on the device already, set to training mode before each epoch.
        optimiser: over float32 parameters.
        epochs: how many times to go through the loader.
        scheduler: learning-rate schedule of ``optimiser``.
        scheduler_every: ``"epoch"`` or ``"step"``, how often the schedule advances.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"fp32"`` or ``"bf16"``, of the forward pass only.
        seed: fixes shuffling, augmentation and dropout; the caller's random state is left alone.
        on_epoch: called with the epoch's number (from 0) after it; what it returns is recorded.
        description: name of the progress bar.

    Returns:
        One row per epoch: ``epoch``, ``loss`` and the step's values (means over the steps),
        ``learning_rate`` (at the epoch's start), ``duration_s``, and what ``on_epoch`` returned.

    Raises:
        FloatingPointError: the loss is NaN or infinite; names the epoch and the step.
        ValueError: precision, ``scheduler_every`` or device is unknown.
    """
    if scheduler_every not in ("epoch", "step"):
        raise ValueError(f"expected scheduler_every to be epoch or step, got {scheduler_every!r}")
    rows = []
    bar = iter(track(range(epochs * len(loader)), description))
    per_step = scheduler if scheduler_every == "step" else None
    with _accelerator(device, precision) as accelerator, _forked_random_state(accelerator.device):
        for epoch in range(epochs):
            torch.manual_seed(seed * _SEED_STRIDE + epoch)
            started, learning_rate = time.perf_counter(), optimiser.param_groups[0]["lr"]
            for network in networks:
                network.train()
            # The bar comes second: an exhausted loader must not take a tick off it.
            batches = (batch for batch, _ in zip(loader, bar, strict=False))
            means = _run_epoch(step, batches, accelerator, optimiser, per_step, epoch)
            if scheduler is not None and per_step is None:
                scheduler.step()
            row = {"epoch": epoch, **means, "learning_rate": learning_rate}
            row["duration_s"] = time.perf_counter() - started
            rows.append(row | dict((on_epoch(epoch) if on_epoch else None) or {}))
        next(bar, None)
    return pd.DataFrame(rows)


def _run_epoch(
    step: Step,
    batches: Iterable[Any],
    accelerator: Accelerator,
    optimiser: Optimizer,
    scheduler: LRScheduler | None,
    epoch: int,
) -> dict[str, float]:
    sums: dict[str, float] = {}
    count = 0
    for count, batch in enumerate(batches, start=1):
        optimiser.zero_grad(set_to_none=True)
        with accelerator.autocast():
            loss, values = step(send_to_device(batch, accelerator.device))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"expected a finite loss, got {loss.item()} in epoch {epoch}, step {count - 1}; "
                "lower the learning rate or train in fp32"
            )
        accelerator.backward(loss)
        optimiser.step()
        if scheduler is not None:
            scheduler.step()
        for name, value in {"loss": loss, **values}.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            sums[name] = sums.get(name, 0.0) + number
    if count == 0:
        raise ValueError("expected a loader with at least one batch, got none; add samples")
    return {name: total / count for name, total in sums.items()}


@contextmanager
def _accelerator(device: torch.device | str, precision: str) -> Iterator[Accelerator]:
    if precision not in _MIXED_PRECISION:
        raise ValueError(f"expected precision fp32 or bf16, got {precision!r}")
    wanted = torch.device(device).type
    # Accelerate keeps one state per process and refuses a second precision until it is cleared.
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(cpu=wanted == "cpu", mixed_precision=_MIXED_PRECISION[precision])
        if accelerator.device.type != wanted:
            raise ValueError(f"expected a device that is here, got {device}; pass cpu")
        yield accelerator
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def _forked_random_state(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class BestState:
    """Keeps a copy of a network's state from the epoch with the highest score.

    Args:
        network: the network whose state is kept.
        evaluate: gives named values on the validation split; called after each epoch.
        score: name of the value to maximise. The first of equal epochs wins.
    """

    def __init__(
        self, network: nn.Module, evaluate: Callable[[], Mapping[str, float]], score: str
    ) -> None:
        self.network, self.evaluate, self.score = network, evaluate, score
        self.epoch: int | None = None
        self.value = float("-inf")
        self._state: dict[str, Tensor] = {}

    def __call__(self, epoch: int) -> Mapping[str, float]:
        """Evaluate after an epoch and keep the state if it is the best so far."""
        values = self.evaluate()
        if values[self.score] > self.value or self.epoch is None:
            self.epoch, self.value = epoch, values[self.score]
            state = self.network.state_dict()
            self._state = {name: tensor.detach().clone() for name, tensor in state.items()}
        return values

    def restore(self) -> None:
        """Put the best state back into the network."""
        self.network.load_state_dict(self._state)
