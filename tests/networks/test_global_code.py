"""The global code: sizes, independence of the batch, its config."""

import pytest
import torch
from torch import nn

from fer_lib.networks.global_code import GlobalCode

TINY = {"length": 6, "width": 8, "size": 16}


@pytest.fixture
def code():
    """A small encoder."""
    torch.manual_seed(0)
    return GlobalCode(**TINY).eval()


@pytest.mark.parametrize(("depth", "size"), [(18, 16), (50, 16), (18, 128)])
def test_one_code_for_every_photograph(depth, size):
    answer = GlobalCode(depth, 6, width=8, size=size)(torch.rand(2, 3, size, size) * 2 - 1)
    assert answer.shape == (2, 6)
    assert answer.std(0).min() > 0


def test_a_code_never_depends_on_its_batch(code, generator):
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in code.modules())
    images = torch.rand(3, 3, 16, 16, generator=generator) * 2 - 1
    torch.testing.assert_close(code(images)[2:], code(images[2:]), rtol=1e-4, atol=1e-5)
    assert torch.equal(code.train()(images), code.eval()(images))


def test_it_is_made_again_from_its_config(code, generator):
    again = GlobalCode(**code.config)
    again.load_state_dict(code.state_dict())
    images = torch.rand(2, 3, 16, 16, generator=generator)
    assert torch.equal(again(images), code(images))


def test_photographs_of_another_size_are_refused(code):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, 16, 16\)"):
        code(torch.rand(1, 3, 32, 32))
