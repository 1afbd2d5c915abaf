"""Frames: anchors land where seed 001 puts them; nothing is ever NaN."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.align import (
    LOOSE_FRAME,
    SEED_FRAME,
    five_points,
    frame_points,
    loose_crop_similarity,
    seed_affine,
    usable_points,
)
from fer_lib.faces.warp import transform_points

NAN = math.nan


def face(left_eye, right_eye, mouth_left, mouth_right, nose=(0.0, 0.0)):
    return torch.tensor([[left_eye, right_eye, nose, mouth_left, mouth_right]])


FRONTAL = face((40.0, 50.0), (80.0, 46.0), (45.0, 90.0), (82.0, 88.0))


def anchors(points):
    return torch.cat((points[:, :2], points[:, 3:5].mean(1, keepdim=True)), dim=1)


def test_frame_of_100_px_has_the_seeds_own_numbers():
    assert torch.equal(frame_points(SEED_FRAME, 100), torch.tensor(SEED_FRAME).double())


def test_frame_of_224_px_is_the_100_px_frame_resized_about_pixel_centres():
    assert frame_points(SEED_FRAME, 224)[0].tolist() == pytest.approx([56.62, 79.02])


def test_loose_frame_has_eyes_and_mouth_at_the_stated_percentages():
    assert LOOSE_FRAME[0] == pytest.approx((36.1, 41.7), abs=0.06)
    assert LOOSE_FRAME[1] == pytest.approx((63.9, 41.7), abs=0.06)
    assert LOOSE_FRAME[2] == pytest.approx((50.0, 63.9), abs=0.06)
    assert LOOSE_FRAME[1][0] - LOOSE_FRAME[0][0] == pytest.approx(27.8, abs=0.03)


@pytest.mark.parametrize("size", [48, 100, 112, 224])
def test_affine_maps_anchors_to_targets_exactly(size):
    matrices, degenerate = seed_affine(FRONTAL, size)
    moved = anchors(transform_points(FRONTAL, matrices))
    assert not degenerate.any()
    assert (moved - frame_points(SEED_FRAME, size)).abs().max() < 1e-4


def test_points_already_in_the_frame_give_the_identity():
    inside = face((25.0, 35.0), (75.0, 35.0), (30.0, 75.0), (70.0, 75.0))
    for matrices in (seed_affine(inside, 100)[0], seed_affine(inside.double(), 100)[0]):
        assert torch.allclose(matrices[0], torch.eye(2, 3), atol=1e-6)


def test_similarity_recovers_a_known_rotation_scale_and_shift():
    target = frame_points(LOOSE_FRAME, 112)
    angle, scale = 0.4, 3.0
    turn = scale * torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    source = target @ turn.T + torch.tensor([17.0, -5.0]).double()
    points = torch.stack((source[0], source[1], source[0], source[2], source[2]))[None]
    matrices, unusable = loose_crop_similarity(points, 112)
    assert not unusable.any()
    assert torch.allclose(matrices[0, :, :2].double(), torch.linalg.inv(turn), atol=1e-6)
    assert (anchors(transform_points(points.float(), matrices)) - target).abs().max() < 1e-3


def test_similarity_is_the_least_squares_solution():
    points = anchors(FRONTAL)[0].double()
    target = frame_points(LOOSE_FRAME, 112)
    # Reference: the four unknowns (a, b, tx, ty) of a plane similarity by a generic solver.
    rows, right = [], []
    for (x, y), (u, v) in zip(points.tolist(), target.tolist(), strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    system = torch.tensor(rows).double()
    a, b, tx, ty = torch.linalg.lstsq(system, torch.tensor(right).double()[:, None])[0].flatten()
    expected = torch.stack((a, -b, tx, b, a, ty)).view(2, 3)
    matrices, _ = loose_crop_similarity(FRONTAL, 112)
    assert torch.allclose(matrices[0].double(), expected, atol=1e-5)


def test_profile_falls_back_to_a_similarity():
    profile = face((60.0, 50.0), (62.0, 50.0), (60.0, 90.0), (62.0, 90.0))
    matrices, degenerate = seed_affine(profile, 100)
    linear = matrices[0, :, :2]
    assert degenerate.all()
    assert usable_points(profile).all()
    assert torch.allclose(linear @ linear.T, torch.linalg.det(linear) * torch.eye(2), atol=1e-5)
    assert torch.linalg.det(linear) > 0


@pytest.mark.parametrize(
    "points",
    [
        torch.full((1, 5, 2), NAN),
        torch.full((1, 5, 2), math.inf),
        torch.zeros(1, 5, 2),
        torch.full((1, 5, 2), 1e6),
        face((40.0, NAN), (80.0, 46.0), (45.0, 90.0), (82.0, 88.0)),
        face((80.0, 46.0), (40.0, 50.0), (45.0, 90.0), (82.0, 88.0)),
    ],
    ids=["nan", "inf", "zero", "one place", "one nan", "eyes exchanged"],
)
def test_unusable_points_give_the_identity_and_are_marked(points):
    matrices, degenerate = seed_affine(points, 112)
    loose, unusable = loose_crop_similarity(points, 112)
    assert degenerate.all()
    assert unusable.all()
    assert not usable_points(points).any()
    assert torch.equal(matrices[0], torch.eye(2, 3))
    assert torch.equal(loose[0], torch.eye(2, 3))


def test_a_bad_face_does_not_touch_its_neighbours():
    both = torch.cat((FRONTAL, torch.full((1, 5, 2), NAN), FRONTAL))
    alone, _ = seed_affine(FRONTAL, 112)
    together, degenerate = seed_affine(both, 112)
    assert degenerate.tolist() == [False, True, False]
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[2], alone[0])


def test_unknown_nose_does_not_matter():
    points = FRONTAL.clone()
    points[:, 2] = NAN
    assert torch.equal(seed_affine(points, 112)[0], seed_affine(FRONTAL, 112)[0])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=10, max_size=10), st.integers(1, 512))
def test_any_finite_points_give_finite_matrices(values, size):
    points = torch.tensor(values).view(1, 5, 2)
    for matrices, _ in (seed_affine(points, size), loose_crop_similarity(points, size)):
        assert matrices.isfinite().all()
        assert (torch.linalg.det(matrices[:, :, :2].double()) > 0).all()


def test_68_points_reduce_to_five_in_order():
    points = torch.arange(68.0)[None, :, None].repeat(1, 1, 2)
    assert five_points(points)[0, :, 0].tolist() == [38.5, 44.5, 30.0, 48.0, 54.0]


def test_five_points_stay_and_other_counts_are_refused():
    assert torch.equal(five_points(FRONTAL), FRONTAL)
    with pytest.raises(ValueError, match="5 or 68"):
        five_points(torch.zeros(1, 37, 2))
