"""Who is in front of the camera, and how it looks at them: the parts of a face that stay.

The expression is drawn elsewhere; everything here is the same in all faces of a group.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fer_lib.datasets.occluders import OCCLUDERS, Scene
from fer_lib.faces import embedded, ict
from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.light import sample_light
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams, rotation_matrix

_Drawn = tuple[MorphableModel, Tensor, Tensor, embedded.Groom]

_NOSE_BRIDGE = slice(28, 30)
_OCCLUDER_ODDS = (0.0, 0.45, 0.08, 0.15, 0.17, 0.15)


@dataclass(frozen=True)
class ViewConfig:
    """How far views differ from each other.

    Attributes:
        scale: one inter-ocular distance as a fraction of the side.
        scale_jitter: largest relative change of ``scale``.
        shift_jitter: largest shift from the centre, as a fraction of the side.
        pitch_deg: largest pitch to either side.
        yaw_deg: largest yaw.
        roll_deg: largest roll.
        distance_low: nearest camera, in inter-ocular distances.
        distance_high: farthest camera.
        occluded_share: share of groups with something in front of the face.
    """

    scale: float = 0.24
    scale_jitter: float = 0.06
    shift_jitter: float = 0.021
    pitch_deg: float = 10.0
    yaw_deg: float = 25.0
    roll_deg: float = 6.0
    distance_low: float = 11.0
    distance_high: float = 21.0
    occluded_share: float = 0.2


class Subject(NamedTuple):
    """A person.

    Attributes:
        model: the head with this person's hair, beard and brows.
        own_model: the same with its mean moved to this person, for one β of 0 and without α.
        shape: β, ``(1, n_shape)``.
        albedo: α, ``(1, n_albedo)``.
        groom: fields of the groom by name.
    """

    model: MorphableModel
    own_model: MorphableModel
    shape: Tensor
    albedo: Tensor
    groom: dict[str, float | int | bool | str]


def sample_subject(generator: torch.Generator, model: str = "embedded") -> Subject:
    """Draw a person.

    Args:
        generator: source of chance, on the CPU.
        model: which head the person has, one of ``config.MODELS``.

    Returns:
        The person.

    Raises:
        ValueError: the model is unknown.
        AssetError: the model's files cannot be had.
    """
    if model not in _DRAW:
        raise ValueError(f"expected a model out of {list(_DRAW)}, got {model!r}")
    head, shape, albedo, groom = _DRAW[model](generator)
    return Subject(head, _own_model(head, shape, albedo), shape, albedo, asdict(groom))


def _draw_embedded(generator: torch.Generator) -> _Drawn:
    male = bool(torch.rand((), generator=generator) < 0.5)
    groom = embedded.sample_groom(generator, male)
    shape = embedded.sample_shape(generator, 1, male)
    albedo = embedded.sample_albedo(generator, 1, groom)
    return embedded.embedded_head(groom), shape, albedo, groom


def _draw_ict(generator: torch.Generator) -> _Drawn:
    groom = ict.sample_groom(generator)
    shape = ict.sample_shape(generator, 1)
    return ict.ict_head(groom), shape, ict.sample_albedo(generator, 1, groom), groom


_DRAW = {"embedded": _draw_embedded, "ict": _draw_ict}


def _own_model(model: MorphableModel, shape: Tensor, albedo: Tensor) -> MorphableModel:
    """Move a model's mean to one identity: shape and albedo are mixed once, not once per face."""
    still = torch.zeros(1, len(model.expression_names))
    return replace(
        model,
        template=model.vertices(shape, still)[0],
        shape_basis=model.shape_basis[:1],
        shape_names=model.shape_names[:1],
        albedo_mean=model.albedo(albedo, still)[0],
        albedo_maps=model.albedo_maps[:0],
        albedo_mix=model.albedo_mix[:0, :0],
        albedo_names=(),
    )


def sample_view(config: ViewConfig, subject: Subject, generator: torch.Generator) -> FaceParams:
    """Draw pose, camera and light.

    Args:
        config: how far they vary.
        subject: who is seen.
        generator: source of chance, on the CPU.

    Returns:
        A batch of one, with a neutral expression.
    """
    turn = torch.tensor([config.pitch_deg, config.yaw_deg, config.roll_deg]).deg2rad()
    pose = turn * (2 * torch.rand(1, 3, generator=generator) - 1)
    u = torch.rand(4, generator=generator)
    scale = config.scale * (1 + config.scale_jitter * (2 * u[0] - 1))
    shift = config.shift_jitter * (2 * u[1:3] - 1)
    distance = config.distance_low + (config.distance_high - config.distance_low) * u[3]
    return FaceParams(
        shape=subject.shape,
        expression=torch.zeros(1, len(subject.model.expression_names)),
        pose=pose,
        camera=torch.stack([scale, *shift, distance])[None],
        albedo=subject.albedo,
        light=sample_light(generator, 1),
    )


def sample_occluder(config: ViewConfig, subject: Subject, generator: torch.Generator) -> str:
    """Draw what is in front of the face.

    Args:
        config: how often there is anything.
        subject: a strand of hair needs somebody who has hair.
        generator: source of chance, on the CPU.

    Returns:
        One of ``OCCLUDERS``.
    """
    occluded, which = torch.rand(2, generator=generator).tolist()
    if occluded >= config.occluded_share:
        return "none"
    kind = OCCLUDERS[int(np.searchsorted(np.cumsum(_OCCLUDER_ODDS), which, side="right"))]
    return "glasses" if kind == "hair_strand" and subject.groom["bald"] else kind


def occluder_scene(subject: Subject, view: FaceParams, size: int) -> Scene:
    """Give what an occluder needs to know about a view of a subject.

    Args:
        subject: who is seen.
        view: a batch of one from ``sample_view``.
        size: side of the square image in pixels.

    Returns:
        The scene.
    """
    model = subject.own_model

    def to_pixels(points: Tensor) -> Tensor:
        seen = project(to_camera(points[None], view.pose), view, size)
        return torch.stack([seen.x_px[0], seen.y_px[0]], dim=1)

    last = torch.tensor(model.albedo_mean.shape[1::-1]) - 1
    nose, crown = model.landmark_vertices[_NOSE_BRIDGE], model.template[:, 1].argmax()
    column, row = (model.uv * last).round().long().T
    colours = model.albedo_mean[row, column]
    return Scene(
        project=to_pixels,
        landmarks=model.landmarks(model.template[None])[0],
        facing=rotation_matrix(view.pose)[0, 2],
        light=view.light[0],
        skin=colours[nose].mean(dim=0),
        hair=colours[crown],
        size=size,
        scale_px=float(view.camera[0, 0]) * size,
    )
