"""Every kind of judge refuses files that are not its own: in one sentence, nothing is executed."""

import io
import json
import os
import pickle
import zipfile

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import nn

from fer_lib.evaluation import hsemotion
from fer_lib.evaluation.emonet import load_emonet_judge
from fer_lib.evaluation.stand_in import load_stand_in
from fer_lib.labels import EMOTIONS
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.weights import load_network, save_network

PUBLISHED = {
    "hsemotion": lambda path: hsemotion.load_hsemotion(path=path),
    "emonet": load_emonet_judge,
}
OWN = {
    "own emotion net": (
        lambda: EmotionNet("tiny", image_size=48),
        hsemotion.load_own_emotion_judge,
    ),
    "stand-in": (lambda: RgbArm(8, 48, 4), load_stand_in),
}


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Part(nn.Module):
    """A part of a network whose class is its author's own."""


def pickled(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def packed(records, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return stream.getvalue()


def system(marker):
    return Call(os.system, f"touch '{marker}'")


def evaluated(marker):
    return Call(eval, f"open({str(marker)!r}, 'w')")


def dropped(marker):
    # The call comes first and its result is thrown away: the state dict behind it is complete.
    call = pickle.dumps(system(marker), protocol=2)[2:-1]
    with zipfile.ZipFile(io.BytesIO(pickled({"w": torch.ones(3)}))) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    return packed({
        name: content[:2] + call + b"0" + content[2:] if name.endswith("data.pkl") else content
        for name, content in records.items()
    })  # fmt: skip


def huge(marker):
    return pickled({"w": torch.ones(1).expand(2**40)})


WHOLE = {"w": torch.ones(3)}
FILES = {
    "a call of os.system": (lambda m: pickled({"w": system(m)}), "wants to import posix.system"),
    "a call of eval": (lambda m: pickled({"w": evaluated(m)}), "wants to import __builtin__.eval"),
    "a call that is dropped": (dropped, "wants to import posix.system"),
    "a bare call": (lambda m: pickled(system(m)), "wants to import posix.system"),
    "an old stream with a call": (
        lambda m: pickled({"w": evaluated(m)}, _use_new_zipfile_serialization=False),
        "wants to import __builtin__.eval",
    ),
    "a plain pickle with a call": (
        lambda m: pickle.dumps(system(m), protocol=2), "wants to import posix.system|none of torch",
    ),
    "a pickle of protocol 0": (lambda m: pickle.dumps(system(m), protocol=0), "neither as a zip"),
    "somebody's own module": (lambda m: pickled(Part()), "wants to import .*Part"),
    "a function": (lambda m: pickled({"w": os.getcwd}), "wants to import posix.getcwd"),
    "a name that leads out": (
        lambda m: packed({"a/data.pkl": b"N.", "a/../../marker": b"x"}), "leads out of it",
    ),
    "an absolute name": (
        lambda m: packed({"a/data.pkl": b"N.", str(m): b"x"}), "leads out of it",
    ),
    "a packed bomb": (
        lambda m: packed(
            {"a/data.pkl": b"N.", "a/0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED
        ),
        "is packed, or unpacks to more",
    ),
    "a tensor without end": (huge, "a tensor that is larger than its storage"),
    "a cut file": (lambda m: pickled(WHOLE)[:-40], "its zip is damaged"),
    "a cut old stream": (
        lambda m: pickled(WHOLE, _use_new_zipfile_serialization=False)[:-5], "cut short",
    ),
    "a page of the web": (lambda m: b"<html>not found</html>", "neither as a zip nor as a pickle"),
    "nothing": (lambda m: b"", "neither as a zip nor as a pickle"),
    "a zip of other things": (lambda m: packed({"a/b.txt": b"x"}), "a zip without a data.pkl"),
    "safetensors": (lambda m: save({"w": torch.ones(3)}), "neither as a zip nor as a pickle"),
    "numbers": (lambda m: pickled([1, 2, 3]), "a state dict or a module, got list"),
    "no tensors": (lambda m: pickled({"w": 3}), "got other things under 'w'"),
    "an empty dict": (lambda m: pickled({}), "a state dict or a module, got nothing"),
    "another network": (
        lambda m: pickled(timm.create_model("test_efficientnet").state_dict()),
        "another model|give a published file",
    ),
}  # fmt: skip


def sentence_of(error):
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_files_that_are_no_such_network_are_refused(workplace, kind, name):
    make, words = FILES[name]
    path, marker = workplace / "weights.pt", workplace / "marker"
    path.write_bytes(make(marker))
    with pytest.raises(ValueError, match=words) as error:
        PUBLISHED[kind](path)
    assert "weights.pt" in sentence_of(error) or "state dict" in sentence_of(error)
    assert list(workplace.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a call of os.system", "a call of eval", "a bare call"])
def test_the_threat_is_real(workplace, name):
    path, marker = workplace / "weights.pt", workplace / "marker"
    path.write_bytes(FILES[name][0](marker))
    torch.load(path, weights_only=False)
    assert marker.exists()


def changed(path, change):
    state, config = load_network(path)
    change(state, config)
    save_network(path, state, config)


def raised(part):
    def change(state, config):
        name = next(name for name in state if state[name].is_floating_point())
        state[name] = state[name] + part

    return change


ALTERED = {
    "weights changed": (raised(1), "its weights are not the recorded ones"),
    "another hash": (
        lambda state, config: config.update(weights_sha256="0" * 64), "not the recorded ones",
    ),
}  # fmt: skip
REFUSED = {
    "no config": (lambda state, config: config.clear(), "its config lacks"),
    "fewer classes": (lambda state, config: config["emotions"].pop(), "classes|emotions"),
    "unknown class": (
        lambda state, config: config["emotions"].__setitem__(0, "boredom"), "boredom",
    ),
    "a tensor too few": (lambda state, config: state.pop(next(iter(state))), "missing: "),
    "weights not finite": (raised(float("nan")), "not finite: "),
    "another shape": (
        lambda state, config: state.update({next(iter(state)): torch.ones(2)}), "another shape: ",
    ),
    "another network": (
        lambda state, config: config["architecture"].update(network="os.system"), "os.system",
    ),
    "an unknown option": (
        lambda state, config: config["architecture"].update(code="import os"), "network's config",
    ),
    "no architecture": (
        lambda state, config: config.update(architecture=[1]), "network's config|named values",
    ),
    "a size without end": (
        lambda state, config: config["architecture"].update(classes=10**15), "classes|config",
    ),
    "a picture without end": (
        lambda state, config: config["architecture"].update(image_size=4096), "side|another shape",
    ),
    "a lineage of another form": (
        lambda state, config: config.update(lineage=["anna"]), "a lineage of lists of names",
    ),
    "a lineage in a string": (
        lambda state, config: config["lineage"].update(networks="a" * 64), "a lineage of lists",
    ),
}  # fmt: skip


@pytest.fixture(params=OWN)
def own(request, workplace):
    make, load = OWN[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_recogniser(workplace / "net.safetensors", make(), EMOTIONS, Lineage())
    return workplace / "net.safetensors", load


@pytest.mark.parametrize("name", ALTERED)
def test_altered_weights_of_own_networks_are_not_valid(own, name):
    path, load = own
    change, words = ALTERED[name]
    changed(path, change)
    assert any(words in fault for fault in load(path).faults)


@pytest.mark.parametrize("name", REFUSED)
def test_own_files_that_contradict_themselves_are_refused(own, name):
    path, load = own
    change, words = REFUSED[name]
    changed(path, change)
    with pytest.raises(ValueError, match=words) as error:
        judge = load(path)
        judge.judge([], [], subjects=(), lineage=Lineage())
    sentence_of(error)


def header(length):
    return length.to_bytes(8, "little") + b"{"


NOT_SAFE = {
    "a pickle with a call": lambda m: pickled({"w": system(m)}),
    "a page of the web": lambda m: b"<html>not found</html>",
    "nothing": lambda m: b"",
    "a header without end": lambda m: header(2**62),
    "a cut header": lambda m: header(10**6),
    "a tensor without end": lambda m: (lambda text: len(text).to_bytes(8, "little") + text)(
        json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    ),
}


@pytest.mark.parametrize("name", NOT_SAFE)
def test_what_is_no_safetensors_file_is_refused(own, workplace, name):
    path, load = own
    path.write_bytes(NOT_SAFE[name](workplace / "marker"))
    with pytest.raises(ValueError, match=r"expected a safetensors file, got net\.safe") as error:
        load(path)
    sentence_of(error)
    assert list(workplace.iterdir()) == [path]


def test_a_config_that_is_no_json_is_refused(own):
    path, load = own
    save_file({"w": torch.ones(1)}, path, metadata={"config": "import os"})
    with pytest.raises(ValueError, match=r"expected a config in JSON in net\.safetensors"):
        load(path)
    save_file({"w": torch.ones(1)}, path, metadata={"config": "[1]"})
    with pytest.raises(ValueError, match=r"expected a config of named values in net\.safe"):
        load(path)
