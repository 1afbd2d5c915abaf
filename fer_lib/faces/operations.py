"""Edits of face parameters with exact meaning: swap, transfer, emotion, action units, mirror.

Every function gives new parameters and leaves its arguments alone. ψ is the expression, β the
shape; all work face by face, row k with row k.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from fer_lib.faces.action_units import au_coefficients
from fer_lib.faces.expression import clip_expression, prototype_coefficients
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams

FACTORS = ("shape", "expression", "pose", "camera", "albedo", "light")
MODES = ("absolute", "added")
_SIDE = re.compile(r"left|right|Left|Right|(?<=_)[LR]$")
_OTHER_SIDE = {"left": "right", "Left": "Right", "L": "R"}
_OTHER_SIDE |= {right: left for left, right in _OTHER_SIDE.items()}
# A mode's sign is the sum over some thousand vertices; all of them would tell no more.
_MIRROR_POINTS = 4000


def swap(source: FaceParams, target: FaceParams, factor: str) -> FaceParams:
    """Exchange exactly one factor.

    Args:
        source: B faces that keep all else.
        target: B faces of the same model whose factor is taken.
        factor: one of ``FACTORS``; ``camera`` takes its kind along.

    Returns:
        B faces.

    Raises:
        ValueError: there is no such factor, or the faces do not fit each other.
    """
    if factor not in FACTORS:
        raise ValueError(f"expected a factor out of {FACTORS}, got {factor!r}")
    _check_alike(source, target, *([] if factor == "camera" else [factor]))
    if factor == "camera":
        return source.replace(camera=target.camera, camera_kind=target.camera_kind)
    return source.replace(**{factor: getattr(target, factor)})


def transfer_expression(
    source: FaceParams,
    target: FaceParams,
    names: Sequence[str],
    *,
    source_neutral: FaceParams | None = None,
    target_neutral: FaceParams | None = None,
) -> FaceParams:
    """Give faces the expression of others, absolutely or as a difference to the others' neutral.

    Without neutrals ψ is the target's, unchanged. With ``target_neutral`` it is
    ψ_source + (ψ_target - ψ_target,neutral), clipped to the model's range; ``source_neutral``
    stands in for ψ_source when the source shows an expression of its own.

    Args:
        source: B faces that keep shape, pose, camera, albedo and light.
        target: B faces that show the expression.
        names: the model's `expression_names`.
        source_neutral: the source persons without expression.
        target_neutral: the target persons without expression.

    Returns:
        B faces.

    Raises:
        ValueError: the faces do not fit each other, or only ``source_neutral`` is given.
    """
    if target_neutral is None:
        if source_neutral is not None:
            raise ValueError(
                "expected target_neutral beside source_neutral, got None; an absolute transfer "
                "takes neither"
            )
        return swap(source, target, "expression")
    start = source if source_neutral is None else source_neutral
    for other in (target, target_neutral, start):
        _check_alike(source, other, "expression")
    psi = start.expression + (target.expression - target_neutral.expression)
    return source.replace(expression=clip_expression(psi, names))


def with_emotion(
    params: FaceParams,
    emotion: str,
    names: Sequence[str],
    strength: float = 1.0,
    mode: str = "absolute",
) -> FaceParams:
    """Show an emotion by its prototype.

    Args:
        params: B faces.
        emotion: one of the canonical emotions.
        names: the model's `expression_names`.
        strength: factor on the prototype; 0 is none, 1 a clear expression.
        mode: ``absolute`` replaces the whole ψ, ``added`` adds to it.

    Returns:
        B faces, ψ clipped to the model's range.

    Raises:
        ValueError: the emotion or the mode is unknown.
    """
    return _with_pattern(params, strength * prototype_coefficients(emotion, names), names, mode)


def with_action_units(
    params: FaceParams, units: Mapping[str, float], names: Sequence[str], mode: str = "absolute"
) -> FaceParams:
    """Show action units.

    Args:
        params: B faces.
        units: intensity by unit, for example ``{"au12": 0.8}``.
        names: the model's `expression_names`.
        mode: ``absolute`` replaces the whole ψ, ``added`` adds to it.

    Returns:
        B faces, ψ clipped to the model's range.

    Raises:
        ValueError: a unit or the mode is unknown.
    """
    return _with_pattern(params, au_coefficients(units, names), names, mode)


def blend(first: FaceParams, second: FaceParams, share: float) -> FaceParams:
    """Go part of the way from one face to another, straight in every parameter.

    Args:
        first: B faces.
        second: B faces of the same model and kind of camera.
        share: 0 gives ``first``, 1 ``second``; beyond is exaggeration, and nothing is clipped.

    Returns:
        B faces.

    Raises:
        ValueError: the faces do not fit each other.
    """
    _check_alike(first, second, *FACTORS)
    # In this form both ends are exact.
    mixed = {f: (1 - share) * getattr(first, f) + share * getattr(second, f) for f in FACTORS}
    return first.replace(**mixed)


class MirrorTable(NamedTuple):
    """What a mirror does to the coefficients of a model.

    Attributes:
        shape_sign: (n_shape,) float32, -1 for modes that tell left from right.
        expression_source: (n_expr,) int64, the mode whose ψ each mode takes over.
        expression_sign: (n_expr,) float32, -1 for modes that are their own opposite.
    """

    shape_sign: Tensor
    expression_source: Tensor
    expression_sign: Tensor


def mirror_table(model: MorphableModel) -> MirrorTable:
    """Find out which modes of a model are each other's mirror image.

    Expression modes of two sides are paired by name (``_left``, ``_R``, ``jawLeft``); the sign of
    every mode is that of the product of its partner's field with its own reflected field.

    Args:
        model: any model whose mesh is about symmetric.

    Returns:
        The table, on the model's device.

    Raises:
        ValueError: a mode of one side has no mode of the other side.
    """
    partner = [_other_side(name) for name in model.expression_names]
    if missing := sorted(set(partner) - set(model.expression_names)):
        raise ValueError(f"expected modes of both sides, got a model without {missing}")
    source = torch.tensor([model.expression_names.index(name) for name in partner])
    source = source.to(model.template.device)
    points = model.template.cpu().numpy()
    some = torch.arange(0, len(points), max(1, len(points) // _MIRROR_POINTS))
    across = torch.from_numpy(cKDTree(points).query(points[some] * (-1, 1, 1))[1])
    some, across = some.to(source.device), across.to(source.device)

    def sign(basis: Tensor, other: Tensor) -> Tensor:
        reflected = other[:, across] * other.new_tensor([-1.0, 1.0, 1.0])
        return torch.where((basis[:, some] * reflected).sum((1, 2)) < 0, -1.0, 1.0)

    shape, expression = model.shape_basis, model.expression_basis
    return MirrorTable(sign(shape, shape), source, sign(expression, expression[source]))


def mirror(params: FaceParams, model: MorphableModel | MirrorTable) -> FaceParams:
    """Give faces as a mirror shows them; twice gives the same numbers again.

    The picture is the mirrored picture as far as the model is symmetric: hair parted on one side
    stays there, and α, which has no sides, is unchanged.

    Args:
        params: B faces.
        model: the model they belong to, or its table where many batches are mirrored.

    Returns:
        B faces.
    """
    table = model if isinstance(model, MirrorTable) else mirror_table(model)
    light_sign = params.light.new_tensor([1, -1, 1, 1, -1, -1, 1, 1, 1])
    camera_sign = torch.ones_like(params.camera[0])
    camera_sign[1] = -1
    return params.replace(
        shape=params.shape * table.shape_sign,
        expression=params.expression[:, table.expression_source] * table.expression_sign,
        pose=params.pose * params.pose.new_tensor([1, -1, -1]),
        camera=params.camera * camera_sign,
        light=params.light * light_sign[:, None],
    )


def _with_pattern(
    params: FaceParams, pattern: Tensor, names: Sequence[str], mode: str
) -> FaceParams:
    if mode not in MODES:
        raise ValueError(f"expected a mode out of {MODES}, got {mode!r}")
    start = params.expression if mode == "added" else torch.zeros_like(params.expression)
    return params.replace(expression=clip_expression(start + pattern.to(start), names))


def _other_side(name: str) -> str:
    return _SIDE.sub(lambda side: _OTHER_SIDE[side[0]], name)


def _check_alike(first: FaceParams, second: FaceParams, *factors: str) -> None:
    """Refuse faces that differ in number, in the size of a factor or in their camera."""
    if len(first) != len(second):
        raise ValueError(f"expected as many faces on both sides, got {len(first)}, {len(second)}")
    if "camera" in factors and first.camera_kind != second.camera_kind:
        raise ValueError(
            f"expected one kind of camera, got {first.camera_kind} and {second.camera_kind}"
        )
    for factor in factors:
        sizes = [getattr(faces, factor).shape[1] for faces in (first, second)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"expected {factor} of one model, got {sizes[0]} and {sizes[1]} coefficients"
            )
