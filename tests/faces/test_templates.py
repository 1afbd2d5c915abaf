"""Templates: five points land where a network was taught to find them."""

import math

import pytest
import torch

from fer_lib.faces.align import (
    ARCFACE_112,
    ARCFACE_112X96,
    FACENET_160,
    align_faces,
    template_affine,
)
from fer_lib.faces.warp import transform_points

TEMPLATES = [ARCFACE_112, ARCFACE_112X96, FACENET_160]
TEMPLATE_NAMES = ["arcface", "cosface", "facenet"]


def turned(points, angle, scale=2.0, shift=(30.0, 12.0)):
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return points @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor(shift)


def unstretched(template):
    return torch.tensor(template.points) / torch.tensor([template.stretch, 1.0])


@pytest.mark.parametrize("template", TEMPLATES[:2], ids=TEMPLATE_NAMES[:2])
def test_points_of_the_template_give_the_identity(template):
    matrices, unusable = template_affine(torch.tensor([template.points]), template)
    assert not unusable.any()
    assert torch.allclose(matrices[0], torch.eye(2, 3), atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.0])
@pytest.mark.parametrize("template", TEMPLATES[:2], ids=TEMPLATE_NAMES[:2])
def test_turned_faces_land_on_the_template_exactly(template, angle):
    five = turned(unstretched(template), angle)[None]
    matrices, _ = template_affine(five, template)
    expected = torch.tensor(template.points)
    assert (transform_points(five, matrices)[0] - expected).abs().max() < 1e-3


def test_a_box_template_stretches_but_does_not_turn():
    five = turned(unstretched(FACENET_160), 0.3)[None]
    matrices, _ = template_affine(five, FACENET_160)
    linear = matrices[0, :, :2]
    assert linear[0, 1] == 0 == linear[1, 0]
    assert float(linear[0, 0] / linear[1, 1]) == pytest.approx(FACENET_160.stretch, rel=1e-5)
    assert float(linear[1, 1]) == pytest.approx(0.5, rel=1e-4)
    centre = transform_points(five, matrices)[0].mean(0)
    assert torch.allclose(centre, torch.tensor(FACENET_160.points).mean(0), atol=1e-3)


def test_upright_faces_land_on_the_box_template_exactly():
    five = turned(unstretched(FACENET_160), 0.0)[None]
    matrices, _ = template_affine(five, FACENET_160)
    expected = torch.tensor(FACENET_160.points)
    assert (transform_points(five, matrices)[0] - expected).abs().max() < 1e-3


def test_the_narrow_template_is_the_wide_ones_middle(generator):
    images = torch.rand(2, 3, 150, 140, generator=generator)
    five = turned(torch.tensor(ARCFACE_112.points), 0.2, 1.0, (10.0, 5.0)).expand(2, 5, 2)
    wide, _ = align_faces(images, five, ARCFACE_112)
    narrow, _ = align_faces(images, five, ARCFACE_112X96)
    assert wide.shape == (2, 3, 112, 112)
    assert narrow.shape == (2, 3, 112, 96)
    assert torch.allclose(narrow, wide[..., 8:104], atol=1e-4)


@pytest.mark.parametrize("place", [0, 2, 4], ids=["eye", "nose", "mouth"])
def test_an_unknown_point_marks_its_face_alone(generator, place):
    images = torch.rand(3, 3, 120, 120, generator=generator)
    five = torch.tensor(ARCFACE_112.points).repeat(3, 1, 1)
    alone, _ = align_faces(images[:1], five[:1], ARCFACE_112)
    five[1, place] = math.nan
    crops, valid = align_faces(images, five, ARCFACE_112)
    assert valid.tolist() == [True, False, True]
    assert crops.isfinite().all()
    assert torch.equal(crops[:1], alone)
