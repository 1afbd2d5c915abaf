"""How many faces a second are encoded, and fitted to mesh and pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fer_lib.evaluation.render_speed import random_faces
from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.fitting.albedo_basis import painted_albedo
from fer_lib.faces.fitting.correspondence import N_POINTS, Correspondence
from fer_lib.faces.fitting.gauss_newton import fit_mesh
from fer_lib.faces.fitting.photometric import PhotoConfig, refine
from fer_lib.faces.fitting.problem import FitConfig
from fer_lib.faces.mesh_points import MESH_POINTS
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render
from fer_lib.faces.warp import to_uint8
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec, encode

_STEPS = 25


def face_ways(
    model: MorphableModel,
    correspondence: Correspondence,
    encoder: FaceEncoderSpec,
    size: int,
    faces: int,
    seed: int = 0,
) -> dict[str, Callable[[], object]]:
    """Give the ways of reading a face, each over the same drawn faces, for ``speed.time_ways``.

    Weights of the encoder are random: they do not change its speed.

    Args:
        model: the narrow face.
        correspondence: where the mesh's points lie on it; the mesh here is exact.
        encoder: sizes of the encoder.
        size: side of the crops in pixels.
        faces: how many.
        seed: of faces and weights.

    Returns:
        Name to work.
    """
    generator = torch.Generator().manual_seed(seed)
    params = random_faces(model, faces, generator)
    crops = to_uint8(render(model, params, size).image)
    mesh = exact_mesh(model, correspondence, params, size)
    images = crops.permute(0, 3, 1, 2).float() / 255
    network, scores = FaceEncoder(encoder), torch.rand(faces, 52, generator=generator)
    paint, photo = painted_albedo(model), PhotoConfig(steps=_STEPS)
    config = FitConfig()
    fits = fit_mesh(model, correspondence, mesh, size, config=config).params
    return {
        "encoder": lambda: encode(network, crops, mesh, scores),
        "fit on the mesh": lambda: fit_mesh(model, correspondence, mesh, size, config=config),
        f"{_STEPS} steps on the pixels": lambda: refine(
            model, fits, images, mesh, correspondence, paint, config=photo
        ),
    }


def exact_mesh(
    model: MorphableModel, correspondence: Correspondence, params: FaceParams, size: int
) -> torch.Tensor:
    """Give the mesh that a network without error would see of drawn faces.

    Args:
        model: the face that the correspondence belongs to.
        correspondence: where the mesh's points lie on it.
        params: B faces.
        size: side of the crop in pixels.

    Returns:
        (B,478,3) crop pixels, irises left at 0.
    """
    points = torch.stack(
        [correspondence.points(one) for one in model.vertices(params.shape, params.expression)]
    )
    placed = to_camera(points, params.pose)
    seen = project(placed, params, size)
    scale = params.camera[:, :1] * size
    mesh = torch.zeros(len(params), MESH_POINTS, 3)
    mesh[:, :N_POINTS] = torch.stack([seen.x_px, seen.y_px, -placed[..., 2] * scale], dim=-1)
    return mesh
