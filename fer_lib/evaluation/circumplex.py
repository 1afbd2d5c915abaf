"""Russell's circumplex: valence V and arousal A of a face as one point in the plane.

V and A are in [-1, 1]. The intensity is I = sqrt(V² + A²), the angle atan2(A, V).

Source: Russell 1980, "A circumplex model of affect"; bounds of Toisoul et al. 2021 (EmoNet).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fer_lib.labels import canonical_emotion

MIN_INTENSITY = 0.2
"""Up to it a face is near neutral, and its angle on the circumplex means nothing."""


def affect_points(affect: ArrayLike) -> NDArray[np.float64]:
    """Take valence and arousal as (N, 2) numbers.

    Raises:
        ValueError: they have another shape.
    """
    points = np.asarray(affect, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected valence and arousal (N, 2), got {points.shape}")
    return points


def intensity(affect: ArrayLike) -> NDArray[np.float64]:
    """Give the intensity sqrt(V² + A²) of (N, 2) valence and arousal, (N,) in [0, √2]."""
    return np.hypot(*affect_points(affect).T)


def circumplex_errors(truth: ArrayLike, answers: ArrayLike) -> pd.DataFrame:
    """Compare two points on the circumplex: in which direction they lie, and how far out.

    Args:
        truth: (N, 2) true valence and arousal, or those aimed at.
        answers: (N, 2) valence and arousal answered.

    Returns:
        ``angle_deg`` in [0, 180], NaN where one of the two intensities does not exceed
        ``MIN_INTENSITY``, and ``intensity``, answered minus true; NaN where one is unknown.

    Raises:
        ValueError: the two are not (N, 2) both.
    """
    true, said = affect_points(truth), affect_points(answers)
    if true.shape != said.shape:
        raise ValueError(f"expected as many answers as truths, got {len(said)} and {len(true)}")
    turn = np.subtract(*(np.arctan2(part[:, 1], part[:, 0]) for part in (said, true)))
    angle = np.abs(np.degrees(np.arctan2(np.sin(turn), np.cos(turn))))
    strong = np.minimum(intensity(true), intensity(said)) > MIN_INTENSITY
    difference = intensity(said) - intensity(true)
    return pd.DataFrame({"angle_deg": np.where(strong, angle, np.nan), "intensity": difference})


def agrees_with_emotion(emotions: Sequence[str | None], affect: ArrayLike) -> NDArray[np.bool_]:
    """Say whether valence and arousal fit the emotion they stand beside: EmoNet's cleaning rule.

    EmoNet's published figures hold for AffectNet images that pass it and whose emotion a second
    look confirmed. It selects by the very labels that are scored: such figures are optimistic, and
    are not to be compared with those of all images.

    Args:
        emotions: N names, None or NaN where unknown.
        affect: (N, 2) valence and arousal labels.

    Returns:
        (N,) bool; False where something is unknown.

    Raises:
        ValueError: a name is no emotion's, or there are not as many as points.

    Source: Toisoul et al. 2021, Methods, and the thresholds of the published evaluation.
    """
    strength, (valence, arousal) = intensity(affect), affect_points(affect).T
    strong = strength > MIN_INTENSITY
    fits = {
        "neutral": strength < MIN_INTENSITY,
        "happiness": strong & (valence > 0),
        "sadness": strong & (valence < 0),
        "surprise": strong & (arousal > 0),
        "fear": strong & (arousal >= 0) & (valence <= 0),
        "disgust": (strength > 0.3) & (valence < 0),
        "anger": strong & (arousal > 0),
        "contempt": strong & (valence < 0),
    }
    names = [None if pd.isna(name) else canonical_emotion(name) for name in emotions]
    if len(names) != len(strength):
        raise ValueError(f"expected one emotion per point, got {len(names)} for {len(strength)}")
    return np.array([name is not None and fits[name][row] for row, name in enumerate(names)], bool)
