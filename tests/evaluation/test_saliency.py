import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from fer_lib.evaluation.saliency import LandmarkLayer, branch_saliency, grad_cam_pp
from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.weights import state_hash


class Linear(nn.Module):
    """Logits are a weighted sum of cells, and the cells are the input: gradients are the weights.

    ``reading`` is (C, K, h, w).
    """

    def __init__(self, reading):
        super().__init__()
        self.cells = nn.Identity()
        self.reading = nn.Parameter(torch.as_tensor(reading, dtype=torch.float32))

    def forward(self, inputs):
        return torch.einsum("bkhw,ckhw->bc", self.cells(inputs), self.reading)


def published_map(network, layer, images, target, epsilon=1e-6):
    """Grad-CAM++ of each sample alone, in float64, in the form in which it is usually written."""
    network, layer = copy.deepcopy((network, layer))
    network.double().eval().requires_grad_(True)
    maps = []
    for image, wanted in zip(images.double(), target, strict=True):
        seen = []
        hook = layer.register_forward_hook(lambda _layer, _in, out, seen=seen: seen.append(out))
        output = network(image[None].requires_grad_())
        hook.remove()
        logits = getattr(output, "logits", output)
        (gradient,) = torch.autograd.grad(logits[0, wanted], seen)
        a, g = seen[0][0].detach().numpy(), gradient[0].numpy()
        bottom = 2 * g**2 + a.sum(axis=(1, 2))[:, None, None] * g**3 + epsilon
        w = (np.maximum(g, 0) * g**2 / bottom).sum(axis=(1, 2))
        raw = np.maximum(np.tensordot(w, a, axes=1), 0)
        maps.append(stretch(raw, image.shape[-2:]))
    return np.stack(maps)


def stretch(cells, size):
    """Bilinear between the centres of cells, clamped at the border, then from 0 to 1."""
    for axis, length in enumerate(size):
        count = cells.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
        lower = np.minimum(place.astype(int), count - 2)
        part = (place - lower).reshape((-1, 1) if axis == 0 else (1, -1))
        near, far = cells.take(lower, axis), cells.take(lower + 1, axis)
        cells = near * (1 - part) + far * part
    return (cells - cells.min()) / np.ptp(cells)


def small_fusion(seed=0, **options):
    torch.manual_seed(seed)
    network = LandmarkFusion(RgbArm(7, 48, 4), LandmarkArm(7, 160, 2), **options)
    # Batch norm and ARM have seen something, so that evaluation differs from training.
    network.rgb.train()
    network.landmark.train()
    images, heatmaps, _ = inputs(12, seed=9)
    with torch.no_grad():
        for _ in range(3):
            network.rgb(images)
            network.landmark(heatmaps)
    return network.eval()


def inputs(count=4, seed=1):
    torch.manual_seed(seed)
    valid = torch.ones(count, dtype=torch.bool)
    return torch.rand(count, 3, 48, 48), (torch.rand(count, 1, 160, 160) > 0.9).float(), valid


def state_of(network):
    parts = [(part.training, len(part._forward_hooks)) for part in network.modules()]
    needs = [(weight.requires_grad, weight.grad) for weight in network.parameters()]
    return state_hash(network.state_dict()), parts, needs


def test_hand_computed_map():
    # Channel 0: A = 1 2 / 0 1, g = 1 everywhere: α = 1/(2 + 4·1) = 1/6, w = 4/6.
    # Channel 1: A = 0 0 / 3 0, g = 2 at one cell, −5 at another: α = 1/(2 + 3·2) = 1/8, w = 2/8.
    # ΣwA = 2/3 4/3 / 3/4 2/3; from 2/3 to 4/3: 0 1 / 1/8 0.
    reading = torch.tensor([[[[1, 1], [1, 1]], [[2, 0], [0, -5]]]])
    cells = torch.tensor([[[[1.0, 2], [0, 1]], [[0, 0], [3, 0]]]])
    network = Linear(reading)
    saliency = grad_cam_pp(network, network.cells, cells, epsilon=0.0)
    torch.testing.assert_close(saliency.maps, torch.tensor([[[0, 1], [1 / 8, 0]]]))
    assert saliency.found.tolist() == [True]
    assert saliency.maps.dtype == torch.float32


def test_hand_computed_effect_of_epsilon():
    # g = 1 in a channel with ΣA = 1, and g = 1 in one with ΣA = 2: w = 1/(3+ε) and 1/(4+ε).
    network = Linear([[[[1, 0, 0]], [[1, 0, 0]]]])
    cells = torch.tensor([[[[0.0, 1, 0]], [[0, 0, 2]]]])
    for epsilon in (0.0, 1.0, 5.0):
        maps = grad_cam_pp(network, network.cells, cells, epsilon=epsilon).maps
        expected = (1 / (3 + epsilon)) / (2 / (4 + epsilon))
        torch.testing.assert_close(maps, torch.tensor([[[0, expected, 1]]]))


def test_hand_computed_map_of_negative_cells():
    # g = 1 at one cell, ΣA = 3, w = 1/5: wA = −1/5 1/5 3/5, of which the ReLU leaves 0 1/5 3/5.
    network = Linear([[[[1, 0, 0]]]])
    cells = torch.tensor([[[[-1.0, 1, 3]]]])
    saliency = grad_cam_pp(network, network.cells, cells, epsilon=0.0)
    torch.testing.assert_close(saliency.maps, torch.tensor([[[0, 1 / 3, 1]]]))


@pytest.mark.parametrize("place", [(0, 0), (2, 5), (7, 7), (4, 1)])
def test_the_peak_is_where_the_logit_reads(place):
    # One channel per cell, active there alone; each class reads one of them.
    reader = Linear(torch.diag_embed(torch.eye(64)).reshape(64, 64, 8, 8))
    network = nn.Sequential(nn.AvgPool2d(4), OneChannelPerCell(), reader)
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.1
    target = torch.tensor([place[0] * 8 + place[1]])
    saliency = grad_cam_pp(network, reader.cells, image, target)
    row, column = divmod(int(saliency.maps[0].argmax()), 32)
    assert (row // 4, column // 4) == place
    # Bilinear stretching reaches half a cell beyond the cell itself.
    top, left = (max(0, 4 * cell - 2) for cell in place)
    near = torch.zeros(32, 32, dtype=torch.bool)
    near[top : 4 * place[0] + 6, left : 4 * place[1] + 6] = True
    assert saliency.maps[0][~near].max() == 0


class OneChannelPerCell(nn.Module):
    def forward(self, cells):
        return torch.diag_embed(cells.flatten(1)).reshape(len(cells), -1, *cells.shape[2:])


@pytest.mark.parametrize("epsilon", [1e-6, 1e-3])
def test_branches_match_the_published_formula_in_float64(epsilon):
    network, (images, heatmaps, _) = small_fusion(), inputs()
    targets = torch.tensor([0, 3, 6, 2])
    cases = [
        (network.rgb, network.rgb.trunk.layer4, images),
        (network.landmark, network.landmark.trunk[-1], heatmaps),
        (network.landmark, network.landmark.trunk[18], heatmaps),
    ]
    for branch, layer, seen in cases:
        saliency = grad_cam_pp(branch, layer, seen, targets, epsilon=epsilon)
        expected = published_map(branch, layer, seen, targets, epsilon)
        assert saliency.found.all()
        np.testing.assert_allclose(saliency.maps.numpy(), expected, atol=5e-5)


def test_tiny_gradients_keep_their_map():
    # Cubes of 1e-20 are 0 in float32; the formula itself, without epsilon, is not.
    torch.manual_seed(0)
    reading, cells = torch.rand(2, 3, 5, 5), torch.rand(4, 3, 5, 5)
    large, small = Linear(reading), Linear(reading * 1e-20)
    targets = torch.tensor([0, 1, 0, 1])
    expected = published_map(small, small.cells, cells, targets, epsilon=0.0)
    saliency = grad_cam_pp(small, small.cells, cells, targets, epsilon=0.0)
    np.testing.assert_allclose(saliency.maps.numpy(), expected, atol=1e-4)
    assert not np.allclose(
        grad_cam_pp(large, large.cells, cells, targets).maps, expected, atol=0.01
    )


def test_each_branch_is_shown_at_its_layer_for_its_own_answer():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    both = branch_saliency(network, images, heatmaps, valid)
    assert both.rgb.maps.shape == (4, 48, 48)
    assert both.landmark.maps.shape == (4, 160, 160)
    assert both.rgb.targets.tolist() == network.rgb(images).logits.argmax(1).tolist()
    own = network.landmark(heatmaps).logits.argmax(1)
    assert both.landmark.targets.tolist() == own.tolist()
    expected = published_map(network.rgb, network.rgb.trunk.layer4, images, both.rgb.targets)
    np.testing.assert_allclose(both.rgb.maps.numpy(), expected, atol=5e-5)
    before_arm = network.landmark.trunk[-1]
    expected = published_map(network.landmark, before_arm, heatmaps, own)
    np.testing.assert_allclose(both.landmark.maps.numpy(), expected, atol=5e-5)


def test_branches_do_not_look_at_each_other_nor_at_the_fused_head():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    before = branch_saliency(network, images, heatmaps, valid)
    nn.init.normal_(network.fc.weight)
    other = branch_saliency(network, images.flip(0), heatmaps, valid)
    assert torch.equal(before.landmark.maps, other.landmark.maps)
    torch.testing.assert_close(before.rgb.maps, other.rgb.maps.flip(0), atol=1e-4, rtol=0)
    assert not torch.allclose(before.rgb.maps, other.rgb.maps, atol=0.1)


def test_the_fifth_convolution_is_the_fifth():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    trunk = list(network.landmark.trunk)
    convolutions = [place for place, part in enumerate(trunk) if isinstance(part, nn.Conv2d)]
    assert isinstance(trunk[convolutions[4] + 2], nn.ReLU)
    fifth = branch_saliency(network, images, heatmaps, valid, layer=LandmarkLayer.FIFTH).landmark
    named = grad_cam_pp(network.landmark, trunk[convolutions[4] + 2], heatmaps)
    assert torch.equal(fifth.maps, named.maps)
    last = branch_saliency(network, images, heatmaps, valid).landmark
    assert not torch.allclose(fifth.maps, last.maps, atol=0.1)
    with pytest.raises(ValueError, match="sixth"):
        branch_saliency(network, images, heatmaps, valid, layer="sixth")


def test_targets_choose_what_is_shown():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    wanted = torch.tensor([6, 5, 4, 3])
    shown = branch_saliency(network, images, heatmaps, valid, wanted)
    other = branch_saliency(network, images, heatmaps, valid, (wanted + 1) % 7)
    for branch, changed in zip(shown, other, strict=True):
        assert branch.targets.tolist() == wanted.tolist()
        assert not torch.allclose(branch.maps, changed.maps, atol=0.05)


@pytest.mark.parametrize("affinity", ["running", "none"])
def test_a_map_does_not_depend_on_the_batch_nor_on_the_order(affinity):
    network, (images, heatmaps, valid) = small_fusion(), inputs(64)
    with affinity_policy(network, SharingAffinity(affinity)):
        whole = branch_saliency(network, images, heatmaps, valid)
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        # All 64 at once, sevens, and some alone, in another order.
        for size, count in ((64, 64), (7, 64), (1, 6)):
            for part in order[:count].split(size):
                some = branch_saliency(network, images[part], heatmaps[part], valid[part])
                for all_of, few in zip(whole, some, strict=True):
                    assert torch.equal(few.targets, all_of.targets[part])
                    assert torch.equal(few.found, all_of.found[part])
                    torch.testing.assert_close(few.maps, all_of.maps[part], atol=5e-5, rtol=0)


def test_batch_affinity_is_refused_in_one_sentence():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    before = state_of(network)
    with affinity_policy(network, SharingAffinity.BATCH):
        with pytest.raises(ValueError, match=r"'running' or 'none', got 'batch'.*affinity_policy"):
            branch_saliency(network, images, heatmaps, valid)
    assert state_of(network) == before


def test_a_frozen_branch_has_the_map_of_a_free_one():
    network, (images, _, _) = small_fusion(), inputs()
    assert not any(weight.requires_grad for weight in network.rgb.parameters())
    frozen = grad_cam_pp(network.rgb, network.rgb.trunk.layer4, images)
    free = copy.deepcopy(network.rgb).requires_grad_(True)
    assert torch.equal(frozen.maps, grad_cam_pp(free, free.trunk.layer4, images).maps)


@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_maps_are_the_same_where_gradients_are_switched_off(outside):
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    expected = branch_saliency(network, images, heatmaps, valid)
    with outside():
        off = torch.is_grad_enabled()
        # Made in here, so that in inference mode they are inference tensors.
        shown = branch_saliency(network, images * 1, heatmaps * 1, valid)
        assert torch.is_grad_enabled() == off
    for branch, same in zip(expected, shown, strict=True):
        assert torch.equal(branch.maps, same.maps)
        assert not same.maps.requires_grad


def test_the_network_is_left_as_it_was_found():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    network.train()
    network.landmark.trunk[1].eval()
    network.landmark.fc.bias.requires_grad_(False)
    network.landmark.fc.weight.grad = torch.full_like(network.landmark.fc.weight, 3.0)
    kept = network.landmark.fc.weight.grad
    hash_before, parts, _ = state_of(network)
    needs = [weight.requires_grad for weight in network.parameters()]
    generator = torch.get_rng_state()
    copies = images.clone(), heatmaps.clone()
    branch_saliency(network, images, heatmaps, valid)
    assert state_of(network)[:2] == (hash_before, parts)
    assert [weight.requires_grad for weight in network.parameters()] == needs
    assert network.landmark.fc.weight.grad is kept
    assert (kept == 3).all()
    rest = [p for p in network.parameters() if p is not network.landmark.fc.weight]
    assert all(weight.grad is None for weight in rest)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(images, copies[0])
    assert torch.equal(heatmaps, copies[1])
    assert not images.requires_grad
    assert not heatmaps.requires_grad


def test_maps_are_those_of_evaluation_mode():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    expected = branch_saliency(network, images, heatmaps, valid)
    network.train()
    shown = branch_saliency(network, images, heatmaps, valid)
    assert torch.equal(expected.landmark.maps, shown.landmark.maps)


class Fails(Linear):
    def forward(self, inputs):
        super().forward(inputs)
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("wrong", ["network", "targets", "nan"])
def test_hooks_and_modes_are_put_back_after_an_error(wrong):
    network = (Fails if wrong == "network" else Linear)(torch.ones(2, 1, 3, 3)).train()
    before = state_of(network)
    cells = torch.full((1, 1, 3, 3), float("nan") if wrong == "nan" else 1.0)
    targets = torch.tensor([9]) if wrong == "targets" else None
    with pytest.raises((RuntimeError, ValueError)):
        grad_cam_pp(network, network.cells, cells, targets)
    assert state_of(network) == before
    assert torch.is_grad_enabled()


def test_nothing_to_show_is_zeros_and_not_found():
    # Sample by sample: a class that nothing speaks for, cells of 0, cells all the same, a real one.
    network = Linear(torch.stack([torch.full((1, 4, 4), -1.0), torch.full((1, 4, 4), 1.0)]))
    cells = torch.ones(4, 1, 4, 4)
    cells[1] = 0
    cells[3, 0, 2, 2] = 2
    saliency = grad_cam_pp(network, network.cells, cells, torch.tensor([0, 1, 1, 1]))
    assert saliency.found.tolist() == [False, False, False, True]
    assert (saliency.maps[:3] == 0).all()
    assert saliency.maps[3].max() == 1


def test_rounding_alone_is_not_a_map():
    network = Linear(torch.ones(1, 1, 4, 4))
    cells = torch.ones(2, 1, 4, 4)
    cells[0, 0, 1, 1] += 2e-7
    cells[1, 0, 1, 1] += 1e-4
    assert grad_cam_pp(network, network.cells, cells).found.tolist() == [False, True]


def test_unknown_landmarks_have_no_map():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    expected = branch_saliency(network, images, heatmaps, valid)
    valid[1] = False
    both = branch_saliency(network, images, heatmaps, valid)
    assert both.rgb.found.all()
    assert both.landmark.found.tolist() == [True, False, True, True]
    assert (both.landmark.maps[1] == 0).all()
    assert torch.equal(both.landmark.maps[valid], expected.landmark.maps[valid])


def test_values_lie_between_zero_and_one_and_reach_both():
    network, (images, heatmaps, valid) = small_fusion(), inputs(16)
    for branch in branch_saliency(network, images, heatmaps, valid):
        assert branch.maps.isfinite().all()
        shown = branch.maps[branch.found].flatten(1)
        assert len(shown)
        assert (shown.amin(1) == 0).all()
        assert (shown.amax(1) == 1).all()


def test_an_in_place_step_after_the_layer_does_not_change_what_is_shown():
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)]
    nn.init.uniform_(parts[0].bias, -0.5, 0.5)
    apart = nn.Sequential(parts[0], nn.ReLU(), *parts[1:])
    in_place = nn.Sequential(parts[0], nn.ReLU(inplace=True), *parts[1:])
    images = torch.rand(5, 1, 8, 8)
    expected = published_map(apart, apart[0], images, apart(images).argmax(1).tolist())
    for network in (apart, in_place):
        shown = grad_cam_pp(network, network[0], images)
        np.testing.assert_allclose(shown.maps.numpy(), expected, atol=1e-4)


def test_maps_lie_over_the_input():
    # A lone bright cell of 4×4 lies over its own 8×8 px, whatever the shape of the input.
    network = nn.Sequential(nn.AvgPool2d(8), Linear(torch.ones(1, 1, 4, 6)))
    image = torch.zeros(1, 1, 32, 48)
    image[0, 0, 8:16, 40:48] = 1
    maps = grad_cam_pp(network, network[1].cells, image).maps
    cell = torch.zeros(1, 1, 4, 6)
    cell[0, 0, 1, 5] = 1
    stretched = interpolate(cell, (32, 48), mode="bilinear")[0]
    torch.testing.assert_close(maps, stretched / stretched.max())
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    assert (maps[0] * rows).sum() / maps[0].sum() == pytest.approx(11.5, abs=0.01)
    assert (maps[0] * columns).sum() / maps[0].sum() > 40


def test_no_samples_have_no_maps():
    network = Linear(torch.ones(2, 1, 3, 3))
    saliency = grad_cam_pp(network, network.cells, torch.zeros(0, 1, 3, 3))
    assert saliency.maps.shape == (0, 3, 3)
    assert saliency.found.shape == saliency.targets.shape == (0,)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0]), r"shape \(3,\)"),
        (torch.tensor([[0], [1], [0]]), r"shape \(3,\)"),
        (torch.tensor([0.0, 1.0, 0.0]), "int64"),
        (torch.tensor([0, 1, 2]), "from 0 to 1"),
        (torch.tensor([0, -1, 1]), "from 0 to 1"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, message):
    network = Linear(torch.ones(2, 1, 3, 3))
    with pytest.raises(ValueError, match=message):
        grad_cam_pp(network, network.cells, torch.ones(3, 1, 3, 3), targets)


class Twice(Linear):
    def forward(self, inputs):
        return super().forward(self.cells(inputs))


class Beside(Linear):
    def forward(self, inputs):
        self.cells(inputs)
        return inputs.mean(dim=(2, 3)) * self.reading.mean()


class Without(Linear):
    def forward(self, inputs):
        with torch.no_grad():
            return super().forward(inputs)


@pytest.mark.parametrize(
    ("kind", "layer", "message"),
    [
        (Twice, "cells", "ran 2 times"),
        (Beside, "cells", "gradient towards the layer"),
        (Without, "cells", "gradient towards the layer"),
        (Linear, "absent", "a layer of the network"),
        (Linear, "idle", "ran 0 times"),
        (Linear, "", r"\(B, K, h, w\), got \(3, 2\)"),
    ],
)
def test_layers_that_cannot_be_shown_are_refused(kind, layer, message):
    network = kind(torch.ones(2, 1, 3, 3))
    network.idle = nn.Identity()
    step = nn.Identity() if layer == "absent" else network.get_submodule(layer)
    with pytest.raises(ValueError, match=message):
        grad_cam_pp(network, step, torch.ones(3, 1, 3, 3))


def test_a_network_without_logits_is_refused():
    network = nn.Sequential(nn.Identity())
    with pytest.raises(ValueError, match=r"logits \(B, C\), got \(1, 1, 3, 3\)"):
        grad_cam_pp(network, network[0], torch.ones(1, 1, 3, 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named_and_refused(value):
    network = Linear(torch.ones(2, 1, 3, 3))
    cells = torch.ones(4, 1, 3, 3)
    cells[1, 0, 0, 0] = cells[3, 0, 1, 1] = value
    with pytest.raises(ValueError, match=r"in samples \[1, 3\]"):
        grad_cam_pp(network, network.cells, cells)


def test_logits_that_are_not_finite_are_refused_although_the_map_is():
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(9, 2))
    nn.init.ones_(network[2].weight)
    network[2].bias.data[1] = torch.nan
    with pytest.raises(ValueError, match=r"in samples \[0, 1\]"):
        grad_cam_pp(network, network[0], torch.rand(2, 1, 3, 3), torch.tensor([0, 0]))


def test_different_numbers_of_samples_are_refused():
    network, (images, heatmaps, valid) = small_fusion(), inputs()
    with pytest.raises(ValueError, match=r"\[4, 3, 4\]"):
        branch_saliency(network, images, heatmaps[:3], valid)
