import pytest
import torch

from fer_lib.networks.state_fit import check_state

WANTED = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "steps": torch.tensor(1)}


def test_the_same_tensors_fit_in_any_order():
    check_state(dict(reversed(WANTED.items())), WANTED, "net.pth", "a net")
    check_state({n: WANTED[n] for n in ("a.weight", "a.bias")}, WANTED, "net.pth", "a net",
                may_lack=["steps"])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"a.bias": None}, r"missing: a\.bias;"),
        ({"other": torch.zeros(1)}, r"not expected: other;"),
        ({"a.bias": torch.zeros(4)}, r"another shape: a\.bias \(4,\) instead of \(2,\);"),
        ({"steps": torch.tensor(1.0)}, r"another type: steps torch\.float32 instead of torch\.int"),
        ({"a.bias": torch.zeros(2).half()}, r"another type: a\.bias torch\.float16 instead"),
        ({"a.bias": torch.tensor([0, torch.nan])}, r"not finite: a\.bias;"),
        ({"a.bias": torch.tensor([0, torch.inf])}, r"not finite: a\.bias;"),
        ({"a.bias": None, "x": torch.zeros(1)}, r"missing: a\.bias; not expected: x;"),
    ],
)
def test_what_differs_is_named(change, sentence):
    state = {name: tensor for name, tensor in (WANTED | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=r"3 tensors of a net in net\.pth, got .*" + sentence):
        check_state(state, WANTED, "net.pth", "a net")


def test_long_lists_and_long_names_are_cut():
    with pytest.raises(ValueError, match="and 14 more") as caught:
        check_state({f"{n:02d}" + "x" * 5000: torch.zeros(1) for n in range(20)}, {}, "f", "a net")
    assert len(str(caught.value)) < 800
