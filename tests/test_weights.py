import pytest
import torch
from safetensors.torch import save_file

from fer_lib import weights


def test_a_network_comes_back_as_it_was(tmp_path):
    state = {"a.weight": torch.randn(2, 3), "b": torch.tensor(3), "half": torch.ones(2).bfloat16()}
    config = {"classes": ["fear", "anger"], "width": 8, "lineage": None}
    path = weights.save_network(tmp_path / "deep" / "net.safetensors", state, config)
    loaded, read = weights.load_network(path)
    assert read == config
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_the_hash_depends_on_names_values_types_and_shapes_not_on_order():
    state = {"a": torch.arange(4.0), "b": torch.ones(2)}
    known = weights.state_hash(state)
    assert weights.state_hash(dict(reversed(state.items()))) == known
    for other in ({"a": state["a"] + 1e-6, "b": state["b"]}, {"a": state["a"], "c": state["b"]},
                  {"a": state["a"].reshape(2, 2), "b": state["b"]},
                  {"a": state["a"].half(), "b": state["b"]}):
        assert weights.state_hash(other) != known


def test_shared_and_transposed_tensors_can_be_saved(tmp_path):
    tensor = torch.randn(3, 4)
    path = weights.save_network(tmp_path / "n.safetensors", {"a": tensor, "t": tensor.T}, {})
    assert torch.equal(weights.load_network(path)[0]["t"], tensor.T)


def test_files_that_are_no_checkpoint_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "text").write_bytes(b"not a checkpoint at all, but long enough to look at")
    (tmp_path / "empty").write_bytes(b"")
    save_file({"a": torch.ones(1)}, tmp_path / "bare")
    torch.save({"a": torch.ones(1)}, tmp_path / "pickle")
    for name in ("text", "empty", "bare", "pickle"):
        with pytest.raises(ValueError, match=name):
            weights.load_network(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="train it first"):
        weights.load_network(tmp_path / "absent")
