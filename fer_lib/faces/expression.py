"""Emotions as patterns of facial action units, and draws of expressions from them.

The patterns follow EMFACS (Friesen & Ekman 1983) as commonly tabulated; intensities are those at
which the embedded head shows a clear expression. Nothing here knows a particular head: expression
coefficients ψ are found by the names of a model's expression modes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fer_lib.labels import ACTION_UNITS, AU_COLUMNS, canonical_emotion

SIDES = ("left", "right")
MAX_INTENSITY = 1.25
MAX_GAZE = 0.6
VALENCE_AROUSAL: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happiness": (0.80, 0.45),
    "sadness": (-0.70, -0.40),
    "surprise": (0.15, 0.80),
    "fear": (-0.60, 0.75),
    "disgust": (-0.65, 0.35),
    "anger": (-0.65, 0.65),
    "contempt": (-0.45, 0.15),
}
"""Valence and arousal of each emotion at intensity 1, assigned by hand after Russell 1980."""

_PROTOTYPES: dict[str, dict[int, float]] = {
    "neutral": {},
    "happiness": {6: 0.85, 12: 0.95, 25: 0.55},
    "sadness": {1: 0.9, 4: 0.55, 15: 0.95, 17: 0.5, 43: 0.2},
    "surprise": {1: 0.9, 2: 0.9, 5: 0.8, 26: 0.75, 25: 0.4},
    "fear": {1: 0.85, 2: 0.5, 4: 0.75, 5: 0.9, 20: 0.85, 25: 0.6, 26: 0.22},
    "disgust": {9: 0.95, 10: 0.7, 17: 0.4, 7: 0.35, 15: 0.3, 25: 0.2},
    "anger": {4: 1.0, 5: 0.35, 7: 0.6, 23: 0.85, 17: 0.35, 10: 0.1},
    "contempt": {12: 0.55, 14: 0.95, 10: 0.12},
}
_ONE_SIDED = ("contempt",)
_SPURIOUS_SHARE, _VARIATION = 0.18, 0.25
_GAZE_SPREAD = {"gaze_x": 0.35, "gaze_y": 0.25}


def prototype(emotion: str, side: str = "left") -> dict[str, float]:
    """Mean pattern of an emotion.

    Args:
        emotion: one of the canonical emotions.
        side: the subject's side that shows contempt; ignored by the other emotions.

    Returns:
        Name of an expression mode ("au12", "au14_left") to its intensity.

    Raises:
        ValueError: if the emotion or the side is unknown.
    """
    if side not in SIDES:
        raise ValueError(f"expected a side among {SIDES}, got {side!r}")
    emotion = canonical_emotion(emotion)
    suffix = f"_{side}" if emotion in _ONE_SIDED else ""
    return {f"au{unit:02d}{suffix}": value for unit, value in _PROTOTYPES[emotion].items()}


def prototype_coefficients(emotion: str, names: Sequence[str], side: str = "left") -> Tensor:
    """Mean pattern of an emotion as expression coefficients.

    Args:
        emotion: one of the canonical emotions.
        names: a model's `expression_names`.
        side: the subject's side that shows contempt.

    Returns:
        (n_expr,) float32 ψ; units the model does not have are left out.
    """
    pattern = prototype(emotion, side)
    return torch.tensor([pattern.get(name, 0.0) for name in names])


def sample_expression(
    emotion: str,
    generator: torch.Generator,
    names: Sequence[str],
    noise: float = 0.10,
    intensity_range: tuple[float, float] = (0.5, 1.15),
    drop: float = 0.08,
) -> tuple[Tensor, float]:
    """Draw one way of showing an emotion.

    The pattern is scaled, each unit varies by a quarter and may be missing, unrelated units appear
    faintly, the eyes blink a little and look somewhere; contempt falls on a random side.

    Args:
        emotion: one of the canonical emotions.
        generator: source of randomness.
        names: a model's `expression_names`.
        noise: scale of the unrelated units.
        intensity_range: lowest and highest overall intensity.
        drop: probability that a unit of the pattern is missing.

    Returns:
        (n_expr,) float32 ψ (units in [0,1.25], gaze in [-0.6,0.6]) and the overall intensity.
    """
    n = len(names)
    uniform = torch.rand(2 * n + 3, generator=generator)
    normal = torch.randn(2 * n, generator=generator)
    low, high = intensity_range
    intensity = low + (high - low) * float(uniform[0])
    pattern = prototype_coefficients(emotion, names, SIDES[int(uniform[1] < 0.5)])
    kept = (uniform[3 : 3 + n] >= drop).float()
    psi = intensity * pattern * kept * (1 + _VARIATION * normal[:n])
    for k, name in enumerate(names):
        if name in _GAZE_SPREAD:
            psi[k] = _GAZE_SPREAD[name] * normal[n + k]
        elif name in AU_COLUMNS and uniform[3 + n + k] < _SPURIOUS_SHARE:
            psi[k] += 2 * noise * normal[n + k].abs()
        if name == "au43":
            psi[k] += 0.08 * uniform[2]
    return clip_expression(psi, names), intensity


def clip_expression(psi: Tensor, names: Sequence[str]) -> Tensor:
    """Keep expression coefficients where they mean something.

    Args:
        psi: (…,n_expr) coefficients.
        names: a model's `expression_names`.

    Returns:
        The same with action units in [0,1.25] and gaze in [-0.6,0.6].
    """
    gaze = [name.startswith("gaze") for name in names]
    low = psi.new_tensor([-MAX_GAZE if g else 0.0 for g in gaze])
    high = psi.new_tensor([MAX_GAZE if g else MAX_INTENSITY for g in gaze])
    return torch.minimum(torch.maximum(psi, low), high)


def action_units(psi: Tensor, names: Sequence[str]) -> Tensor:
    """Intensity of every labelled action unit.

    A unit shown on one side counts as shown: its intensity is that of the symmetric mode plus the
    stronger of the two one-sided modes.

    Args:
        psi: (B,n_expr) expression coefficients.
        names: a model's `expression_names`.

    Returns:
        (B,18) in the order of `labels.AU_COLUMNS`, clipped to [0,1.25]; 0 for units the model
        does not have.
    """
    where = {name: k for k, name in enumerate(names)}
    empty = psi.new_zeros(len(psi))

    def column(name: str) -> Tensor:
        return psi[:, where[name]] if name in where else empty

    units = [
        column(unit) + torch.maximum(column(f"{unit}_left"), column(f"{unit}_right"))
        for unit in (f"au{number:02d}" for number in ACTION_UNITS)
    ]
    return torch.stack(units, 1).clamp(0.0, MAX_INTENSITY)


def valence_arousal(
    emotion: str, intensity: float, generator: torch.Generator | None = None, noise: float = 0.05
) -> tuple[float, float]:
    """Valence and arousal assigned to an expression.

    Args:
        emotion: one of the canonical emotions.
        intensity: overall intensity; scales the emotion's prototype.
        generator: source of label noise; none when absent.
        noise: standard deviation of the label noise.

    Returns:
        Valence and arousal in [-1,1].
    """
    mean = intensity * torch.tensor(VALENCE_AROUSAL[canonical_emotion(emotion)])
    if generator is not None:
        mean = mean + noise * torch.randn(2, generator=generator)
    valence, arousal = mean.clamp(-1, 1).tolist()
    return valence, arousal
