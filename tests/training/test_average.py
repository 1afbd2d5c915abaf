import pytest
import torch
from torch import nn

from fer_lib.training.average import MovingAverage


def numbered(value):
    network = nn.BatchNorm1d(2)
    set_to(network, value)
    return network


def set_to(network, value):
    for part in network.state_dict().values():
        part.fill_(value)


def test_average_follows_its_formula():
    network = numbered(1)
    average = MovingAverage(network, decay=0.25)
    expected = 1.0
    for n, value in enumerate([3, 5, 8, 2]):
        set_to(network, value)
        average.update()
        kept = min(0.25, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * value
    assert average.weights["weight"] == pytest.approx([expected] * 2)
    assert average.weights["running_mean"] == pytest.approx([expected] * 2)
    assert average.weights["num_batches_tracked"] == 2


def test_network_has_the_average_for_a_while_only_even_if_that_fails():
    network = numbered(1)
    average = MovingAverage(network)
    set_to(network, 5)
    with pytest.raises(RuntimeError, match="inside"), average.applied():
        assert network.weight.tolist() == [1, 1]
        raise RuntimeError("inside")
    assert network.weight.tolist() == [5, 5]
    assert average.weights["weight"].tolist() == [1, 1]


def test_average_goes_on_from_its_state():
    first, other = numbered(1), numbered(9)
    one, two = MovingAverage(first, 0.5), MovingAverage(other, 0.5)
    set_to(first, 4)
    one.update()
    two.load_state_dict(one.state_dict())
    for network, average in ((first, one), (other, two)):
        set_to(network, 7)
        average.update()
    assert torch.equal(one.weights["weight"], two.weights["weight"])
    assert one.updates == two.updates == 2


def test_another_networks_average_is_refused():
    with pytest.raises(ValueError, match="expected the average of this network"):
        MovingAverage(nn.Linear(2, 2)).load_state_dict(MovingAverage(numbered(1)).state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decays_that_average_nothing_are_refused(decay):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        MovingAverage(numbered(1), decay)
