import numpy as np
import torch

from fer_lib.evaluation.image_pairs import check_pair, region_means, stack_regions, unit_range

BYTES = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)


def test_bytes_and_floats_of_the_same_picture_agree():
    first, _ = check_pair(BYTES[..., ::-1], torch.from_numpy(BYTES))
    assert first.shape == (2, 3, 40, 40)
    expected = torch.from_numpy(BYTES[..., ::-1].copy()).permute(0, 3, 1, 2).double() / 255
    assert torch.equal(unit_range(first, torch.float64), expected)


def test_means_are_weighted_and_nan_where_empty():
    values = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    weights = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    means = region_means(values, weights)
    assert means[0, 0] == 3.5 and means[0, 1].isnan()


def test_regions_are_weights_beside_the_whole():
    planes = torch.zeros(2, 3, 4, 5)
    half = torch.zeros(2, 4, 5, dtype=torch.bool)
    half[:, :2] = True
    names, weights = stack_regions({"top": half, "soft": half * 0.5}, planes)
    assert names == ("full", "top", "soft") and weights.dtype == torch.float32
    assert weights.sum(dim=(2, 3)).tolist() == [[20, 10, 5]] * 2
