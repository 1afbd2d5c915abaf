"""Views of crops: pixels, points, cameras and light move together."""

import math

import pytest
import torch

from fer_lib.faces.camera import project, to_camera
from fer_lib.faces.light import sample_light, shade
from fer_lib.faces.params import FaceParams, rotation_matrix
from fer_lib.networks.face_view import View, turn_light

KINDS = ["perspective", "weak_perspective"]


def some_params(generator, count=3, kind="perspective"):
    camera = torch.tensor([0.24, 0.02, -0.03, 14.0]).repeat(count, 1)
    camera = camera * (1 + 0.1 * torch.rand(count, 4, generator=generator))
    return FaceParams(
        torch.zeros(count, 2),
        torch.zeros(count, 2),
        0.3 * torch.randn(count, 3, generator=generator),
        camera if kind == "perspective" else camera[:, :3],
        torch.zeros(count, 1),
        sample_light(generator, count),
        kind,
    )


def random_views(generator, count=3):
    angle = 0.4 * torch.randn(count, generator=generator)
    factor = 1.3 + 0.2 * torch.rand(count, generator=generator)
    rows = [angle.cos(), -angle.sin(), angle.sin(), angle.cos()]
    linear = factor[:, None, None] * torch.stack(rows, dim=1).view(count, 2, 2)
    return View(linear, 0.1 * torch.randn(count, 2, generator=generator))


def placed(points, params, size):
    seen = project(to_camera(points, params.pose), params, size)
    return torch.stack([seen.x_px, seen.y_px], dim=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_points_drawn_from_moved_parameters_are_the_moved_points(kind, generator):
    params, view = some_params(generator, kind=kind), random_views(generator)
    points = torch.randn(3, 20, 3, generator=generator)
    moved = view.points(placed(points, params, 112), 112)
    # A picture of side 1 has its centre at 0 and is measured in fractions of its side.
    torch.testing.assert_close(moved, placed(points, view.params(params), 1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_camera_of_the_central_view_projects_to_the_same_pixels_of_the_crop(kind, generator):
    in_view = some_params(generator, kind=kind)
    points = torch.randn(3, 20, 3, generator=generator)
    view, crop_px, share = View.central(3, 0.7), 144, 0.7
    in_crop = view.inverse().params(in_view)
    # 0.7 of 144 px is 100.8 px, which is where a picture of that side lies in the middle.
    expected = placed(points, in_view, crop_px * share) + crop_px * (1 - share) / 2
    torch.testing.assert_close(placed(points, in_crop, crop_px), expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(in_crop.camera[:, :3], in_view.camera[:, :3] * share)
    torch.testing.assert_close(in_crop.pose, in_view.pose)


def test_the_way_there_and_back_changes_nothing(generator):
    params, view = some_params(generator), random_views(generator)
    back = view.inverse().params(view.params(params))
    for name in ("pose", "camera", "light"):
        torch.testing.assert_close(getattr(back, name), getattr(params, name), rtol=0, atol=2e-6)


def test_pixels_move_as_points_do(generator):
    faces = torch.zeros(3, 64, 64, 3, dtype=torch.uint8)
    spots = torch.tensor([[30, 20], [36, 40], [25, 30]])
    for face, (x, y) in zip(faces, spots, strict=True):
        face[y - 1 : y + 2, x - 1 : x + 2] = 255
    view = random_views(generator)
    size = 96
    images = view.cut(faces, size)[:, 0]
    rows = torch.arange(size, dtype=torch.float32)
    mass = images.sum((1, 2))
    centre = torch.stack([(images.sum(1) @ rows) / mass, (images.sum(2) @ rows) / mass], dim=1)
    expected = (view.points(spots[:, None].float(), 64)[:, 0] + 0.5) * size - 0.5
    torch.testing.assert_close(centre, expected, rtol=0, atol=0.1)


def test_a_turned_light_shades_turned_normals_alike(generator):
    light = sample_light(generator, 1) + 0.1 * torch.randn(1, 9, 3, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(3, 50, generator=generator), dim=0)
    angle = torch.tensor([0.7])
    turn = rotation_matrix(torch.tensor([[0.0, 0.0, 0.7]]))[0]
    turned = shade(turn @ normals, turn_light(light, angle)[0])
    torch.testing.assert_close(turned, shade(normals, light[0]))
    half = turn_light(turn_light(light, torch.tensor([math.pi])), torch.tensor([math.pi]))
    torch.testing.assert_close(half, light, rtol=0, atol=1e-5)
