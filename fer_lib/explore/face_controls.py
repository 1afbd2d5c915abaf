"""What the sliders of the face explorer mean: from a face to slider values and back again.

A slider shows a value of a face; moving it adds the difference to that face. So nothing changes
that is not touched, also where a fit lies outside a slider's range or between its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fer_lib.faces.action_units import action_units, au_coefficients
from fer_lib.faces.embedded import Groom, sample_albedo
from fer_lib.faces.embedded import sample_shape as sample_embedded
from fer_lib.faces.expression import clip_expression
from fer_lib.faces.ict.head import sample_shape as sample_ict
from fer_lib.faces.light import ambient_directional
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import transfer_expression
from fer_lib.faces.params import CAMERA_COLUMNS, FaceParams
from fer_lib.labels import AU_COLUMNS

SHAPE_SLIDERS = 10
_AU_NAMES = (
    "inner brow raiser", "outer brow raiser", "brow lowerer", "upper lid raiser", "cheek raiser",
    "lid tightener", "nose wrinkler", "upper lip raiser", "lip corner puller", "dimpler",
    "lip corner depressor", "chin raiser", "lip pucker", "lip stretcher", "lip tightener",
    "lips part", "jaw drop", "eyes closed",
)  # fmt: skip
_POSE = ("pitch", "yaw", "roll")
_CAMERA_RANGE = {
    "scale": (0.05, 0.6), "shift_x": (-0.5, 0.5), "shift_y": (-0.5, 0.5), "distance": (3.0, 40.0)
}  # fmt: skip
_LIGHT = {
    "own light": (0.0, 2.0, 1.0), "lamp": (0.0, 1.5, 0.0),
    "lamp azimuth": (-90.0, 90.0, 40.0), "lamp elevation": (-60.0, 90.0, 30.0),
}  # fmt: skip


class FaceStart(NamedTuple):
    """A face to start from, for example the fit of a photograph.

    Attributes:
        params: a batch of one.
        model: name of its model, a key of ``HEADS``.
        photo: ``(H, W, 3)`` uint8 RGB that it belongs to, if any.
        neutral: the same person without expression, if known; transfers are differences to it.
    """

    params: FaceParams
    model: str = "ict"
    photo: np.ndarray | None = None
    neutral: FaceParams | None = None


class Slider(NamedTuple):
    """One slider of the explorer.

    Attributes:
        tab: under which title it stands.
        name: key of its value.
        label: what the user reads.
        low: its lower end.
        high: its upper end.
        step: from one value to the next.
    """

    tab: str
    name: str
    label: str
    low: float
    high: float
    step: float


def face_sliders(model: MorphableModel, camera_kind: str) -> tuple[Slider, ...]:
    """List the sliders of a model.

    Args:
        model: which model.
        camera_kind: a key of ``CAMERA_COLUMNS``.

    Returns:
        First shape modes, action units, the view (pose in degrees, camera) and light.
    """
    rows = [
        Slider("shape", name, name.replace("_", " "), -3.0, 3.0, 0.05)
        for name in model.shape_names[:SHAPE_SLIDERS]
    ]
    for name, words in zip(AU_COLUMNS, _AU_NAMES, strict=True):
        rows.append(Slider("AUs", name, f"{name.upper()} {words}", 0.0, 1.25, 0.05))
    rows += [Slider("view", name, f"{name}, °", -60.0, 60.0, 1.0) for name in _POSE]
    for name in CAMERA_COLUMNS[camera_kind]:
        low, high = _CAMERA_RANGE[name]
        rows.append(Slider("view", name, name.replace("_", " "), low, high, 0.01))
    for name, (low, high, _) in _LIGHT.items():
        degrees = name.startswith("lamp ")
        label, step = (f"{name}, °", 5.0) if degrees else (name, 0.05)
        rows.append(Slider("light", name, label, low, high, step))
    return tuple(rows)


def check_model(params: FaceParams, model: MorphableModel) -> None:
    """Refuse a face of another model.

    Args:
        params: any faces.
        model: the model that should draw them.

    Raises:
        ValueError: a factor has another number of coefficients than the model.
    """
    got = [params.shape.shape[1], params.expression.shape[1], params.albedo.shape[1]]
    names = (model.shape_names, model.expression_names, model.albedo_names)
    if got != (expected := [len(part) for part in names]):
        raise ValueError(
            f"expected a face of the model {model.name} with {expected} coefficients of shape, "
            f"expression and albedo, got {got}"
        )


def slider_values(params: FaceParams, model: MorphableModel) -> dict[str, float]:
    """Read what the sliders show of one face.

    Args:
        params: a batch of one.
        model: its model.

    Returns:
        Value by name of a slider; light stands at rest, that is at the face's own light alone.
    """
    values = dict(zip(model.shape_names[:SHAPE_SLIDERS], params.shape[0].tolist(), strict=False))
    units = action_units(params.expression, model.expression_names)[0]
    values |= zip(AU_COLUMNS, units.tolist(), strict=True)
    values |= zip(_POSE, params.pose[0].rad2deg().tolist(), strict=True)
    values |= zip(CAMERA_COLUMNS[params.camera_kind], params.camera[0].tolist(), strict=True)
    return values | {name: rest for name, (_, _, rest) in _LIGHT.items()}


def moved_face(
    params: FaceParams, shown: Mapping[str, float], values: Mapping[str, float],
    model: MorphableModel,
) -> FaceParams:  # fmt: skip
    """Move a face as its sliders were moved.

    Args:
        params: a batch of one.
        shown: what the sliders showed of it.
        values: what they show now.
        model: its model.

    Returns:
        A batch of one; every factor whose sliders stand still is the same to the last bit.
    """
    change = {name: values[name] - shown[name] for name in shown}

    def added(factor: Tensor, names: tuple[str, ...], gain: float = 1.0) -> Tensor:
        by = [gain * change[name] for name in names]
        moved = factor.clone()
        moved[0, : len(by)] += factor.new_tensor(by)
        return moved

    units = {name: change[name] for name in AU_COLUMNS if change[name]}
    psi = params.expression + au_coefficients(units, model.expression_names).to(params.expression)
    return params.replace(
        shape=added(params.shape, model.shape_names[:SHAPE_SLIDERS]),
        expression=clip_expression(psi, model.expression_names) if units else params.expression,
        pose=added(params.pose, _POSE, torch.pi / 180),
        camera=added(params.camera, CAMERA_COLUMNS[params.camera_kind]),
        light=lit(params.light, *(values[name] for name in _LIGHT)),
    )


def lit(
    light: Tensor, own: float, lamp: float, azimuth_deg: float, elevation_deg: float
) -> Tensor:  # fmt: skip
    """Dim a light and add a white lamp to it.

    Args:
        light: ``(B, 9, 3)``.
        own: factor on it.
        lamp: shading by the lamp where the surface faces it.
        azimuth_deg: of the lamp, positive to image-right.
        elevation_deg: of the lamp, positive up.

    Returns:
        ``(B, 9, 3)``.
    """
    azimuth, elevation = torch.tensor([azimuth_deg, elevation_deg]).deg2rad()
    direction = torch.stack([
        azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()
    ])  # fmt: skip
    lamps = ambient_directional(torch.zeros(1, 3), torch.full((1, 3), lamp), direction[None])
    return own * light + lamps.to(light)


def average_face(model: MorphableModel) -> FaceParams:
    """Give the model's mean face, neutral, from the front, in soft light from above.

    Args:
        model: which model.

    Returns:
        A batch of one with a perspective camera.
    """
    direction = torch.tensor([[0.2, 0.4, 0.9]])
    light = ambient_directional(
        torch.full((1, 3), 0.6), torch.full((1, 3), 0.65), direction / direction.norm()
    )
    return FaceParams(
        shape=torch.zeros(1, len(model.shape_names)),
        expression=torch.zeros(1, len(model.expression_names)),
        pose=torch.zeros(1, 3),
        camera=torch.tensor([[0.23, 0.0, 0.0, 16.0]]),
        albedo=torch.zeros(1, len(model.albedo_names)),
        light=light,
    ).to(model.template.device)


def random_person(
    params: FaceParams, model: MorphableModel, generator: torch.Generator
) -> FaceParams:
    """Exchange who is seen.

    Args:
        params: a batch of one.
        model: its model, one of ``HEADS``.
        generator: source of chance, on the CPU.

    Returns:
        A batch of one with another shape and another albedo.
    """
    male = bool(torch.rand((), generator=generator) < 0.5)
    shape = sample_ict(generator, 1) if model.name == "ict" else sample_embedded(generator, 1, male)
    albedo = sample_albedo(generator, 1, Groom())
    return params.replace(shape=shape.to(params.shape), albedo=albedo.to(params.albedo))


def transferred(
    first: FaceStart, second: FaceStart, model: MorphableModel, difference: bool
) -> FaceParams:
    """Give β of a first face ψ of a second.

    Args:
        first: keeps its shape, pose, camera, albedo and light.
        second: whose expression is taken.
        model: the model of both.
        difference: add the second's difference to its neutral to the first's ψ (to that of its
            neutral, where that is known) instead of replacing ψ.

    Returns:
        A batch of one.

    Raises:
        ValueError: a difference is wanted from a face whose neutral is unknown.
    """
    if difference and second.neutral is None:
        raise ValueError("the neutral face of B is unknown, so there is no difference to transfer")
    return transfer_expression(
        first.params,
        second.params,
        model.expression_names,
        target_neutral=second.neutral if difference else None,
        source_neutral=first.neutral if difference else None,
    )
