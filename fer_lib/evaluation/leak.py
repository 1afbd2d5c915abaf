"""The published protocol's leak, shown: batch-wise sharing affinity lets test neighbours vote.

ARM adds α times the mean of the batch's own feature maps to every sample. The head is linear, so
with z = W·m, a sample's own logits without bias, the published protocol answers

    logits_i = z_i + α · mean over the batch (z) + b

exactly. On a test list that is sorted by class the batch mean names the class. From own logits any
order and batch size follows without running a network again.

Sources: Shi & Zhu 2021 (ARM); their issues 11, 16, 17 and 20; seed 001, section 5.1 (batch of 64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fer_lib.evaluation.intervals import wilson_interval
from fer_lib.networks.arm import SharingAffinity
from fer_lib.networks.branches import BranchOutput, LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion

PER_SAMPLE = "per-sample"
ORDERS: tuple[str, ...] = ("file", "shuffled", "sorted")
BATCH_SIZES: tuple[int, ...] = (1, 7, 16, 64, 256)
_COLUMNS = (
    "order", "batch_size", "accuracy", "low", "high", "n", "seeds", "seed_low", "seed_high",
)  # fmt: skip

Predict = Callable[[NDArray[np.int64], int], NDArray[np.floating]]
"""(order of the positions (N,), batch size) → logits or probabilities (N, C) in that order."""


class SharingHead(NamedTuple):
    """What a branch does with its own feature maps after ARM's batch norm.

    Attributes:
        bias: (C,) b of the head.
        alpha: α, the weight of what is shared.
        running: (C,) W·ḡ, the head's answer to the stored running mean.
    """

    bias: NDArray[np.float64]
    alpha: float
    running: NDArray[np.float64]

    @classmethod
    @torch.no_grad()
    def of(cls, branch: RgbArm | LandmarkArm) -> Self:
        """Read α, b and W·ḡ off a branch."""
        weight = branch.fc.weight.double().cpu()
        running = weight @ branch.arm.affinity_mean.double().cpu().flatten()
        bias = branch.fc.bias.double().cpu().numpy()
        return cls(bias, float(branch.arm.alpha), running.numpy())

    def own(self, logits: ArrayLike, affinity: SharingAffinity) -> NDArray[np.float64]:
        """Recover own logits z (N, C) from logits per sample.

        Args:
            logits: (N, C) under ``none`` or ``running`` affinity. Log-probabilities serve as well:
                what they differ by is the same for all classes of a sample, and so is its share in
                a batch mean, so that no answer changes.
            affinity: what they were computed under.

        Raises:
            ValueError: they were computed under ``batch``, which cannot be undone.
        """
        if affinity is SharingAffinity.BATCH:
            raise ValueError(
                "expected logits per sample, got batch affinity; run the network under "
                "affinity_policy none or running"
            )
        own = np.asarray(logits, np.float64) - self.bias
        return own - self.alpha * self.running if affinity is SharingAffinity.RUNNING else own

    def per_sample(self, own_logits: ArrayLike) -> NDArray[np.float64]:
        """Give the logits (N, C) of ``running`` affinity: the honest answer, order-free."""
        return np.asarray(own_logits, np.float64) + self.alpha * self.running + self.bias


def batch_logits(
    own_logits: ArrayLike, bias: ArrayLike, alpha: float, batch_size: int
) -> NDArray[np.float64]:
    """Give the published protocol's logits for samples in the order in which they stand.

    Args:
        own_logits: (N, C) z, each sample's own logits without bias.
        bias: (C,) b of the head.
        alpha: α.
        batch_size: samples per batch; the last batch takes the rest.

    Returns:
        (N, C) z_i + α · mean over i's batch (z) + b.

    Raises:
        ValueError: the batch size is below 1.
    """
    shared = _batch_means(np.asarray(own_logits, np.float64), batch_size)
    return np.asarray(own_logits, np.float64) + alpha * shared + np.asarray(bias, np.float64)


def leak_curve(
    own_logits: ArrayLike,
    bias: ArrayLike,
    alpha: float,
    labels: ArrayLike,
    *,
    running: ArrayLike | None = None,
    orders: Sequence[str] = ORDERS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seeds: Iterable[int] = range(5),
    failed: int = 0,
) -> pd.DataFrame:
    """Score the published protocol for several orders and batch sizes from one pass over the data.

    Args:
        own_logits: (N, C) z in file order.
        bias: (C,) b.
        alpha: α.
        labels: (N,) true classes.
        running: (C,) W·ḡ, for the honest row; None shares nothing there.
        orders: out of ``file``, ``shuffled``, ``sorted`` (by true class; the worst case).
        batch_sizes: samples per batch.
        seeds: of the shuffles.
        failed: samples without a face: in no batch, and wrong in every row.

    Returns:
        As ``repredicted_leak_curve``.
    """
    own = np.asarray(own_logits, np.float64)
    honest = own + np.asarray(bias, np.float64)
    honest = honest if running is None else honest + alpha * np.asarray(running, np.float64)

    def predict(order: NDArray[np.int64], batch_size: int) -> NDArray[np.float64]:
        return batch_logits(own[order], bias, alpha, batch_size)

    return repredicted_leak_curve(
        predict, labels, honest,
        orders=orders, batch_sizes=batch_sizes, seeds=seeds, failed=failed,
    )  # fmt: skip


def repredicted_leak_curve(
    predict: Predict,
    labels: ArrayLike,
    honest: ArrayLike | None = None,
    *,
    orders: Sequence[str] = ORDERS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seeds: Iterable[int] = range(5),
    failed: int = 0,
) -> pd.DataFrame:
    """Score the published protocol for several orders and batch sizes, asking anew for each.

    Args:
        predict: answers for the samples in a given order and in batches of a given size, such as
            ``fused_predict`` gives or a network under ``affinity_policy(network, "batch")``.
        labels: (N,) true classes in file order.
        honest: (N, C) logits per sample in file order, for a row of their own; None leaves it out.
        orders: out of ``file``, ``shuffled``, ``sorted`` (by true class).
        batch_sizes: samples per batch.
        seeds: of the shuffles.
        failed: samples without a face: in no batch, and wrong in every row.

    Returns:
        Columns ``order``, ``batch_size``, ``accuracy`` (mean over seeds where shuffled), ``low``
        and ``high`` (Wilson's interval of that share over n samples as if independent, the order
        taken as given), ``n``, ``seeds``, ``seed_low`` and ``seed_high`` (range over the shuffles).
        The first row, order ``per-sample`` and batch size 1, is the honest one.

    Raises:
        ValueError: an order is unknown or there is no sample.
    """
    truth, seeds = np.asarray(labels, np.int64), list(seeds)
    if not len(truth) or not set(orders) <= set(ORDERS) or not seeds:
        raise ValueError(
            f"expected samples, seeds and orders out of {list(ORDERS)}, got {len(truth)} samples, "
            f"seeds {seeds} and orders {list(orders)}"
        )
    n, rows = len(truth) + failed, []
    if honest is not None:
        rows.append(_row(PER_SAMPLE, 1, [_hits(honest, truth)], n))
    for order in orders:
        listings = _listings(order, truth, seeds)
        for size in batch_sizes:
            hits = [_hits(predict(listing, size), truth[listing]) for listing in listings]
            rows.append(_row(order, size, hits, n))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def fused_predict(
    network: LandmarkFusion, rgb_own: Tensor, landmark_own: Tensor, valid: Tensor
) -> Predict:
    """Answer as the fused network under batch affinity does, from own features alone.

    With an affinity in each branch the fused answer is not linear in them (its weight depends on
    both branches' labels), but what is shared is still a mean of own features: the two trunks need
    not run again, only heads and weights.

    Args:
        network: in evaluation mode.
        rgb_own: (N, D) RGB features under affinity ``none``.
        landmark_own: (N, D') landmark features under affinity ``none``.
        valid: (N,) bool, False where the landmarks are unknown.

    Returns:
        A function for ``repredicted_leak_curve``; its logits are float32.
    """
    device = network.fc.weight.device

    @torch.no_grad()
    def predict(order: NDArray[np.int64], batch_size: int) -> NDArray[np.float32]:
        chosen = torch.as_tensor(order)
        rgb = _shared_output(network.rgb, rgb_own[chosen], batch_size)
        landmark = _shared_output(network.landmark, landmark_own[chosen], batch_size)
        fused = network.fuse(rgb, landmark, valid[chosen].to(device))
        return fused.logits.float().cpu().numpy()

    return predict


def _shared_output(branch: RgbArm | LandmarkArm, own: Tensor, batch_size: int) -> BranchOutput:
    device = branch.fc.weight.device
    shared = _batch_means(own.double().cpu().numpy(), batch_size)
    feature = own.to(device) + branch.arm.alpha * torch.as_tensor(shared).float().to(device)
    return BranchOutput(branch.fc(feature), feature)


def _batch_means(values: NDArray[np.float64], batch_size: int) -> NDArray[np.float64]:
    if batch_size < 1:
        raise ValueError(f"expected batches of at least 1 sample, got {batch_size}")
    starts = np.arange(0, len(values), batch_size)
    sizes = np.diff(np.append(starts, len(values)))
    means = np.add.reduceat(values, starts, axis=0) / sizes[:, None]
    return np.repeat(means, sizes, axis=0)


def _listings(order: str, labels: NDArray[np.int64], seeds: list[int]) -> list[NDArray[np.int64]]:
    if order == "file":
        return [np.arange(len(labels))]
    if order == "sorted":
        return [np.argsort(labels, kind="stable")]
    return [np.random.default_rng(seed).permutation(len(labels)) for seed in seeds]


def _hits(scores: ArrayLike, labels: NDArray[np.int64]) -> int:
    return int((np.asarray(scores).argmax(axis=1) == labels).sum())


def _row(order: str, batch_size: int, hits: list[int], n: int) -> tuple[object, ...]:
    # Wilson's interval wants whole samples; the mean over shuffles is rounded for it alone.
    _, low, high, _ = wilson_interval(round(float(np.mean(hits))), n)
    spread = min(hits) / n, max(hits) / n
    return order, batch_size, float(np.mean(hits)) / n, low, high, n, len(hits), *spread
