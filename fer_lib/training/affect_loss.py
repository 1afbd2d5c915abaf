"""The loss of valence and arousal: how far they are from agreeing."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8


def concordance(predicted: Tensor, true: Tensor) -> Tensor:
    """Give Lin's concordance correlation coefficient of each column over the rows of a batch.

    CCC = 2·cov(x, y) / (var x + var y + (mean x − mean y)²), with population moments. It is 0
    where neither varies and both means agree.

    Args:
        predicted: (B, D).
        true: (B, D).

    Returns:
        (D,) in [−1, 1].

    Source: Lin, Biometrics 1989.
    """
    x, y = predicted - predicted.mean(dim=0), true - true.mean(dim=0)
    apart = (predicted.mean(dim=0) - true.mean(dim=0)).square()
    spread = x.square().mean(dim=0) + y.square().mean(dim=0) + apart
    return 2 * (x * y).mean(dim=0) / spread.clamp(min=_TINY)


def affect_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Give (1 − CCC)/2 of valence plus (1 − CCC)/2 of arousal.

    Args:
        predicted: (B, 2) valence and arousal.
        true: (B, 2), NaN where unknown; such rows do not count.

    Returns:
        A scalar in [0, 2]; 0 with no gradient where fewer than two rows are known.

    Source: the HSEmotion recipe (Savchenko, CVPR Workshops 2022).
    """
    known = true.isfinite().all(dim=1)
    if known.sum() < 2:
        return predicted.new_zeros((), dtype=torch.float32)
    return (1 - concordance(predicted[known].float(), true[known])).sum() / 2
