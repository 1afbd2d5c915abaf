"""The one training loop of the project, on Accelerate: any step function, any loader, one history.

Every epoch starts from a random state that depends on nothing but the seed and the epoch's number,
so an epoch can be repeated from the networks, the optimiser and the scheduler alone, and a broken
one be taken up again in its middle (``fer_lib.training.resume``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fer_lib.progress import track
from fer_lib.training.resume import Checkpoints, Place, Stateful

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16"}
_SEED_STRIDE = 1_000_003

Values = Mapping[str, float | Tensor]
Step = Callable[[Any], tuple[Tensor, Values]]
OnStep = Callable[[int], None]
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
    max_gradient_norm: float | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoints: Checkpoints | None = None,
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
        max_gradient_norm: longer gradients of all ``networks`` together are shortened to this.
        on_step: called after each step with the number of steps done in all, before a checkpoint
            is written: a place for moving averages and pictures.
        on_epoch: called with the epoch's number (from 0) after it; what it returns is recorded.
        checkpoints: where the training is written down; it goes on from there if it was broken
            off, with the same weights, to the last bit, as if it had not been.
        description: name of the progress bar.

    Returns:
        One row per epoch: ``epoch``, ``loss`` and the step's values (means over the steps),
        ``learning_rate`` (at the epoch's start), ``duration_s``, and what ``on_epoch`` returned.

    Raises:
        FloatingPointError: the loss is NaN or infinite; names the epoch and the step.
        ValueError: precision, ``scheduler_every`` or device is unknown, the loader is empty, or
            the checkpoint is one of another training.
    """
    if scheduler_every not in ("epoch", "step"):
        raise ValueError(f"expected scheduler_every to be epoch or step, got {scheduler_every!r}")
    plan = {"seed": seed, "epochs": epochs, "batches": len(loader), "precision": precision}
    parts: dict[str, Stateful] = {f"network {k}": part for k, part in enumerate(networks)}
    parts |= {"optimiser": optimiser} | ({"scheduler": scheduler} if scheduler else {})
    per_step = scheduler if scheduler_every == "step" else None
    with _accelerator(device, precision) as accelerator, _forked_random_state(accelerator.device):
        place = checkpoints.load(parts, plan) if checkpoints else Place()
        done = place.epoch * len(loader) + place.step
        bar = iter(track(range(done, epochs * len(loader)), description))
        stepper = _Stepper(step, accelerator, networks, optimiser, per_step, max_gradient_norm)
        while place.epoch < epochs:
            torch.manual_seed(seed * _SEED_STRIDE + place.epoch)
            started = time.perf_counter() - place.seconds
            if not place.step:
                place.learning_rate = optimiser.param_groups[0]["lr"]
            for network in networks:
                network.train()
            # The bar comes second: an exhausted loader must not take a tick off it.
            for batch, _ in zip(_remaining(loader, place, accelerator.device), bar, strict=False):
                stepper(batch, place)
                done += 1
                if on_step is not None:
                    on_step(done)
                if checkpoints and done % checkpoints.every == 0:
                    place.seconds = time.perf_counter() - started
                    place.note_random(accelerator.device)
                    checkpoints.save(place, parts, plan)
            _finish_epoch(place, started, None if per_step else scheduler, on_epoch)
        next(bar, None)
        if checkpoints:
            checkpoints.save(place, parts, plan)
    return pd.DataFrame(place.rows)


def _remaining(loader: Batches, place: Place, device: torch.device) -> Iterator[Any]:
    """The epoch's batches that are still to be learned from, in the order of an unbroken epoch."""
    batches = iter(loader)
    if place.step:
        # Fetched and dropped: a batch may depend on the random numbers of those before it.
        for _ in range(place.step):
            next(batches)
        place.restore_random(device)
    return batches


def _finish_epoch(
    place: Place, started: float, scheduler: LRScheduler | None, on_epoch: OnEpoch | None
) -> None:
    """Write the row of an epoch and turn to the next one."""
    if not place.step:
        raise ValueError("expected a loader with at least one batch, got none; add samples")
    if scheduler is not None:
        scheduler.step()
    means = {name: total / place.step for name, total in place.sums.items()}
    row = {"epoch": place.epoch, **means, "learning_rate": place.learning_rate}
    row["duration_s"] = time.perf_counter() - started
    place.rows.append(row | dict((on_epoch(place.epoch) if on_epoch else None) or {}))
    place.epoch, place.step, place.sums, place.seconds = place.epoch + 1, 0, {}, 0.0


class _Stepper(NamedTuple):
    """One step of the optimiser."""

    step: Step
    accelerator: Accelerator
    networks: Sequence[nn.Module]
    optimiser: Optimizer
    scheduler: LRScheduler | None
    max_gradient_norm: float | None

    def __call__(self, batch: Any, place: Place) -> None:  # noqa: ANN401 - any batch
        self.optimiser.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            loss, values = self.step(send_to_device(batch, self.accelerator.device))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"expected a finite loss, got {loss.item()} in epoch {place.epoch}, step "
                f"{place.step}; lower the learning rate or train in fp32"
            )
        self.accelerator.backward(loss)
        if self.max_gradient_norm is not None:
            trained = [part for network in self.networks for part in network.parameters()]
            nn.utils.clip_grad_norm_(trained, self.max_gradient_norm)
        self.optimiser.step()
        if self.scheduler is not None:
            self.scheduler.step()
        for name, value in {"loss": loss, **values}.items():
            number = float(value.detach() if isinstance(value, Tensor) else value)
            place.sums[name] = place.sums.get(name, 0.0) + number
        place.step += 1


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
