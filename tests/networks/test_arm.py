import pytest
import torch

from fer_lib.networks.arm import (
    AmendRepresentation,
    SharingAffinity,
    affinity_policy,
    arm_side,
    nearest_shuffle,
)


def trained_arm(affinity=SharingAffinity.RUNNING, steps=3, shuffle=4, cells=4):
    torch.manual_seed(0)
    arm = AmendRepresentation(shuffle, (cells, cells), affinity)
    arm.train()
    for _ in range(steps):
        arm(torch.randn(8, 2 * shuffle**2, cells, cells) + 1)
    return arm.eval()


def test_published_module_has_1029_parameters_and_121_numbers():
    arm = AmendRepresentation()
    assert sum(parameter.numel() for parameter in arm.parameters()) == 1029
    assert arm.own_map(torch.randn(2, 512, 7, 7)).shape == (2, 11, 11)
    assert arm(torch.randn(2, 512, 7, 7)).shape == (2, 121)


def test_released_names_and_shapes_are_kept():
    state = AmendRepresentation().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    released = {
        "de_albino.weight": (1, 1, 32, 32), "alpha": (1,), "bn.weight": (2,), "bn.bias": (2,),
        "bn.running_mean": (2,), "bn.running_var": (2,), "bn.num_batches_tracked": (),
    }
    assert released.items() <= shapes.items()
    assert shapes.keys() - released.keys() == {"affinity_mean", "affinity_batches"}


@pytest.mark.parametrize(
    ("channels", "shuffle"), [(512, 16), (128, 8), (256, 12), (288, 12), (64, 6), (2, 2)]
)
def test_nearest_shuffle_is_even_and_near(channels, shuffle):
    assert nearest_shuffle(channels) == shuffle


@pytest.mark.parametrize("shuffle", [4, 8, 12])
@pytest.mark.parametrize("cells", [(2, 2), (3, 5), (8, 8)])
def test_side_does_not_depend_on_the_shuffle_factor(shuffle, cells):
    arm = AmendRepresentation(shuffle, cells)
    expected = arm_side(cells[0]) * arm_side(cells[1])
    assert arm(torch.randn(3, 2 * shuffle**2, *cells)).shape == (3, expected)
    assert arm.feature_length == expected


def test_too_small_maps_and_odd_factors_are_refused():
    with pytest.raises(ValueError, match="2×2 cells"):
        AmendRepresentation(4, (1, 4))
    with pytest.raises(ValueError, match="even"):
        AmendRepresentation(3)


def test_pixel_shuffle_turns_each_half_of_the_channels_into_one_map():
    arm = AmendRepresentation(4, (2, 2))
    cells = torch.zeros(1, 32, 2, 2)
    cells[:, :16] = 1
    maps = arm.arrangement(cells)
    assert maps.shape == (1, 2, 8, 8)
    assert maps[0, 0].eq(1).all()
    assert maps[0, 1].eq(0).all()


def test_one_kernel_serves_both_maps_as_a_loop_over_maps_does():
    arm = trained_arm()
    cells = torch.randn(5, 32, 4, 4)
    maps = arm.arrangement(cells)
    looped = torch.cat([arm.de_albino(maps[:, i : i + 1]) for i in range(2)], dim=1)
    torch.testing.assert_close(arm.own_map(cells), arm.bn(looped).mean(dim=1))


def test_batch_affinity_adds_alpha_times_the_mean_logits_of_the_batch():
    arm = trained_arm(SharingAffinity.BATCH)
    arm.alpha.data.fill_(0.7)
    head = torch.nn.Linear(arm.feature_length, 7)
    cells = torch.randn(6, 32, 4, 4)
    own = arm.own_map(cells).flatten(1) @ head.weight.T
    expected = own + 0.7 * own.mean(dim=0) + head.bias
    torch.testing.assert_close(head(arm(cells)), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("affinity", [SharingAffinity.RUNNING, SharingAffinity.NONE])
def test_per_sample_answers_ignore_batch_and_order(affinity):
    arm = trained_arm(affinity)
    cells = torch.randn(9, 32, 4, 4)
    together = arm(cells)
    order = torch.randperm(9)
    torch.testing.assert_close(arm(cells[order]), together[order], atol=1e-6, rtol=0)
    alone = torch.cat([arm(cell[None]) for cell in cells])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


def test_batch_affinity_does_depend_on_the_batch():
    arm = trained_arm(SharingAffinity.BATCH)
    cells = torch.randn(9, 32, 4, 4)
    assert (arm(cells[:3]) - arm(cells)[:3]).abs().max() > 1e-2


def test_class_sorted_list_scores_higher_with_batch_affinity_than_per_sample():
    # The leak itself: a linear head on noisy features, batches of one class each.
    arm = trained_arm(SharingAffinity.BATCH, cells=4)
    torch.manual_seed(1)
    prototypes = torch.randn(5, 32, 4, 4)
    labels = torch.arange(5).repeat_interleave(32)
    cells = prototypes[labels] + 5 * torch.randn(160, 32, 4, 4)
    own = arm.own_map(prototypes).flatten(1)
    centred = own - own.mean(dim=0)
    head = torch.nn.functional.normalize(centred)

    def accuracy(policy):
        with affinity_policy(arm, policy), torch.no_grad():
            logits = torch.cat([arm(part) @ head.T for part in cells.split(32)])
        return (logits.argmax(dim=1) == labels).float().mean()

    assert accuracy("batch") > accuracy("running") + 0.05


def test_running_mean_is_the_plain_average_of_the_first_batches():
    torch.manual_seed(0)
    arm = AmendRepresentation(4, (3, 3)).train()
    batches = [torch.randn(6, 32, 3, 3) + shift for shift in (0, 1, 2)]
    means = []
    for cells in batches:
        arm(cells)
        swept = arm.de_albino(arm.arrangement(cells).reshape(12, 1, 12, 12)).reshape(6, 2, 3, 3)
        own = torch.nn.functional.batch_norm(swept, None, None, training=True).mean(dim=1)
        means.append(own.mean(dim=0).detach())
    torch.testing.assert_close(arm.affinity_mean, torch.stack(means).mean(dim=0))


def test_evaluation_changes_no_state():
    arm = trained_arm()
    before = {name: value.clone() for name, value in arm.state_dict().items()}
    arm(torch.randn(4, 32, 4, 4))
    with affinity_policy(arm, SharingAffinity.BATCH):
        arm(torch.randn(4, 32, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in arm.state_dict().items())


def test_policy_is_put_back_after_an_error():
    arm = trained_arm()
    with pytest.raises(RuntimeError, match="stop"), affinity_policy(arm, SharingAffinity.BATCH):
        assert arm.affinity is SharingAffinity.BATCH
        raise RuntimeError("stop")
    assert arm.affinity is SharingAffinity.RUNNING
