"""Tight crops: anchors in the seed's frame, flags for what could not be aligned."""

import numpy as np
import pytest
import torch

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.preprocess import write_batches
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.faces.align import LOOSE_FRAME, SEED_FRAME, five_points, frame_points
from fer_lib.faces.heatmap import draw_heatmaps
from fer_lib.faces.warp import resize_points
from fer_lib.tables import sample_table

SIZE = 64


def landmark_sets(k):
    """An aligned face, a jittered one, a profile and an unknown one, `(4, k, 2)`."""
    left, right, mouth = frame_points(LOOSE_FRAME, SIZE).float()
    nose = (left + right + mouth) / 3
    aside = torch.tensor([6.0, 0.0])
    five = torch.stack((left, right, nose, mouth - aside, mouth + aside))
    profile = five.clone()
    profile[:, 0] = torch.tensor([32.0, 33.0, 36.0, 32.0, 33.0])
    sets = [five, five + torch.tensor([3.0, -2.0]), profile, torch.full((5, 2), torch.nan)]
    if k == 5:
        return torch.stack(sets).numpy()
    points = torch.zeros(4, 68, 2)
    for row, some in enumerate(sets):
        points[row, :36] = some[2]
        points[row, 36:42], points[row, 42:48] = some[0], some[1]
        points[row, 30], points[row, 48], points[row, 54] = some[2], some[3], some[4]
    return points.numpy()


@pytest.fixture(params=[5, 68])
def store(request, tmp_path):
    rng = np.random.default_rng(0)
    samples = sample_table([{"sample_id": str(i)} for i in range(4)])
    faces = rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    batches = [(samples, faces, landmark_sets(request.param), None)]
    card = StoreCard("test", "none", "loose")
    return write_batches(
        batches, tmp_path / "s", n=4, size=SIZE, n_landmarks=request.param, card=card
    )


@pytest.mark.parametrize("size", [48, 100, 112])
def test_anchors_lie_where_the_seed_puts_them(store, size):
    crops = cut_tight_crops(store, [0, 1], size)
    five = five_points(crops.landmarks)
    anchors = torch.cat((five[:, :2], five[:, 3:].mean(1, keepdim=True)), dim=1)
    assert crops.faces.shape == (2, size, size, 3)
    assert (anchors - frame_points(SEED_FRAME, size)).abs().max() < 1e-4


def test_flags_tell_affine_similarity_and_unusable_apart(store):
    crops = cut_tight_crops(store, [0, 1, 2, 3], 48)
    assert crops.degenerate.tolist() == [False, False, True, True]
    assert crops.valid.tolist() == [True, True, True, False]


def test_an_unusable_face_is_the_whole_loose_crop_with_an_empty_heat_map(store):
    crops = cut_tight_crops(store, [3], SIZE // 2)
    whole = torch.from_numpy(store.faces[3].copy()).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.avg_pool2d(whole, 2)[0].permute(1, 2, 0)
    assert (crops.faces[0].float() - expected).abs().max() <= 0.51
    assert crops.landmarks.isnan().all()
    assert draw_heatmaps(crops.landmarks, 48).sum() == 0


def test_heat_maps_have_discs_at_the_anchors_at_any_size(store):
    crops = cut_tight_crops(store, [0], 48)
    for size in (48, 112, 224):
        drawn = draw_heatmaps(resize_points(crops.landmarks, 48, size), size)
        assert drawn.shape == (1, 1, size, size)
        for x, y in (frame_points(SEED_FRAME, size)[:2] + 0.5).floor().int().tolist():
            assert drawn[0, 0, y, x] == 1


def test_a_row_does_not_depend_on_the_others_and_repeats_are_allowed(store):
    together = cut_tight_crops(store, [3, 1, 1, 0, 2], 40)
    alone = cut_tight_crops(store, [1], 40)
    assert len(together) == 5
    for row in (1, 2):
        assert torch.equal(together.faces[row], alone.faces[0])
        assert torch.equal(together.landmarks[row], alone.landmarks[0])


def test_no_positions_give_no_crops(store):
    crops = cut_tight_crops(store, [], 40)
    assert crops.faces.shape == (0, 40, 40, 3)
    assert len(crops) == 0
