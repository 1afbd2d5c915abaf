"""Heat maps: exact discs, nothing from unknown points, flips commute."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.heatmap import draw_heatmaps
from fer_lib.faces.warp import flip_points


def test_radius_two_is_a_five_by_five_block_without_corners():
    drawn = draw_heatmaps(torch.tensor([[[100.0, 50.0]]]), 224)[0, 0]
    block = drawn[48:53, 98:103]
    assert drawn.sum() == block.sum() == 21
    assert block[0].tolist() == [0, 1, 1, 1, 0]
    assert block[2].tolist() == [1, 1, 1, 1, 1]


def test_values_are_zero_or_one_even_where_discs_overlap():
    drawn = draw_heatmaps(torch.tensor([[[50.0, 50.0], [51.0, 50.0], [50.0, 50.0]]]), 224)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.sum() == 26


def test_radius_follows_the_size():
    assert draw_heatmaps(torch.tensor([[[50.0, 50.0]]]), 112).sum() == 9
    assert draw_heatmaps(torch.tensor([[[50.0, 50.0]]]), 112, radius_px=0).sum() == 1


@pytest.mark.parametrize(("x", "column"), [(9.49, 9), (9.5, 10), (10.0, 10), (-0.5, 0)])
def test_coordinates_round_half_up(x, column):
    drawn = draw_heatmaps(torch.tensor([[[x, 20.0]]]), 32, radius_px=0)[0, 0]
    assert drawn.nonzero().tolist() == [[20, column]]


@pytest.mark.parametrize(
    "point",
    [(math.nan, 5.0), (5.0, math.nan), (math.inf, 5.0), (-0.51, 5.0), (5.0, 31.5), (1e30, -1e30)],
)
def test_unknown_and_off_frame_points_leave_nothing(point):
    assert draw_heatmaps(torch.tensor([[point]]), 32, radius_px=2).sum() == 0


def test_disc_at_the_border_is_cut():
    assert draw_heatmaps(torch.tensor([[[0.0, 0.0]]]), 32, radius_px=2).sum() == 8


def test_faces_do_not_draw_into_each_other(generator):
    points = torch.rand(4, 68, 2, generator=generator) * 60 - 5
    together = draw_heatmaps(points, 48)
    assert together.shape == (4, 1, 48, 48)
    for i in range(4):
        assert torch.equal(together[i : i + 1], draw_heatmaps(points[i : i + 1], 48))


def test_no_faces_and_no_points_are_allowed():
    assert draw_heatmaps(torch.zeros(0, 68, 2), 16).shape == (0, 1, 16, 16)
    assert draw_heatmaps(torch.zeros(2, 0, 2), 16).sum() == 0


def test_negative_radius_is_refused():
    with pytest.raises(ValueError, match="radius"):
        draw_heatmaps(torch.zeros(1, 1, 2), 16, radius_px=-1)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-600, 6000), st.integers(-600, 6000)), min_size=1, max_size=20),
    st.sampled_from([48, 112, 224]),
)
def test_flip_commutes_with_drawing(numbers, size):
    # Coordinates in 33rds of a pixel: never exactly half, where "half up" is one-sided.
    points = torch.tensor(numbers).double()[None] / 33
    flipped = draw_heatmaps(flip_points(points, size), size)
    assert torch.equal(flipped, draw_heatmaps(points, size).flip(3))
