import math

import pytest
import torch

from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import (
    Head,
    LandmarkFusion,
    Weighting,
    build,
    landmark_weight,
)


def small_fusion(seed=0, **options):
    torch.manual_seed(seed)
    return LandmarkFusion(RgbArm(8, 48, 4), LandmarkArm(8, 160, 2), **options)


def inputs(count=3, seed=1):
    torch.manual_seed(seed)
    valid = torch.ones(count, dtype=torch.bool)
    return torch.rand(count, 3, 48, 48), (torch.rand(count, 1, 160, 160) > 0.9).float(), valid


# Landmark probabilities (.5, .3, .2): confidence .5; the RGB branch says class 0 or class 1.
LOGITS = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.2)]])
AGREEING = torch.tensor([[2.0, 1.0, 0.0]])
DISAGREEING = torch.tensor([[1.0, 2.0, 0.0]])


@pytest.mark.parametrize(
    ("weighting", "agree", "disagree"),
    [("none", 1, 1), ("confidence", 0.5, 0.5), ("agreement", 1, 0.6), ("both", 0.5, 0.3)],
)
def test_weight_truth_table(weighting, agree, disagree):
    known = torch.tensor([True])
    mode = Weighting(weighting)
    assert landmark_weight(LOGITS, AGREEING, known, mode).item() == pytest.approx(agree)
    assert landmark_weight(LOGITS, DISAGREEING, known, mode).item() == pytest.approx(disagree)
    assert landmark_weight(LOGITS, AGREEING, ~known, mode).item() == 0


def test_confidence_lies_between_chance_and_one():
    logits = torch.randn(500, 7) * 20
    logits[0] = 0
    known = torch.ones(500, dtype=torch.bool)
    weight = landmark_weight(logits, logits, known, Weighting.CONFIDENCE)
    assert weight.min() == pytest.approx(1 / 7)
    assert weight.max() <= 1


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_flows_through_confidence_unless_detached(detach):
    logits = LOGITS.clone().requires_grad_()
    weight = landmark_weight(
        logits, AGREEING, torch.tensor([True]), Weighting.BOTH, detach_confidence=detach
    )
    assert weight.requires_grad is not detach


def test_fused_logits_are_the_head_over_both_features():
    network = small_fusion().eval()
    images, heatmaps, valid = inputs()
    valid[1] = False
    with torch.no_grad():
        output = network(images, heatmaps, valid)
        rgb, landmark = network.rgb(images), network.landmark(heatmaps)
    expected = torch.cat([rgb.feature, output.weight[:, None] * landmark.feature], dim=1)
    torch.testing.assert_close(output.logits, network.fc(expected))
    torch.testing.assert_close(output.rgb_logits, rgb.logits)
    torch.testing.assert_close(output.landmark_logits, landmark.logits)
    assert output.weight[1] == 0


def test_published_sizes_join_to_242_numbers():
    network = LandmarkFusion(RgbArm(7), LandmarkArm(7))
    assert network.fc.in_features == 242


def test_a_head_over_log_probabilities_sees_classes_and_landmarks():
    network = small_fusion(head=Head.LOG_PROBABILITIES).eval()
    assert network.fc.in_features == 8 + network.landmark.arm.feature_length
    with torch.no_grad():
        output = network(*inputs())
        log_p = network.rgb(inputs()[0]).logits.log_softmax(dim=1)
        joined = torch.cat([log_p, output.weight[:, None] * output.landmark_feature], dim=1)
        torch.testing.assert_close(output.logits, network.fc(joined))


def test_unknown_landmarks_do_not_touch_the_answer():
    network = small_fusion().eval()
    images, heatmaps, valid = inputs()
    with torch.no_grad():
        drawn = network(images, heatmaps, ~valid).logits
        empty = network(images, torch.zeros_like(heatmaps), ~valid).logits
    torch.testing.assert_close(drawn, empty)


def test_warm_start_gives_the_rgb_branchs_answers_exactly():
    network = small_fusion().eval()
    network.warm_start()
    with torch.no_grad():
        output = network(*inputs())
    torch.testing.assert_close(output.logits, output.rgb_logits, atol=1e-6, rtol=0)


def test_warm_start_over_log_probabilities_gives_the_rgb_branchs_probabilities_exactly():
    network = small_fusion(head="log_probabilities").eval()
    network.warm_start()
    with torch.no_grad():
        output = network(*inputs())
    torch.testing.assert_close(output.logits, output.rgb_logits.log_softmax(dim=1))
    torch.testing.assert_close(output.logits.softmax(dim=1), output.rgb_logits.softmax(dim=1))


def test_an_rgb_branch_that_is_not_frozen_learns_and_switches_with_the_rest():
    network = small_fusion(rgb_frozen=False)
    assert all(part.training for part in network.train().rgb.modules())
    assert not any(part.training for part in network.eval().rgb.modules())
    network.train()(*inputs()).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.rgb.trunk.parameters())
    # The fused loss never reaches the branch's own head.
    assert all(parameter.grad is None for parameter in network.rgb.fc.parameters())


def test_a_branch_that_was_frozen_can_learn_again():
    frozen = small_fusion()
    again = LandmarkFusion(frozen.rgb, frozen.landmark, rgb_frozen=False)
    assert all(parameter.requires_grad for parameter in again.rgb.parameters())


def test_rgb_branch_stays_frozen_whatever_is_asked():
    network = small_fusion()
    network.train()
    assert network.landmark.training
    assert not any(part.training for part in network.rgb.modules())
    network(*inputs()).logits.sum().backward()
    assert all(parameter.grad is None for parameter in network.rgb.parameters())
    assert all(parameter.grad is not None for parameter in network.landmark.trunk.parameters())


@pytest.mark.parametrize("options", [
    {"weighting": Weighting.AGREEMENT, "disagreement_weight": 0.3},
    {"head": Head.LOG_PROBABILITIES, "rgb_frozen": False},
])
def test_build_makes_the_same_network_again(options):
    network = small_fusion(**options).eval()
    again = build(network.config).eval()
    again.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(again(*inputs()).logits, network(*inputs()).logits)
    assert again.config == network.config


def test_a_config_from_before_there_were_heads_is_the_published_design():
    config = small_fusion().config
    old = {name: value for name, value in config.items() if name not in ("head", "rgb_frozen")}
    assert build(old).config == config


def test_build_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="landmark_fusion"):
        build({"network": "vgg"})


def test_pooling_before_relu_gives_table_1s_numbers_and_gradients_bit_by_bit():
    branch = small_fusion().landmark
    written = list(branch.trunk)
    pools = [at for at, part in enumerate(written) if isinstance(part, torch.nn.MaxPool2d)]
    for at in pools:
        assert isinstance(written[at + 1], torch.nn.ReLU)
        written[at], written[at + 1] = torch.nn.ReLU(), written[at]
    assert len(pools) == 4
    answers = []
    for trunk in (branch.trunk, torch.nn.Sequential(*written)):
        branch.zero_grad()
        cells = trunk(inputs()[1])
        cells.square().sum().backward()
        answers.append((cells.detach(), *(p.grad.clone() for p in branch.trunk.parameters())))
    assert all(torch.equal(first, second) for first, second in zip(*answers, strict=True))


def test_arm_computes_in_float32_under_bf16():
    arm = small_fusion().landmark.arm.train()
    cells = torch.randn(4, 32, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = arm.own_map(cells)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, arm.own_map(cells.float()))
