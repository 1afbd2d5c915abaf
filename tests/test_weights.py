import os
import pickle
import subprocess
import sys
import types

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from fer_lib import weights
from fer_lib.unpickler import Record

FORMATS = {"zip": True, "stream": False}


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
    for other in (
        {"a": state["a"] + 1e-6, "b": state["b"]},
        {"a": state["a"], "c": state["b"]},
        {"a": state["a"].reshape(2, 2), "b": state["b"]},
        {"a": state["a"].half(), "b": state["b"]},
    ):
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


class Convolution(nn.Conv2d):
    """Stands in for a layer of a library that is gone when the file is read."""


def gone_library_model():
    """A module whose classes cannot be imported: biases absent, buffers kept and passing."""
    library = types.ModuleType("gone_library")
    sys.modules["gone_library"] = library
    library.Convolution = Convolution
    model = nn.Sequential(Convolution(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    model.register_buffer("kept", torch.arange(3))
    model.register_buffer("passing", torch.zeros(5), persistent=False)
    model.add_module("inner", nn.ModuleDict({"head": nn.Linear(4, 2), "none": nn.Identity()}))
    model.inner["again"] = model.inner["head"]
    return model


def save_without_its_library(model, path, form, monkeypatch):
    sys.modules.setdefault("gone_library", types.ModuleType("gone_library"))
    monkeypatch.setattr(Convolution, "__module__", "gone_library")
    torch.save(model, path, _use_new_zipfile_serialization=FORMATS[form])
    del sys.modules["gone_library"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_module_gives_its_state_dict_without_its_library(tmp_path, form, monkeypatch):
    model = gone_library_model()
    save_without_its_library(model, tmp_path / "whole.pt", form, monkeypatch)
    with pytest.raises(ModuleNotFoundError):
        torch.load(tmp_path / "whole.pt", weights_only=False)
    read = weights.read_torch_pickle(tmp_path / "whole.pt")
    assert type(read) is Record
    state, expected = weights.state_dict_of(read), model.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_pickled_efficientnet_gives_its_360_tensors(tmp_path):
    model = timm.create_model("tf_efficientnet_b0", pretrained=False, num_classes=8)
    torch.save(model, tmp_path / "enet_b0_8.pt")
    state = weights.state_dict_of(weights.read_torch_pickle(tmp_path / "enet_b0_8.pt"))
    expected = model.state_dict()
    assert list(state) == list(expected)
    assert len(state) == 360
    assert weights.state_hash(state) == weights.state_hash(expected)


def test_a_state_dict_is_its_own_and_anything_else_is_named(tmp_path):
    model = nn.Linear(2, 3)
    torch.save({"iter": 3, "model": model.state_dict(), "none": {}, "list": []}, tmp_path / "c.pt")
    read = weights.read_torch_pickle(tmp_path / "c.pt")
    assert weights.state_hash(weights.state_dict_of(read["model"])) == weights.state_hash(
        model.state_dict()
    )
    with pytest.raises(ValueError, match="other things under 'iter', 'model', 'none'"):
        weights.state_dict_of(read)
    with pytest.raises(ValueError, match="nothing"):
        weights.state_dict_of(read["none"])
    with pytest.raises(ValueError, match="got list"):
        weights.state_dict_of(read["list"])


def record_of(parameters=None, buffers=None, modules=None, **more):
    groups = {"_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {}}
    return Record("a class", state=groups | more)


def test_modules_that_are_none_or_have_no_end_are_refused():
    endless = record_of()
    endless.state["_modules"]["self"] = endless
    wide = record_of()
    for _ in range(40):
        wide = record_of(modules={"a": wide, "b": wide})
    for module in (endless, wide):
        with pytest.raises(ValueError, match="no end"):
            weights.state_dict_of(module)
    for module in (
        Record("x"),
        record_of(modules={"a": Record("x")}),
        record_of(modules={"a": 3}),
        Record("x", state={"_parameters": {}}),
    ):
        with pytest.raises(ValueError, match="expected a module of torch"):
            weights.state_dict_of(module)
    with pytest.raises(ValueError, match="other things under 'w'"):
        weights.state_dict_of(record_of(parameters={"w": 3}))
    one = torch.ones(1)
    strange = record_of({"w": one}, {"b": one, "n": None}, _non_persistent_buffers_set=3)
    assert list(weights.state_dict_of(strange)) == ["w", "b"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_hostile_module_gives_its_tensors_and_does_nothing(tmp_path, form):
    marker = tmp_path / "marker"

    class Hostile(nn.Linear):
        def __reduce__(self):
            state = {**self.__dict__, "extra": Call(subprocess.call, ["touch", str(marker)])}
            return eval, (f"open({str(marker)!r}, 'w').close()",), state

    class Call:
        def __init__(self, *call):
            self.call = call

        def __reduce__(self):
            return self.call[0], self.call[1:]

    model = Hostile(2, 3)
    torch.save(model, tmp_path / "m.pt", _use_new_zipfile_serialization=FORMATS[form])
    with pytest.raises(Exception, match=r"\w"):
        torch.load(tmp_path / "m.pt", weights_only=False)
    assert marker.exists(), "the threat is real"
    marker.unlink()
    state = weights.state_dict_of(weights.read_torch_pickle(tmp_path / "m.pt"))
    assert not marker.exists()
    assert list(state) == ["weight", "bias"]
    assert torch.equal(state["weight"], model.weight)


def test_what_is_no_foreign_checkpoint_is_refused_with_its_name(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "own.safetensors")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps([1], 2))
    torch.save({"a": torch.ones(999)}, tmp_path / "whole.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:-200])
    for name in ("own.safetensors", "text.pth", "plain.pkl", "cut.pt"):
        with pytest.raises(ValueError, match=rf"expected a file of torch\.save, got {name}: "):
            weights.read_torch_pickle(tmp_path / name)
    for name in ("absent.pt", os.curdir):
        with pytest.raises(FileNotFoundError, match="download it first"):
            weights.read_torch_pickle(tmp_path / name)
