"""FACS action units and the expression modes of a model, both ways.

A model speaks either action units themselves ("au12", "au14_left", as the embedded head does) or
ARKit-named blendshapes ("mouthSmile_L", as ICT-FaceKit does). For the latter each unit is a
weighted sum of blendshapes with one to recognise it by, so units can be read back exactly. Weights
make a unit at 1 move ICT's landmarks about as far as the embedded head's (IOD against IOD).

Unlike the index of ICT-FaceKit, AU10 (upper lip raiser) is mouthUpperUp, as FACS has it; the
shrug of the upper lip only goes along with that of the lower one (AU17). AU7 closes the eye a
little besides tensing the lower lid. ARKit has no lip tightener: AU23 is mouthPress with the red
of both lips rolled in. AU25 parts the lips without the jaw: the lower lip goes down, the upper one
up; AU26 is jawOpen, which parts them too, but then the label says AU26. jawOpen at 1 is a yawn
(AU27), so AU26 at 1 is less.

Sources: Ekman, Friesen & Hager 2002 (FACS); Apple ARKit's face anchor (names of blendshapes);
ICT-FaceKit (Li et al. 2020). Sides are the subject's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from fer_lib.labels import AU_COLUMNS

SIDES = ("left", "right")
GAZE = ("gaze_x", "gaze_y")
MAX_INTENSITY = 1.25

BLENDSHAPES: dict[str, dict[str, float]] = {
    "au01": {"browInnerUp": 1.0},
    "au02": {"browOuterUp": 1.0},
    "au04": {"browDown": 1.0},
    "au05": {"eyeWide": 1.0},
    "au06": {"cheekSquint": 0.9},
    "au07": {"eyeSquint": 1.0, "eyeBlink": 0.2},
    "au09": {"noseSneer": 0.6},
    "au10": {"mouthUpperUp": 0.7},
    "au12": {"mouthSmile": 0.7},
    "au14": {"mouthDimple": 0.7},
    "au15": {"mouthFrown": 1.0},
    "au17": {"mouthShrugLower": 0.45, "mouthShrugUpper": 0.5},
    "au18": {"mouthPucker": 0.8},
    "au20": {"mouthStretch": 0.9},
    "au23": {"mouthPress": 0.7, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "au25": {"mouthLowerDown": 0.7, "mouthUpperUp": 0.25},
    "au26": {"jawOpen": 0.65},
    "au43": {"eyeBlink": 1.0},
}
"""Blendshapes, without their side, of every labelled unit at 1, in the order of `AU_COLUMNS`; a
unit is recognised by its first."""

_LOOK: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "gaze_x": (("eyeLookOut_L", "eyeLookIn_R"), ("eyeLookIn_L", "eyeLookOut_R")),
    "gaze_y": (("eyeLookUp_L", "eyeLookUp_R"), ("eyeLookDown_L", "eyeLookDown_R")),
}
_LOOK_GAIN = {"gaze_x": 0.95, "gaze_y": 0.75}
_OWN = tuple(next(iter(shapes)) for shapes in BLENDSHAPES.values())


def speaks_units(names: Sequence[str]) -> bool:
    """Whether expression modes are action units themselves, not blendshapes.

    Args:
        names: a model's `expression_names`.
    """
    return not any(name.removesuffix("_L").removesuffix("_R") in _OWN for name in names)


def au_coefficients(units: Mapping[str, float], names: Sequence[str]) -> Tensor:
    """Expression coefficients that show action units.

    Args:
        units: intensity by unit: "au12", one side of it as "au12_left", or "gaze_x" (towards the
            subject's left) and "gaze_y" (up), which may be negative.
        names: a model's `expression_names`.

    Returns:
        (n_expr,) float32 ψ, not clipped (see `expression.clip_expression`).

    Raises:
        ValueError: a unit is unknown, or the model cannot show it.
    """
    psi = torch.zeros(len(names))
    where = {name: k for k, name in enumerate(names)}
    for unit, amount in units.items():
        modes = {unit: amount} if unit in where else _blendshapes(unit, amount)
        shown = {where[mode]: value for mode, value in modes.items() if mode in where}
        if not shown:
            raise ValueError(
                f"expected action units that the model can show, got {unit!r}; give units such as "
                "au12, and one side only of those that the model shows on one side"
            )
        psi[list(shown)] += torch.tensor(list(shown.values()))
    return psi


def _blendshapes(unit: str, amount: float) -> dict[str, float]:
    """Coefficients by the full names of blendshapes that show one unit."""
    if unit in _LOOK:
        return dict.fromkeys(_LOOK[unit][amount < 0], _LOOK_GAIN[unit] * abs(amount))
    word, _, side = unit.partition("_")
    endings = {"": ("_L", "_R", ""), "left": ("_L",), "right": ("_R",)}.get(side, ())
    shapes = BLENDSHAPES.get(word, {})
    return {shape + end: gain * amount for shape, gain in shapes.items() for end in endings}


def action_units(psi: Tensor, names: Sequence[str]) -> Tensor:
    """Intensity of every labelled action unit.

    A unit shown on one side counts as shown, by its stronger side.

    Args:
        psi: (B,n_expr) expression coefficients.
        names: a model's `expression_names`.

    Returns:
        (B,18) in the order of `labels.AU_COLUMNS`, clipped to [0,1.25]; 0 for units the model
        does not have.
    """
    where = {name: k for k, name in enumerate(names)}
    empty = psi.new_zeros(len(psi))

    def column(*spellings: str) -> Tensor:
        return next((psi[:, where[name]] for name in spellings if name in where), empty)

    if speaks_units(names):
        units = [
            column(unit) + torch.maximum(column(f"{unit}_left"), column(f"{unit}_right"))
            for unit in AU_COLUMNS
        ]
        return torch.stack(units, 1).clamp(0.0, MAX_INTENSITY)
    sides = [torch.stack([column(own + end, own) for own in _OWN], 1) for end in ("_L", "_R")]
    left, right = (side.double() @ _reading().to(psi.device) for side in sides)
    return torch.maximum(left, right).to(psi.dtype).clamp(0.0, MAX_INTENSITY)


@lru_cache(maxsize=1)
def _reading() -> Tensor:
    """(18,18) matrix from each unit's own blendshape to the units."""
    showing = [[shapes.get(own, 0.0) for own in _OWN] for shapes in BLENDSHAPES.values()]
    return torch.linalg.inv(torch.tensor(showing, dtype=torch.float64))
