import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.faces.heatmap import draw_heatmaps
from fer_lib.training.augment import (
    Augmentation,
    erase_rectangles,
    mirror_images,
    mirror_landmarks,
    vary_images,
    vary_landmarks,
)

STILL = Augmentation(0, 0, 0, 0, 0, 0, 0)


def test_mirroring_twice_is_identity_and_spares_the_others():
    images, points = torch.rand(3, 3, 8, 8), torch.rand(3, 5, 2) * 8
    chosen = torch.tensor([True, False, True])
    once = mirror_images(images, chosen)
    assert torch.equal(mirror_images(once, chosen), images)
    assert torch.equal(once[1], images[1])
    moved = mirror_landmarks(points, chosen, 8)
    torch.testing.assert_close(mirror_landmarks(moved, chosen, 8), points)
    assert torch.equal(moved[1], points[1])


def test_mirroring_commutes_with_drawing():
    points = torch.randint(0, 40, (4, 9, 2)).float()
    chosen = torch.ones(4, dtype=torch.bool)
    drawn_first = mirror_images(draw_heatmaps(points, 40), chosen)
    assert torch.equal(draw_heatmaps(mirror_landmarks(points, chosen, 40), 40), drawn_first)


def test_without_any_strength_nothing_changes():
    images, points = torch.rand(2, 3, 16, 16), torch.rand(2, 5, 2) * 16
    torch.testing.assert_close(vary_images(images, STILL), images)
    torch.testing.assert_close(vary_landmarks(points, 16, STILL), points)


def test_landmarks_move_by_similarities_within_the_limits():
    limits = Augmentation(0, 0.1, 0.2, 10, 0, 0, 0)
    square = torch.tensor([[0.0, 0.0], [31, 0], [31, 31], [0, 31]]).expand(200, 4, 2)
    moved = vary_landmarks(square, 32, limits, torch.Generator().manual_seed(0))
    sides = (moved - moved.roll(1, dims=1)).norm(dim=2)
    assert (sides.amax(dim=1) - sides.amin(dim=1)).max() < 1e-3
    assert sides.min() >= 31 * 0.8
    assert sides.max() <= 31 * 1.2
    centres = moved.mean(dim=1)
    assert (centres - 15.5).abs().max() <= 0.1 * 32 + 1e-3
    assert (centres - 15.5).abs().max() > 0.05 * 32


def test_unknown_landmarks_stay_unknown():
    points = torch.full((1, 4, 2), torch.nan)
    assert vary_landmarks(points, 32, Augmentation()).isnan().all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(16, 48), width=st.integers(16, 48))
def test_an_erased_rectangle_is_one_rectangle_of_the_stated_area(seed, height, width):
    images = torch.zeros(1, 1, height, width)
    erased = erase_rectangles(images, 1.0, torch.Generator().manual_seed(seed))[0, 0] > 0
    rows, columns = erased.any(dim=1).sum(), erased.any(dim=0).sum()
    assert erased.sum() == rows * columns
    area = 0.02 * height * width, 0.10 * height * width
    slack = int(rows + columns) + 1
    assert area[0] - slack <= erased.sum() <= area[1] + slack


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_erasing_follows_its_probability(probability):
    erased = erase_rectangles(torch.zeros(20, 1, 32, 32), probability)
    assert (erased.flatten(1).amax(dim=1) > 0).float().mean() == probability


def test_equal_seeds_vary_images_equally():
    images = torch.rand(2, 3, 16, 16)
    first, second = (
        vary_images(images, Augmentation(), torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, images)
    assert first.min() >= 0
    assert first.max() <= 1
