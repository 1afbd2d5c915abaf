"""Fused layers against the plain ones they replace, at sides that TensorFlow pads unevenly."""

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from fer_lib.networks.fused_convolution import FusedConvolution, GateInPlace, can_fuse

KNOWN = pytest.mark.skipif(
    not can_fuse(nn.Conv2d(1, 1, 1), nn.SiLU()), reason="this processor has no such kernels"
)


@KNOWN
@pytest.mark.parametrize("side", [12, 13, 32, 33])
@pytest.mark.parametrize("activation", [nn.SiLU(), nn.Identity()])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv2dSame(8, 16, 3, stride=2),
        lambda: Conv2dSame(16, 16, 5, stride=2, groups=16),
        lambda: nn.Conv2d(8, 8, 3, padding=1, groups=8),
        lambda: nn.Conv2d(8, 24, 1),
    ],
)
def test_it_convolves_as_the_plain_layer(make, activation, side):
    torch.manual_seed(0)
    plain = make().to(memory_format=torch.channels_last)
    images = torch.randn(2, plain.in_channels, side, side).to(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(
            FusedConvolution(plain, activation)(images), activation(plain(images)),
            atol=1e-5, rtol=1e-5,
        )  # fmt: skip


def test_the_gate_scales_as_timms():
    gate = SqueezeExcite(16, 4).eval()
    images = torch.randn(2, 16, 5, 5)
    with torch.no_grad():
        wanted = gate(images)
        torch.testing.assert_close(GateInPlace(gate)(images.clone()), wanted)


def test_unknown_activations_and_old_processors_stay_plain(monkeypatch):
    assert not can_fuse(nn.Conv2d(1, 1, 1), nn.ReLU())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": False})
    assert not can_fuse(nn.Conv2d(1, 1, 1), nn.SiLU())


def test_a_network_without_these_kernels_answers_the_same(monkeypatch):
    from fer_lib.networks.emotion_engine import EmotionEngine
    from fer_lib.networks.emotion_net import EmotionNet

    torch.manual_seed(0)
    network, images = EmotionNet("tiny", image_size=64).eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        fused = EmotionEngine(network)(images).feature
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
        plain = EmotionEngine(network)(images).feature
    torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-3)
