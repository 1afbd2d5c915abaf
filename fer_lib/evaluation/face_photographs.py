"""How good answered face parameters are on photographs, whose true parameters nobody knows.

Hand-set points tell how well the face lies on the picture. Two photographs of every person, one of
them smiling, tell whether the shape stays and the smile rises. Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fer_lib.evaluation.face_parameters import mean_interval, ratio_of_sums
from fer_lib.evaluation.intervals import (
    Interval,
    bootstrap_interval,
    bootstrap_sums,
    wilson_interval,
)
from fer_lib.faces.params import FaceParams

_TAILS = (2.5, 97.5)

LONDON_POINTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "right_eye_outer": ((18,), (36,)), "right_eye_inner": ((22,), (39,)),
    "left_eye_inner": ((23,), (42,)), "left_eye_outer": ((27,), (45,)),
    "right_lid_upper": ((20,), (37, 38)), "right_lid_lower": ((29,), (40, 41)),
    "left_lid_upper": ((25,), (43, 44)), "left_lid_lower": ((32,), (46, 47)),
    "mouth_right": ((87,), (48,)), "mouth_left": ((93,), (54,)),
    "lip_upper": ((90,), (51,)), "lip_lower": ((106,), (57,)),
}  # fmt: skip
"""Twelve points that the London Set's template of 189 and the 68 landmarks both have: positions in
either list, of which the mean is taken."""


def pair_metrics(
    neutral: FaceParams,
    smiling: FaceParams,
    expression_names: Sequence[str],
    landmarks_px: ArrayLike,
    template_px: ArrayLike,
) -> dict[str, Interval]:
    """Score fits of the London Set's pairs by everything that is known of them.

    Args:
        neutral: P people without expression.
        smiling: the same people in the same order.
        expression_names: of the model.
        landmarks_px: (P,68,2) of the neutral fits, crop pixels.
        template_px: (P,189,2) hand-set points there; people without are left out of that error.

    Returns:
        Interval by metric; a rank-1 answer searches the neutral gallery for the smiling probe.
    """
    smile = [k for k, name in enumerate(expression_names) if name.startswith("mouthSmile")]
    low, high = (p.expression[:, smile].mean(1).numpy() for p in (neutral, smiling))
    errors = london_errors_pct_iod(landmarks_px, template_px).mean(1)
    first, second = neutral.shape.numpy(), smiling.shape.numpy()
    return {
        "landmark_error_london_pct_iod": mean_interval(errors[np.isfinite(errors)]),
        "beta_rank1_london_frac": identification_rank1(second, first),
        "beta_rank1_cosine_london_frac": identification_rank1(second, first, cosine=True),
        "beta_within_between_ratio": within_between_ratio(first, second),
        "smile_rises_frac": pairs_rising(low, high),
        "smile_auc_frac": paired_auc(low, high),
    }


def pair_table(scores: Mapping[str, Mapping[str, Interval]]) -> pd.DataFrame:
    """List the scores of several ways, one row per way and metric, with interval and n."""
    rows = [(way, metric, *one) for way, row in scores.items() for metric, one in row.items()]
    return pd.DataFrame(rows, columns=["way", "metric", "value", "low", "high", "n"])


def london_errors_pct_iod(
    landmarks_px: ArrayLike, template_px: ArrayLike, *, without_offset: bool = False
) -> NDArray[np.float64]:
    """Distance of the twelve `LONDON_POINTS` from the hand-set ones, % of the eyes' distance.

    Args:
        landmarks_px: (N,68,2) pixels.
        template_px: (N,189,2) the same pictures' hand-set points, in the same pixels.
        without_offset: takes each point's mean offset over all faces away first, in units of the
            eyes' distance: lists of landmarks define points differently.

    Returns:
        (N,12) per cent.
    """
    placed, known = (np.asarray(p, np.float64) for p in (landmarks_px, template_px))
    ours = np.stack([placed[:, list(own)].mean(1) for _, own in LONDON_POINTS.values()], axis=1)
    theirs = np.stack([known[:, list(hand)].mean(1) for hand, _ in LONDON_POINTS.values()], axis=1)
    eyes = theirs[:, [2, 3, 6, 7]].mean(1) - theirs[:, [0, 1, 4, 5]].mean(1)
    offset = (ours - theirs) / np.linalg.norm(eyes, axis=1)[:, None, None]
    offset = offset - offset.mean(0) if without_offset else offset
    return 100 * np.linalg.norm(offset, axis=2)


def identification_rank1(probe: ArrayLike, gallery: ArrayLike, *, cosine: bool = False) -> Interval:
    """Share of people whose probe is nearest to their own entry of the gallery.

    Args:
        probe: (P,n) β of each person's one photograph, such as smiling ones.
        gallery: (P,n) β of the same people in the same order, such as neutral ones.
        cosine: compares angles about the gallery's mean instead of Euclidean distances.

    Returns:
        Share with Wilson's interval; a tie counts as wrong.
    """
    probe, gallery = _same_people(probe, gallery)
    if cosine:
        probe, gallery = (b - gallery.mean(0) for b in (probe, gallery))
        unit = [
            b / np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
            for b in (probe, gallery)
        ]
        distance = -unit[0] @ unit[1].T
    else:
        distance = _distances(probe, gallery)
    own = distance.diagonal().copy()
    np.fill_diagonal(distance, np.inf)
    return wilson_interval(int((own < distance.min(1)).sum()), len(own))


def within_between_ratio(first: ArrayLike, second: ArrayLike, seed: int = 0) -> Interval:
    """Mean distance between a person's two β over that between different people's.

    Args:
        first: (P,n) β of one photograph per person.
        second: (P,n) of the other, the same people in the same order.
        seed: of the resampling of people.

    Returns:
        The ratio: 0 is a perfectly steady β, about 1 one that knows nothing of the person.
    """
    first, second = _same_people(first, second)
    distance = _distances(first, second)
    within, count = distance.diagonal(), len(distance)
    # What each person adds to the distances between people: half of every pair's.
    between = (distance.sum(1) + distance.sum(0) - 2 * within) / (2 * (count - 1))
    return bootstrap_interval(np.stack([within, between], axis=1), ratio_of_sums, seed=seed)


def pairs_rising(neutral: ArrayLike, smiling: ArrayLike) -> Interval:
    """Share of pairs in which a value, such as mean mouthSmile, is larger in the second photograph.

    Args:
        neutral: (P,) values.
        smiling: (P,) values of the same people in the same order.
    """
    rises = np.asarray(smiling) > np.asarray(neutral)
    return wilson_interval(int(rises.sum()), len(rises))


def paired_auc(
    neutral: ArrayLike, smiling: ArrayLike, *, draws: int = 1000, seed: int = 0
) -> Interval:
    """Probability that a smiling photograph has the larger value than a neutral one of anybody.

    Args:
        neutral: (P,) values.
        smiling: (P,) values of the same people in the same order.
        draws: number of resamples of people.
        seed: of the resampling.

    Returns:
        Area under the curve, a tie counting half.
    """
    low, high = np.asarray(neutral, np.float64), np.asarray(smiling, np.float64)
    larger = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    weights = bootstrap_sums(np.eye(len(low)), None, draws, seed)
    resampled = ((weights @ larger) * weights).sum(1) / len(low) ** 2
    value = float(larger.mean())
    bottom, top = np.percentile(resampled, _TAILS)
    return Interval(value, float(min(bottom, value)), float(max(top, value)), len(low))


def _same_people(first: ArrayLike, second: ArrayLike) -> tuple[NDArray, NDArray]:
    first, second = (np.asarray(b, np.float64) for b in (first, second))
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"expected two or more people, one row each, got {first.shape} and {second.shape}"
        )
    return first, second


def _distances(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    return np.linalg.norm(first[:, None] - second[None], axis=2)
