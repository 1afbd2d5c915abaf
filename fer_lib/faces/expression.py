"""Emotions as patterns of facial action units, and draws of expressions from them.

The patterns follow EMFACS (Friesen & Ekman 1983) as commonly tabulated; intensities are those at
which the embedded head shows a clear expression. Nothing here knows a particular head: expression
coefficients ψ are found by the names of a model's expression modes, and where these are
blendshapes, action units are drawn first and then shown by them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fer_lib.faces.action_units import (
    GAZE,
    MAX_INTENSITY,
    SIDES,
    au_coefficients,
    speaks_units,
)
from fer_lib.labels import AU_COLUMNS, canonical_emotion

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

_DRAWN = (
    *AU_COLUMNS,
    *GAZE,
    *(f"au{unit:02d}_{side}" for unit in _PROTOTYPES["contempt"] for side in SIDES),
)
"""What is drawn for a model of blendshapes before it is shown by them."""

_BESIDE = (
    "cheekPuff_L", "cheekPuff_R", "eyeBlink_L", "eyeBlink_R", "jawForward", "jawLeft", "jawRight",
    "mouthClose", "mouthFunnel", "mouthLeft", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugUpper",
)  # fmt: skip
"""Blendshapes that the emotions bring along seldom or never."""

_OPPOSITE = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"))
_ASYMMETRY = 0.12
# As large as the jaw's share of the gap that it fills: beyond it the lips would cross.
_CLOSED_PER_OPEN = 0.7


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
        (n_expr,) float32 ψ; of a model of action units, those it does not have are left out.
    """
    pattern = prototype(emotion, side)
    if speaks_units(names):
        return torch.tensor([pattern.get(name, 0.0) for name in names])
    return au_coefficients(pattern, names)


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
    faintly, the eyes blink a little and look somewhere; contempt falls on a random side. For a
    model of blendshapes both sides differ a little, and blendshapes outside the units appear too.

    Args:
        emotion: one of the canonical emotions.
        generator: source of randomness.
        names: a model's `expression_names`.
        noise: scale of the unrelated units.
        intensity_range: lowest and highest overall intensity.
        drop: probability that a unit of the pattern is missing.

    Returns:
        (n_expr,) float32 ψ, limited as by `clip_expression`, and the overall intensity.
    """
    if speaks_units(names):
        return _sample_units(emotion, generator, names, noise, intensity_range, drop)
    units, intensity = _sample_units(emotion, generator, _DRAWN, noise, intensity_range, drop)
    psi = au_coefficients(dict(zip(_DRAWN, units.tolist(), strict=True)), names)
    return _vary_blendshapes(psi, generator, names, noise), intensity


def _sample_units(
    emotion: str,
    generator: torch.Generator,
    names: Sequence[str],
    noise: float,
    intensity_range: tuple[float, float],
    drop: float,
) -> tuple[Tensor, float]:
    """Draw the coefficients of a model whose modes are action units."""
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


def _vary_blendshapes(
    psi: Tensor, generator: torch.Generator, names: Sequence[str], noise: float
) -> Tensor:
    """Let each blendshape differ a little, and show some that the emotions do not bring along."""
    where = {name: k for k, name in enumerate(names)}
    # Both sides of a pair take the left one's chance: they appear together.
    chance = [where.get(f"{name.removesuffix('_R')}_L", k) for name, k in where.items()]
    uniform = torch.rand(len(names), generator=generator)[chance]
    own, beside = torch.randn(2, len(names), generator=generator)
    shown = torch.tensor([name in _BESIDE for name in names]) & (uniform < _SPURIOUS_SHARE)
    psi = psi * (1 + _ASYMMETRY * own) + shown * 4 * noise * beside[chance].abs()
    for one, other in _OPPOSITE:
        pair = psi[[where[one], where[other]]]
        psi[[where[one], where[other]]] = (pair - pair.flip(0)).relu()
    opened = _CLOSED_PER_OPEN * psi[where["jawOpen"]]
    psi[where["mouthClose"]] = torch.minimum(psi[where["mouthClose"]], opened)
    return clip_expression(psi, names)


def clip_expression(psi: Tensor, names: Sequence[str]) -> Tensor:
    """Keep expression coefficients where they mean something.

    Args:
        psi: (…,n_expr) coefficients.
        names: a model's `expression_names`.

    Returns:
        The same with action units in [0,1.25], gaze in [-0.6,0.6] and blendshapes in [0,1].
    """
    limits = [
        (-MAX_GAZE, MAX_GAZE)
        if name in GAZE
        else (0.0, MAX_INTENSITY if name.startswith("au") else 1.0)
        for name in names
    ]
    low, high = psi.new_tensor(limits).T
    return torch.minimum(torch.maximum(psi, low), high)


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
