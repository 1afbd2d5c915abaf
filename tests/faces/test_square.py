import math

import pytest
import torch

from fer_lib.faces.square import Square, square_affine
from fer_lib.faces.warp import invert_affine, transform_points

# Eyes at height 0 and the mouth at 40: each eye is 50 px from the mouth's centre (70, 40).
FACE = torch.tensor([[40.0, 0], [100, 0], [70, 20], [60, 40], [80, 40]])


def corners(five, square, size=64):
    matrices, valid = square_affine(five, square, size)
    assert valid.all()
    ends = torch.tensor([[-0.5, -0.5], [size - 0.5, size - 0.5]]).expand(len(five), 2, 2)
    return transform_points(ends, invert_affine(matrices))


def test_the_square_lies_where_it_should():
    # Centre (70, 40 / 3), side 2 x 50; half of 50 lower the second time.
    found = corners(FACE[None], Square(2, 0))
    torch.testing.assert_close(found[0], torch.tensor([[20, 40 / 3 - 50], [120, 40 / 3 + 50]]))
    lower = corners(FACE[None], Square(2, 0.5))
    torch.testing.assert_close(lower - found, torch.tensor([0.0, 25]).expand(1, 2, 2))


@pytest.mark.parametrize(("factor", "shift"), [(0.25, 0.0), (3.0, 400.0)])
def test_it_moves_and_grows_with_the_face(factor, shift):
    square = Square(2.4, 0.1)
    expected = corners(FACE[None], square) * factor + shift
    torch.testing.assert_close(corners(FACE[None] * factor + shift, square), expected)


def test_a_face_keeps_its_roll():
    turn = math.radians(20)
    rolled = FACE @ torch.tensor(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    matrices, _ = square_affine(torch.stack((FACE, rolled)), Square(2, 0), 64)
    assert matrices[:, 0, 1].tolist() == matrices[:, 1, 0].tolist() == [0, 0]
    torch.testing.assert_close(matrices[0, :, :2], matrices[1, :, :2])


def test_unusable_points_get_the_identity_and_nobody_else():
    faces = torch.stack((FACE, torch.full((5, 2), torch.nan), FACE[:1].expand(5, 2)))
    matrices, valid = square_affine(faces, Square(2, 0), 64)
    assert valid.tolist() == [True, False, False]
    assert torch.equal(matrices[1:], torch.eye(2, 3).expand(2, 2, 3))
    torch.testing.assert_close(matrices[:1], square_affine(FACE[None], Square(2, 0), 64)[0])
