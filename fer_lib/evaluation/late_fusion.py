"""Late fusion, the simple rival: two finished recognisers' log-probabilities are added.

Nothing is trained but one number, the second recogniser's weight λ, and that on validation samples.

Source: Kittler et al., "On combining classifiers", 1998 (product rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_lib.evaluation.agreement import check_same_samples
from fer_lib.evaluation.recognition import Answers, overall_accuracy

WEIGHTS: tuple[float, ...] = tuple(round(0.1 * step, 1) for step in range(21))
"""The λ that are tried: 0 (the first recogniser alone) to 2, in steps of 0.1."""

# A float32 softmax can say exactly 0; its logarithm would veto a class whatever the other says.
_SMALLEST = float(np.finfo(np.float32).tiny)


def late_fusion(rgb: Answers, landmark: Answers, weight: float = 1.0) -> Answers:
    """Fuse two recognisers: p ∝ p_rgb · p_landmark^λ, class by class.

    Args:
        rgb: the first recogniser.
        landmark: the second, on the same samples in the same classes.
        weight: λ ≥ 0; 1 treats both alike, 0 leaves the first as it is.

    Returns:
        The fused answers. Where only one of the two answers, its answer stands as it is, as in a
        fusion whose landmarks are unknown; what neither answers stays unanswered. With λ = 0 the
        second has no say there either.

    Raises:
        ValueError: samples or classes differ, or λ is negative or no number.
    """
    check_same_samples(rgb, landmark)
    if not 0 <= weight < np.inf:
        raise ValueError(f"expected a weight of 0 or more, got {weight}")
    silent = rgb.predicted < 0
    trust = np.where(silent & (weight > 0), 1.0, weight)[:, None]
    scores = _log_or_nothing(rgb) + trust * _log_or_nothing(landmark)
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    fused = scores / scores.sum(axis=1, keepdims=True)
    fused[silent & ((landmark.predicted < 0) | (weight == 0))] = np.nan
    return replace(rgb, probabilities=fused)


def weight_table(
    rgb: Answers, landmark: Answers, weights: Sequence[float] = WEIGHTS
) -> pd.DataFrame:
    """Score late fusion for several λ.

    Args:
        rgb: the first recogniser.
        landmark: the second.
        weights: λ to try.

    Returns:
        One row per λ: ``w``, ``accuracy`` with Wilson's ``low`` and ``high``, and ``log_loss``
        (mean over the samples that have an answer, nats).
    """
    rows = []
    for weight in weights:
        fused = late_fusion(rgb, landmark, weight)
        rows.append((float(weight), *overall_accuracy(fused)[:3], _log_loss(fused)))
    return pd.DataFrame(rows, columns=["w", "accuracy", "low", "high", "log_loss"])


def choose_lambda(rgb: Answers, landmark: Answers, weights: Sequence[float] = WEIGHTS) -> float:
    """Choose λ on a validation split: best overall accuracy, among equals the least log-loss.

    Args:
        rgb: the first recogniser on *validation* samples; never those that are reported.
        landmark: the second, on the same samples.
        weights: λ to choose from.

    Returns:
        The chosen λ.

    Raises:
        ValueError: there is nothing to choose from.
    """
    table = weight_table(rgb, landmark, weights)
    if table.empty or not len(rgb.labels):
        raise ValueError("expected weights and validation samples to choose by, got none")
    best = table.sort_values(["accuracy", "log_loss"], ascending=[False, True], kind="stable")
    return float(best["w"].iloc[0])


def _log_or_nothing(answers: Answers) -> NDArray[np.float64]:
    """Log-probabilities; 0 for all classes, which favours none, where there is no answer."""
    logs = np.log(np.maximum(answers.probabilities, _SMALLEST))
    return np.where((answers.predicted < 0)[:, None], 0.0, logs)


def _log_loss(answers: Answers) -> float:
    answered = answers.predicted >= 0
    if not answered.any():
        return float("nan")
    own = np.take_along_axis(answers.probabilities, answers.labels[:, None], axis=1)[answered]
    return float(-np.log(np.maximum(own, _SMALLEST)).mean())
