"""The denoiser: both conditions in every block, what a missing one leaves, its start, its files."""

import json

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from fer_lib.networks.denoiser import (
    BUFFER_CHANNELS,
    CARRIED,
    DOUBT,
    MASK,
    Denoiser,
    DenoiserSpec,
    drop_conditions,
    no_buffers,
    no_photograph,
)

TINY = {"size": 16, "widths": (8, 16), "attention": (8,), "groups": 4, "code_length": 6}
NORMAL_X = 3


@pytest.fixture
def denoiser():
    """A small denoiser in which nothing is zero any more."""
    torch.manual_seed(0)
    return awake(Denoiser(TINY))


@pytest.fixture
def faces(generator):
    """Four noisy pictures, their steps, buffers and codes."""
    pictures, buffers = torch.randn(4, 3 + BUFFER_CHANNELS, 16, 16, generator=generator).split(
        [3, BUFFER_CHANNELS], dim=1
    )
    buffers = buffers.clamp(-1, 1)
    buffers[:, MASK] = (buffers[:, MASK] > 0).float()
    buffers[:, DOUBT] = buffers[:, DOUBT].abs()
    return (
        pictures,
        torch.tensor([0, 30, 500, 999]),
        buffers,
        torch.randn(4, 6, generator=generator),
    )


def awake(network):
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


def blocks_of(network):
    return {n: m for n, m in network.named_modules() if isinstance(m, ResnetBlock2D)}


@pytest.mark.parametrize(
    "changes", [{}, {"blocks": 2}, {"size": 32, "widths": [8, 16, 24], "dropout": 0.1}]
)
def test_a_velocity_for_every_picture(changes):
    network = Denoiser({**TINY, **changes})
    side = network.spec.size
    answer = network(torch.rand(2, 3, side, side), 7, torch.rand(2, BUFFER_CHANNELS, side, side))
    assert answer.shape == (2, 3, side, side)
    levels, blocks = len(network.spec.widths), network.spec.blocks
    resampling, middle = 2 * (levels - 1), 2
    assert len(blocks_of(network)) == levels * (2 * blocks + 1) + resampling + middle


def test_the_recommended_size_has_the_recommended_weight():
    with torch.device("meta"):
        network = Denoiser()
    count = sum(parameter.numel() for parameter in network.parameters())
    assert 4e6 < count < 6e6


def test_half_precision_comes_out_as_it_went_in(denoiser, faces):
    half = [part.bfloat16() if part.is_floating_point() else part for part in faces]
    answer = denoiser.bfloat16()(*half)
    assert answer.dtype == torch.bfloat16
    assert answer.isfinite().all()


def test_a_fresh_denoiser_answers_zero_and_can_learn(faces):
    network = Denoiser(TINY)
    answer = network(*faces)
    assert (answer == 0).all()
    (answer - faces[0]).square().mean().backward()
    assert network.unet.conv_out.weight.grad.abs().max() > 0
    for block in blocks_of(network).values():
        assert not block.conv2.weight.any()
        assert not block.conv2.bias.any()


def test_every_block_scales_and_shifts_by_the_time_and_then_by_the_code(denoiser, generator):
    time, code = denoiser.spec.time_length, denoiser.spec.code_length
    for block in blocks_of(denoiser).values():
        inputs = torch.randn(2, block.in_channels, 8, 8, generator=generator)
        embedding = torch.randn(2, time + code, generator=generator)
        both = block.time_emb_proj
        features, straight = block.nonlinearity(block.norm1(inputs)), inputs
        for resample in (block.upsample, block.downsample):
            if resample is not None:
                features, straight = resample(features), resample(straight)
        features = block.norm2(block.conv1(features))
        given = nn.functional.silu(embedding)
        for layer, part in ((both.time, given[:, :time]), (both.code, given[:, time:])):
            scale, shift = layer(part)[:, :, None, None].chunk(2, dim=1)
            features = features * (1 + scale) + shift
        expected = block.conv2(block.nonlinearity(features))
        expected += straight if block.conv_shortcut is None else block.conv_shortcut(straight)
        torch.testing.assert_close(block(inputs, embedding), expected, rtol=1e-4, atol=1e-4)


def test_time_and_code_reach_every_block(denoiser, faces):
    denoiser(*faces).square().sum().backward()
    for name, block in blocks_of(denoiser).items():
        for layer in (block.time_emb_proj.time, block.time_emb_proj.code):
            assert layer.weight.grad.abs().amax(dim=1).min() > 0, name


def test_each_condition_that_is_there_matters(denoiser, faces):
    pictures, t, buffers, z = faces
    answer = denoiser(pictures, t, buffers, z)
    others = [(t + 50, buffers, z), (t, buffers, z.flip(0)), (t, None, z), (t, buffers, None)]
    for channel in range(BUFFER_CHANNELS):
        changed = buffers.clone()
        changed[:, channel] *= 0.5
        others.append((t, changed, z))
    for other in others:
        assert (denoiser(pictures, *other) - answer).abs().amax((1, 2, 3)).min() > 1e-4


def test_a_dropped_condition_has_no_effect(denoiser, faces):
    pictures, t, buffers, z = faces
    wild = torch.full_like(buffers, torch.nan), torch.full_like(z, torch.inf)
    every = torch.ones(4, dtype=torch.bool)
    for photograph in (every, ~every):
        nothing = denoiser(pictures, t, *drop_conditions(*wild, every, every, photograph))
        assert torch.equal(nothing, denoiser(pictures, t))
        some = denoiser(pictures, t, *drop_conditions(wild[0], z, every, ~every, photograph))
        assert torch.equal(some, denoiser(pictures, t, z=z))
    assert torch.equal(
        denoiser(pictures, t, *drop_conditions(buffers, wild[1], ~every, every, ~every)),
        denoiser(pictures, t, buffers),
    )
    kept = drop_conditions(buffers, z, ~every, ~every, ~every)
    assert all(torch.equal(one, other) for one, other in zip(kept, (buffers, z), strict=True))


def test_a_dropped_photograph_has_no_effect_and_the_face_stays(denoiser, faces):
    pictures, t, buffers, z = faces
    wild = buffers.clone()
    wild[:, CARRIED], wild[:, DOUBT] = torch.nan, torch.inf
    every = torch.ones(4, dtype=torch.bool)
    dropped, same_z = drop_conditions(wild, z, ~every, ~every, every)
    assert torch.equal(dropped, no_photograph(buffers))
    assert torch.equal(dropped[:, : MASK.stop], buffers[:, : MASK.stop])
    assert (dropped[:, CARRIED] == 0).all()
    assert (dropped[:, DOUBT] == 1).all()
    assert torch.equal(same_z, z)
    answer = denoiser(pictures, t, dropped, z)
    assert (answer - denoiser(pictures, t, buffers, z)).abs().amax((1, 2, 3)).min() > 1e-4


def test_each_face_loses_its_own_conditions_and_no_gradient_comes_back(denoiser, faces):
    pictures, t, buffers, z = faces
    buffers.requires_grad_()
    z.requires_grad_()
    without_buffers = torch.tensor([True, False, True, False])
    without_code = torch.tensor([True, True, False, False])
    without_photograph = torch.tensor([False, True, True, False])
    without = (without_buffers, without_code, without_photograph)
    answer = denoiser(pictures, t, *drop_conditions(buffers, z, *without))
    answer.square().sum().backward()
    assert torch.equal(buffers.grad.flatten(1).any(1), ~without_buffers)
    for part in (CARRIED, DOUBT):
        told = buffers.grad[:, part].flatten(1).any(1)
        assert torch.equal(told, ~(without_buffers | without_photograph))
    assert torch.equal(z.grad.any(1), ~without_code)
    torch.testing.assert_close(answer[3], denoiser(*(part[3:] for part in faces))[0])


def test_missing_buffers_differ_from_buffers_without_a_face(denoiser, faces):
    pictures, t, *_ = faces
    missing = no_buffers(pictures)
    empty = no_photograph(torch.zeros(4, BUFFER_CHANNELS, 16, 16))
    assert missing.shape == empty.shape
    assert (missing[:, MASK] == -1).all()
    missing_but_mask, empty_but_mask = (
        one[:, [k for k in range(BUFFER_CHANNELS) if k != MASK.start]] for one in (missing, empty)
    )
    assert torch.equal(missing_but_mask, empty_but_mask)
    assert (denoiser(pictures, t, missing) - denoiser(pictures, t, empty)).abs().max() > 1e-3


def test_a_face_never_depends_on_its_batch(denoiser, faces):
    together = denoiser(*faces)
    for row in range(4):
        alone = denoiser(*(part[row : row + 1] for part in faces))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)
    one_step = denoiser(faces[0], 30, *faces[2:])
    torch.testing.assert_close(one_step[1], together[1], rtol=1e-4, atol=1e-4)


def test_left_and_right_are_alike_but_for_the_kernels(denoiser, faces):
    for name, module in denoiser.unet.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.data
            mirrored = weight.flip(-1)
            if name == "conv_in":
                mirrored[:, NORMAL_X] *= -1
            module.weight.data = (weight + mirrored) / 2
    pictures, t, buffers, z = faces
    turned = buffers.flip(-1)
    turned[:, 0] *= -1
    answer = denoiser(pictures.flip(-1), t, turned, z)
    torch.testing.assert_close(answer, denoiser(*faces).flip(-1), rtol=1e-3, atol=1e-4)


def test_it_is_made_again_from_its_config(denoiser, faces):
    again = Denoiser(json.loads(json.dumps(denoiser.config)))
    assert again.spec == denoiser.spec
    again.load_state_dict(denoiser.state_dict())
    assert torch.equal(again.eval()(*faces), denoiser(*faces))


def test_names_of_the_weights_are_a_format(denoiser):
    assert {
        "unet.conv_in.weight",
        "unet.time_embedding.0.linear_1.weight",
        "unet.down_blocks.0.downsamplers.0.time_emb_proj.time.weight",
        "unet.down_blocks.1.attentions.0.to_q.weight",
        "unet.mid_block.resnets.1.time_emb_proj.code.bias",
        "unet.mid_block.attentions.0.group_norm.weight",
        "unet.up_blocks.0.upsamplers.0.conv2.weight",
        "unet.conv_out.bias",
    } < set(denoiser.state_dict())


@pytest.mark.parametrize(
    "wrong",
    [{"widths": ()}, {"size": 17}, {"groups": 3}, {"attention": (7,)}, {"widths": (8, 12, 16, 18)}],
)
def test_networks_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        DenoiserSpec(**{**TINY, **wrong})


@pytest.mark.parametrize("place", [0, 2, 3])
def test_inputs_of_another_shape_are_refused(denoiser, faces, place):
    parts = list(faces)
    parts[place] = parts[place][:, 1:]
    with pytest.raises(ValueError, match=r"expected \w+ of shape"):
        denoiser(*parts)


def test_photographs_are_not_dropped_from_other_buffers(faces):
    _, _, buffers, z = faces
    none = torch.zeros(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"expected buffers of shape \(4, 14, .*got \(4, 10, "):
        drop_conditions(buffers[:, :10], z, none, none, none)
