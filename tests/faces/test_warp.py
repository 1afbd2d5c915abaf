"""Warps: pixel centres are exact, shrinking averages, batches do not matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.warp import (
    flip_points,
    invert_affine,
    resize_points,
    to_uint8,
    transform_points,
    warp,
)

IDENTITY = torch.eye(2, 3)[None]


def affine(a=1.0, b=0.0, tx=0.0, c=0.0, d=1.0, ty=0.0):
    return torch.tensor([[[a, b, tx], [c, d, ty]]])


@pytest.fixture
def image(generator):
    return torch.rand(1, 3, 16, 16, generator=generator)


def test_identity_returns_the_image(image):
    assert (warp(image, IDENTITY, 16) - image).abs().max() < 1e-5


def test_whole_pixel_shift_moves_pixels_and_leaves_black(image):
    moved = warp(image, affine(tx=3, ty=-2), 16)
    assert (moved[:, :, :14, 3:] - image[:, :, 2:, :13]).abs().max() < 1e-5
    assert moved[:, :, :, :3].abs().max() == 0
    assert moved[:, :, 14:].abs().max() == 0


def test_border_replicates_the_edge(image):
    moved = warp(image, affine(tx=3), 16, border="border")
    assert (moved[:, :, :, 0] - image[:, :, :, 0]).abs().max() < 1e-5


def test_mirror_matrix_equals_a_flip(image):
    assert (warp(image, affine(a=-1, tx=15), 16) - image.flip(3)).abs().max() < 1e-5


def test_shrinking_by_a_whole_factor_is_the_block_mean(image):
    matrix = affine(a=0.25, d=0.25, tx=-0.375, ty=-0.375)
    small = warp(image, matrix, 4)
    expected = torch.nn.functional.avg_pool2d(image, 4)
    assert (small - expected).abs().max() < 1e-5


def test_a_fine_chequerboard_shrinks_to_grey_not_to_moire():
    board = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float()
    small = warp(board.expand(1, 3, 64, 64), affine(a=0.3, d=0.3), 16)
    assert (small[:, :, 1:15, 1:15] - 0.5).abs().max() < 0.1


def test_a_pixel_lands_where_its_point_lands():
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 9, 21] = 1
    matrix = affine(a=2.0, d=2.0, tx=-20.0, ty=-10.0)
    x, y = transform_points(torch.tensor([[[21.0, 9.0]]]), matrix)[0, 0].int().tolist()
    assert warp(image, matrix, 32)[0, 0, y, x] == pytest.approx(1.0)


def test_uint8_and_float_images_agree(image):
    files = to_uint8(image)
    assert files.shape == (1, 16, 16, 3)
    assert (warp(files, IDENTITY, 16) - image).abs().max() < 1 / 254
    assert torch.equal(to_uint8(warp(files, IDENTITY, 16)), files)


def test_result_does_not_depend_on_the_batch(generator):
    images = torch.rand(5, 3, 20, 24, generator=generator)
    scales = torch.tensor([1.0, 0.4, 2.0, 0.11, 0.4])
    matrices = torch.eye(2, 3).repeat(5, 1, 1)
    matrices[:, :, :2] *= scales[:, None, None]
    together = warp(images, matrices, 12)
    for i in range(5):
        assert torch.equal(together[i : i + 1], warp(images[i : i + 1], matrices[i : i + 1], 12))


def test_empty_batch_gives_an_empty_batch():
    assert warp(torch.zeros(0, 3, 8, 8), torch.zeros(0, 2, 3), 4).shape == (0, 3, 4, 4)


def test_flip_twice_is_identity(generator):
    points = torch.rand(3, 5, 2, generator=generator) * 100
    assert torch.allclose(flip_points(flip_points(points, 112), 112), points, atol=1e-5)


def test_resized_corner_pixels_keep_their_edges():
    points = torch.tensor([[-0.5, -0.5], [99.5, 99.5]])
    assert torch.allclose(
        resize_points(points, 100, 224), torch.tensor([[-0.5, -0.5], [223.5, 223.5]])
    )


@settings(deadline=None, max_examples=100)
@given(
    st.floats(-3, 3), st.floats(0.2, 4), st.floats(-0.5, 0.5), st.floats(-200, 200),
    st.floats(-200, 200),
)
def test_affine_after_its_inverse_is_identity(angle, scale, shear, tx, ty):
    turn = torch.tensor(angle).double()
    linear = scale * torch.stack(
        (turn.cos(), -turn.sin() + shear, turn.sin(), turn.cos() + 2)
    ).view(1, 2, 2)
    if torch.linalg.det(linear).abs() < 0.05:
        return
    matrix = torch.cat((linear, torch.tensor([[[tx], [ty]]]).double()), dim=2)
    points = torch.tensor([[[0.0, 0.0], [111.0, 3.0], [40.0, 80.0]]]).double()
    back = transform_points(transform_points(points, matrix), invert_affine(matrix))
    assert (back - points).abs().max() < 1e-6
