"""How many faces a second the renderer draws."""

from __future__ import annotations

import torch

from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.speed import speed, time_ways
from fer_lib.faces.light import sample_light
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render

_CAMERA = (0.28, 0.0, 0.03, 16.0)


def renders_per_s(
    model: MorphableModel,
    size: int,
    faces: int,
    device: torch.device | str,
    generator: torch.Generator,
) -> Interval:
    """Time the drawing of random faces.

    Args:
        model: the head.
        size: side of the square images in pixels.
        faces: how many are drawn in one batch.
        device: where to draw; its queue is waited for.
        generator: source of randomness, on the CPU.

    Returns:
        Faces per second: median and range of the rounds.
    """
    params = random_faces(model, faces, generator).to(device)
    there = model.to(device)

    def work() -> float:
        with torch.no_grad():
            return float(render(there, params, size).image.mean())

    return speed(time_ways({"render": work}, faces), "render")


def random_faces(model: MorphableModel, faces: int, generator: torch.Generator) -> FaceParams:
    """Draw mild subjects, expressions and poses under random light.

    Args:
        model: whose parameters.
        faces: how many.
        generator: source of randomness, on the CPU.
    """
    draw = [len(model.shape_names), len(model.expression_names), 3, len(model.albedo_names)]
    shape, psi, pose, albedo = (torch.randn(faces, n, generator=generator) for n in draw)
    light = sample_light(generator, faces)
    camera = torch.tensor([_CAMERA]).repeat(faces, 1)
    return FaceParams(0.5 * shape, 0.2 * psi.abs(), 0.2 * pose, camera, 0.5 * albedo, light)
