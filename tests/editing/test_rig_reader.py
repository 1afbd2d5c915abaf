"""How far a reader of β and ψ can be believed, and that an encoder reads pictures as crops."""

import pytest
import torch
from rig_samples import SIZE

from fer_lib.editing.rig_reader import encoder_reading, measure_reader
from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec, encode


def faces(shape, psi):
    zeros = [torch.zeros(len(shape), *size) for size in ((3,), (4,), (1,), (9, 3))]
    return FaceParams(shape, psi, *zeros)


def read(images):
    """β is the mean of red and of green, ψ that of blue."""
    means = images.mean((2, 3))
    return faces(means[:, :2], means[:, 2:])


def test_a_perfect_reader_is_trusted_and_needs_no_margin(generator):
    images = torch.rand(12, 3, SIZE, SIZE, generator=generator)
    groups = torch.arange(12) // 2
    images[1::2, :2] = images[::2, :2]
    reader = measure_reader(read, images, read(images), groups)
    assert torch.allclose(reader.shape_trust, torch.ones(2))
    assert torch.allclose(reader.psi_trust, torch.ones(1))
    assert torch.allclose(reader.shape_margin, torch.zeros(2), atol=1e-4)


def test_margin_and_trust_are_what_their_definitions_say(generator):
    truth = torch.randn(400, 2, generator=generator)
    psi = torch.stack([torch.randn(400, generator=generator), torch.full((400,), 0.3)], 1)
    truth[1::2] = truth[::2]
    said = truth + 0.4 * torch.randn(400, 2, generator=generator)
    said[:, 1] = torch.randn(400, generator=generator)

    def look_up(images):
        rows = images[:, 0, 0, 0].long()
        return faces(said[rows], psi[rows])

    numbers = torch.arange(400.0)[:, None, None, None]
    reader = measure_reader(look_up, numbers, faces(truth, psi), torch.arange(400) // 2)
    change = (said[::2] - said[1::2]).square().mean(0) / truth.var(0)
    assert torch.allclose(reader.shape_margin, change, rtol=1e-4)
    assert reader.shape_trust[0].item() == pytest.approx(
        1 - 0.16 / truth[:, 0].var().item(), abs=0.04
    )
    # One coefficient is only guessed at, the other never changes.
    assert reader.shape_trust[1] == 0
    assert reader.psi_trust.tolist() == [1, 0]


def test_a_reader_cannot_be_measured_without_groups(generator):
    images = torch.rand(4, 3, SIZE, SIZE, generator=generator)
    with pytest.raises(ValueError, match="two faces or more in some group"):
        measure_reader(read, images, read(images), torch.arange(4))


def test_an_encoder_reads_pictures_as_it_reads_crops(generator):
    torch.manual_seed(0)
    spec = FaceEncoderSpec("some", 4, 1, (0.0,) * 3, (1.0,) * 3, image_size=16, width=4,
                           hidden=8, mesh_modes=0)  # fmt: skip
    network = FaceEncoder(spec)
    network.head[-1].weight.data.normal_()
    crops = torch.randint(0, 256, (2, 24, 24, 3), generator=generator).byte()
    reading = encoder_reading(network)
    images = (crops.permute(0, 3, 1, 2) / 127.5 - 1).requires_grad_()
    found, wanted = reading(images), encode(network, crops).params
    assert torch.allclose(found.shape, wanted.shape, atol=1e-4)
    assert torch.allclose(found.expression, wanted.expression, atol=1e-4)
    found.shape.sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
