import pytest
import torch
import torchvision

from fer_lib.networks.branches import LandmarkArm, RgbArm


def test_published_rgb_branch_follows_the_shape_table():
    network = RgbArm(7).eval()
    assert sum(p.numel() for p in network.trunk.parameters()) == 11_176_512
    assert sum(p.numel() for p in network.arm.parameters()) == 1029
    assert sum(p.numel() for p in network.fc.parameters()) == 854
    with torch.no_grad():
        assert network.trunk(torch.rand(1, 3, 224, 224)).shape == (1, 512, 7, 7)
        output = network(torch.rand(1, 3, 224, 224))
    assert output.feature.shape == (1, 121)
    assert output.logits.shape == (1, 7)


def test_published_trunk_is_torchvisions_resnet_under_the_same_names():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    network = RgbArm(7, image_size=64, stride=32).eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    network.trunk.load_state_dict(state, strict=True)
    images = torch.rand(2, 3, 64, 64)
    expected = reference.maxpool(reference.relu(reference.bn1(reference.conv1(images))))
    for number in range(1, 5):
        expected = getattr(reference, f"layer{number}")(expected)
    torch.testing.assert_close(network.trunk(images), expected)


def test_imagenet_normalisation_is_inside_and_not_in_the_state():
    network = RgbArm(3, 48, 4).eval()
    grey = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 48, 48)
    seen = []
    network.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(grey)
    assert seen[0].abs().max() < 1e-6
    assert not {"mean", "std"} & network.state_dict().keys()


@pytest.mark.parametrize(
    ("size", "width", "stride", "cells", "channels"),
    [
        (48, 8, None, 6, 72), (64, 16, None, 8, 128), (64, 16, 16, 4, 128), (64, 32, 32, 2, 288),
        (96, 16, None, 6, 128), (112, 32, None, 7, 288), (224, 16, None, 7, 128),
    ],
)
def test_any_size_and_width_gives_a_working_branch(size, width, stride, cells, channels):
    network = RgbArm(8, size, width, stride).eval()
    with torch.no_grad():
        assert network.trunk(torch.rand(1, 3, size, size)).shape == (1, channels, cells, cells)
        assert network(torch.rand(1, 3, size, size)).logits.shape == (1, 8)


def test_published_landmark_branch_follows_table_1():
    network = LandmarkArm(7).eval()
    shapes = []
    for part in network.trunk:
        if isinstance(part, torch.nn.Conv2d | torch.nn.MaxPool2d):
            part.register_forward_hook(lambda m, i, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        output = network(torch.zeros(1, 1, 224, 224))
    assert shapes == [
        (32, 220, 220), (32, 110, 110), (64, 108, 108), (64, 54, 54), (128, 52, 52), (128, 26, 26),
        (256, 24, 24), (256, 12, 12), (512, 10, 10), (512, 7, 7),
    ]
    assert output.feature.shape == (1, 121)
    # 5.76 M with the biases that batch norm makes superfluous (1,504 of them).
    convolutions = [m.weight.numel() for m in network.trunk if isinstance(m, torch.nn.Conv2d)]
    assert sum(convolutions) + 1504 == pytest.approx(5.76e6, abs=5e3)


def test_smallest_heat_map_works_and_a_smaller_one_is_refused():
    assert LandmarkArm(8, 144, 2).arm.feature_length == 1
    with pytest.raises(ValueError, match="144"):
        LandmarkArm(8, 143, 2)


def test_wrong_input_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"\(B, 3, 48, 48\)"):
        RgbArm(8, 48, 4)(torch.rand(2, 3, 64, 64))
    with pytest.raises(ValueError, match=r"\(B, 1, 144, 144\)"):
        LandmarkArm(8, 144, 2)(torch.rand(2, 3, 144, 144))
    with pytest.raises(ValueError, match="stride"):
        RgbArm(8, 48, 4, stride=4)
