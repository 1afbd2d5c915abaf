import math

import numpy as np
import pytest
import torch

from fer_lib.training.inference import Faces
from fer_lib.training.landmark_noise import with_landmark_noise


def faces_at(count, points=68, side=80, samples=None):
    crops = np.zeros((count, side, side, 3), dtype=np.uint8)
    return Faces.of(crops, np.full((count, points, 2), 40.0), np.zeros(count), samples=samples)


@pytest.mark.parametrize("pct", [3.0, 4.5, 6.0])
def test_displacement_has_the_size_that_was_asked_for(pct):
    faces = faces_at(400)
    moved = with_landmark_noise(faces, pct).landmarks_px - 40
    pct_of_iod = 100 * moved.double() / 40  # The eyes of a tight crop are half its side apart.
    square = pct_of_iod.square().sum(dim=2)
    count = square.numel()
    # Squared lengths are exponential: their mean has a standard error of itself over root n.
    assert square.mean().item() == pytest.approx(pct**2, rel=5 / math.sqrt(count))
    assert square.sqrt().mean().item() == pytest.approx(pct * math.sqrt(math.pi) / 2, rel=0.02)
    each = pct / math.sqrt(2)
    assert pct_of_iod.mean((0, 1)).abs().max() < 5 * each / math.sqrt(count)
    torch.testing.assert_close(pct_of_iod.std(dim=(0, 1)), torch.full((2,), each).double(),
                               rtol=0.03, atol=0)
    across, down = pct_of_iod.flatten(0, 1).T
    assert abs((across * down).mean().item()) < 5 * each**2 / math.sqrt(count)


def test_a_face_errs_alike_in_any_order_and_company():
    faces = faces_at(12, samples=np.arange(12) * 1_000_003 - 2**62)
    whole = with_landmark_noise(faces, 4.5, seed=2)
    order = torch.tensor([7, 3, 3, 11])
    part = with_landmark_noise(faces.take(order), 4.5, seed=2)
    assert torch.equal(part.landmarks_px, whole.landmarks_px[order])
    assert not torch.equal(whole.landmarks_px[0], whole.landmarks_px[1])
    other = with_landmark_noise(faces, 4.5, seed=3)
    assert not torch.equal(other.landmarks_px, whole.landmarks_px)
    twice = with_landmark_noise(faces, 9.0, seed=2)
    torch.testing.assert_close(twice.landmarks_px - 40, 2 * (whole.landmarks_px - 40))


def test_no_noise_changes_nothing_and_unknown_landmarks_stay_unknown():
    faces = faces_at(4)
    assert with_landmark_noise(faces, 0.0) is faces
    faces.landmarks_px[1] = torch.nan
    moved = with_landmark_noise(faces, 3.0).landmarks_px
    assert moved[1].isnan().all()
    assert moved[[0, 2, 3]].isfinite().all()
    assert moved.dtype == torch.float32
    assert torch.equal(faces.landmarks_px[0], torch.full((68, 2), 40.0))


@pytest.mark.parametrize("pct", [-1.0, float("nan"), float("inf")])
def test_impossible_noise_is_refused(pct):
    with pytest.raises(ValueError, match="landmark noise"):
        with_landmark_noise(faces_at(1), pct)
