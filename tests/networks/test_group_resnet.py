"""The trunk of the ResNets: published sizes, a start as identities, refusals."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import BasicBlock, Bottleneck

from fer_lib.networks.group_resnet import trunk, trunk_features


@pytest.mark.parametrize(("depth", "published"), [(18, resnet18), (50, resnet50)])
def test_the_published_width_has_the_published_convolutions(depth, published):
    with torch.device("meta"):
        pair = [trunk(depth, 64, 224), published()]
    ours, theirs = (
        [m.weight.shape for m in network.modules() if isinstance(m, nn.Conv2d)] for network in pair
    )
    assert ours == theirs


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("size", [32, 128])
def test_features_are_counted(depth, size):
    answer = trunk(depth, 8, size)(torch.rand(2, 3, size, size))
    assert answer.shape[2:] == (2, 2)
    assert answer[0].numel() == trunk_features(depth, 8)


def test_blocks_start_as_identities(generator):
    for depth in (18, 50):
        for block in trunk(depth, 8, 32):
            if isinstance(block, BasicBlock | Bottleneck) and block.downsample is None:
                features = torch.rand(1, block.conv1.in_channels, 4, 4, generator=generator)
                assert torch.equal(block(features), features)


@pytest.mark.parametrize(("depth", "width"), [(34, 64), (18, 30), (18, 0)])
def test_networks_that_do_not_exist_are_refused(depth, width):
    with pytest.raises(ValueError, match="expected depth 18 or 50"):
        trunk(depth, width, 64)
