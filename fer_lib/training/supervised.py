"""Supervised training of one network: settings, AdaBelief, schedule, and the best epoch kept.

Source: seed 001, section 5.1 and Table 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from timm.optim import AdaBelief
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, OneCycleLR
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from fer_lib.training.augment import Augmentation
from fer_lib.training.loop import BestState, Step, fit

_SCHEDULES = ("exponential", "onecycle")
_GAMMA = 0.9
_RISE = 0.25


@dataclass(frozen=True)
class TrainingSettings:
    """How one network of the recipe is trained; the defaults are the paper's where it says.

    Attributes:
        epochs: how many (unstated in the paper; its RGB baseline was trained for 70).
        batch_size: faces per step.
        learning_rate: AdaBelief's; the peak of a one-cycle schedule.
        schedule: ``exponential`` (×0.9 each epoch, the paper's) or ``onecycle`` (few epochs).
        label_smoothing: of the cross-entropy.
        class_weights: one factor per class for the loss, 1 on average; None weighs all alike.
        augmentation: how strongly faces are varied.
        precision: ``fp32`` or ``bf16``, of the forward pass in training only.
        device: where to train.
        seed: fixes the training.
    """

    epochs: int = 70
    batch_size: int = 256
    learning_rate: float = 1e-3
    schedule: str = "exponential"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = "fp32"
    device: torch.device | str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a schedule that does not exist.

        Raises:
            ValueError: the schedule is unknown.
        """
        if self.schedule not in _SCHEDULES:
            raise ValueError(f"expected a schedule out of {_SCHEDULES}, got {self.schedule!r}")


def paper_optimiser(parameters: Iterable[nn.Parameter], learning_rate: float = 1e-3) -> AdaBelief:
    """Make AdaBelief with the settings of seed 001, Table 4; decay applies to every parameter."""
    return AdaBelief(
        parameters,
        lr=learning_rate,
        betas=(0.9, 0.999),
        eps=1e-16,
        weight_decay=1e-2,
        decoupled_decay=True,
        rectify=False,
    )


def fit_best(
    network: nn.Module,
    step: Step,
    evaluate: Callable[[], dict[str, float]],
    loader: DataLoader,
    settings: TrainingSettings,
    description: str,
) -> pd.DataFrame:
    """Train what requires a gradient and leave the network in its best state.

    Args:
        network: changed in place, moved to the settings' device, left in evaluation mode.
        step: as for ``fit``.
        evaluate: gives values on the validation faces, among them ``val_accuracy``, which chooses.
        loader: the batches.
        settings: how.
        description: name of the progress bar.

    Returns:
        The history of ``fit`` with the values of ``evaluate``.
    """
    network.to(settings.device, memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = paper_optimiser(trained, settings.learning_rate)
    scheduler, every = _scheduler(optimiser, settings, len(loader))
    best = BestState(network, evaluate, "val_accuracy")
    history = fit(
        step,
        loader,
        [network],
        optimiser,
        settings.epochs,
        scheduler=scheduler,
        scheduler_every=every,
        device=settings.device,
        precision=settings.precision,
        seed=settings.seed,
        on_epoch=best,
        description=description,
    )
    best.restore()
    network.eval()
    return history


def _scheduler(
    optimiser: AdaBelief, settings: TrainingSettings, steps: int
) -> tuple[LRScheduler, str]:
    if settings.schedule == "exponential":
        return ExponentialLR(optimiser, _GAMMA), "epoch"
    # The schedule divides by its rise and its fall, each less a step: few steps need more of both.
    total = max(settings.epochs * steps, 3)
    rise, peak = max(_RISE, 2 / total), settings.learning_rate
    return OneCycleLR(optimiser, peak, total, pct_start=rise, cycle_momentum=False), "step"


def index_loader(
    labels: Tensor, collate: Callable[[list[int]], Any], settings: TrainingSettings
) -> DataLoader:
    """Make a loader of shuffled batches from a function that fetches samples by position.

    Args:
        labels: (N,), one per sample.
        collate: turns a list of positions into a batch.
        settings: batch size.
    """
    size = min(settings.batch_size, len(labels))
    # A last batch of a few faces would give batch norm and ARM's mean too little to go by.
    batches = BatchSampler(RandomSampler(labels), size, drop_last=True)
    return DataLoader(range(len(labels)), batch_sampler=batches, collate_fn=collate)


def losses(logits: Tensor, labels: Tensor, settings: TrainingSettings) -> Tensor:
    """Give the cross-entropy of each sample, (B, C) and (B,) int64 → (B,) float32."""
    weights = settings.class_weights
    return functional.cross_entropy(
        logits.float(),
        labels,
        None if weights is None else torch.tensor(weights, device=logits.device),
        reduction="none",
        label_smoothing=settings.label_smoothing,
    )


def label_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the share of samples whose largest logit is the label's, as a scalar tensor."""
    return (logits.argmax(dim=1) == labels).float().mean()
