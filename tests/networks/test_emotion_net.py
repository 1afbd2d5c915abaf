import io
import os
import pickle
import pickletools
import subprocess
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from fer_lib.networks.emotion_engine import FACES_AT_ONCE, EmotionEngine, multiplies_bfloat16
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.emotion_net_file import load_emotion_net, read_published, save_emotion_net
from fer_lib.weights import save_network

# What files of the three versions name, taken from real ones (timm's own wheels, B0 and B2).
EVERY_VERSION = {
    "__builtin__ set", "collections OrderedDict", "timm.models.efficientnet EfficientNet",
    "torch FloatStorage", "torch LongStorage", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2", "torch.nn.modules.activation SiLU",
    "torch.nn.modules.container Sequential", "torch.nn.modules.conv Conv2d",
    "torch.nn.modules.linear Identity", "torch.nn.modules.linear Linear",
    "torch.nn.modules.pooling AdaptiveAvgPool2d",
}  # fmt: skip
BLOCKS = ("DepthwiseSeparableConv", "InvertedResidual", "SqueezeExcite")
LAYERS = ("adaptive_avgmax_pool SelectAdaptivePool2d", "conv2d_same Conv2dSame")
NAMES = {
    "0.9.16": {
        *(f"timm.models._efficientnet_blocks {name}" for name in BLOCKS),
        *(f"timm.layers.{name}" for name in (*LAYERS, "norm_act BatchNormAct2d")),
        "torch.nn.modules.activation Sigmoid", "torch.nn.modules.flatten Flatten",
    },
    "0.6.13": {
        *(f"timm.models.efficientnet_blocks {name}" for name in BLOCKS),
        *(f"timm.models.layers.{name}" for name in (*LAYERS, "norm_act BatchNormAct2d")),
        "torch.nn.modules.activation Sigmoid", "torch.nn.modules.flatten Flatten",
    },
    "0.4.5": {
        *(f"timm.models.efficientnet_blocks {name}" for name in BLOCKS),
        *(f"timm.models.layers.{name}" for name in (*LAYERS, "activations sigmoid")),
        "torch.nn.modules.batchnorm BatchNorm2d",
    },
}  # fmt: skip
# How today's names become theirs; 0.4.5 did not flatten by a module.
OLDER_NAMES = {
    "0.9.16": {},
    "0.6.13": {
        "timm.layers.": "timm.models.layers.",
        "timm.models._efficientnet_blocks": "timm.models.efficientnet_blocks",
    },
    "0.4.5": {
        "timm.layers.norm_act\nBatchNormAct2d": "torch.nn.modules.batchnorm\nBatchNorm2d",
        "torch.nn.modules.flatten\nFlatten": "torch.nn.modules.linear\nIdentity",
        "torch.nn.modules.activation\nSigmoid": "timm.models.layers.activations\nsigmoid",
        "timm.layers.": "timm.models.layers.",
        "timm.models._efficientnet_blocks": "timm.models.efficientnet_blocks",
    },
}


def randomised(network, seed=0):
    """Give normalisations something to do, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            part.weight.data.uniform_(0.8, 1.2, generator=generator)
    return network.eval()


def timm_model(name="tf_efficientnet_b0.ns_jft_in1k", outputs=8, sequential=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomised(timm.create_model(name, pretrained=False))
        head = nn.Linear(model.classifier.in_features, outputs)
    model.classifier = nn.Sequential(head) if sequential else head
    return model


def saved(model, path, change=lambda pickled: pickled):
    """Save a whole module with another pickle of it inside."""
    stream = io.BytesIO()
    torch.save(model, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(
                entry.filename, change(content) if "data.pkl" in entry.filename else content
            )
    return path


def renamed(version):
    def change(pickled):
        for today, then in OLDER_NAMES[version].items():
            assert today.encode() in pickled
            pickled = pickled.replace(b"c" + today.encode(), b"c" + then.encode())
        return pickled

    return change


@pytest.fixture(scope="module")
def b0():
    return timm_model()


def check_bit_exact(network, model):
    expected = model.state_dict()
    found = {name.split(".", 1)[1]: value for name, value in network.state_dict().items()}
    assert len(found) == len(expected)
    for name, value in expected.items():
        assert torch.equal(found[name.split(".")[-1] if "classifier" in name else name], value)


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (archive.read(name) for name in archive.namelist() if "data.pkl" in name)
    return {text for opcode, text, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}


@pytest.mark.filterwarnings("ignore:Importing from timm")
@pytest.mark.parametrize("version", OLDER_NAMES)
def test_files_pickled_under_any_timm_load_bit_exactly(b0, tmp_path, version):
    path = saved(b0, tmp_path / "whole.pt", renamed(version))
    assert names_in(path) == EVERY_VERSION | NAMES[version]
    network = read_published(path, EmotionNet(image_size=64))
    check_bit_exact(network, b0)
    if version != "0.9.16":
        with pytest.raises(ModuleNotFoundError, match=r"timm\.models"):
            torch.load(path, weights_only=False)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = network(images)
        assert torch.equal(answers.logits, b0((images - network.mean) / network.std))
    assert answers.valence_arousal is None
    assert answers.feature.shape == (2, 1280)


def test_a_file_from_before_torch_1_6_loads_bit_exactly(b0, tmp_path):
    torch.save(b0, tmp_path / "stream.pt", _use_new_zipfile_serialization=False)
    check_bit_exact(read_published(tmp_path / "stream.pt", EmotionNet()), b0)


def test_b2_with_a_bare_head_of_ten_loads_as_emotions_and_affect(tmp_path):
    model = timm_model("tf_efficientnet_b2.ns_jft_in1k", outputs=10, sequential=False)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    network = read_published(tmp_path / "state.pt", EmotionNet("b2", affect=True, image_size=64))
    check_bit_exact(network, model)
    with torch.no_grad():
        said = network(torch.rand(1, 3, 64, 64))
    assert [tuple(part.shape) for part in said] == [(1, 8), (1, 2), (1, 1408)]
    assert EmotionNet("b2").config["image_size"] == 260


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_attribute(model, marker):
    model.extra = Call(subprocess.call, ["touch", str(marker)])
    return lambda pickled: pickled


def hostile_and_forgotten(model, marker):
    # Calls, then drops the result: nothing of it is left in what was read.
    call = pickle.dumps(Call(os.system, f"touch {marker}"), protocol=2)[2:-1]
    return lambda pickled: pickled[:2] + call + b"0" + pickled[2:]


def hostile_eval(model, marker):
    model.extra = Call(eval, f"open({str(marker)!r}, 'w')")
    return lambda pickled: pickled


class Spy(nn.Module):
    """A part of a network whose class is not torch's: loading runs its code."""

    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def __setstate__(self, state):
        Path(state["marker"]).touch()
        super().__setstate__(state)


def hostile_part(model, marker):
    model.spy = Spy(str(marker))
    return lambda pickled: pickled


def hostile_name(model, marker):
    # A name that looks like a part of torch.
    text = pickle.dumps(Call(eval, f"open({str(marker)!r}, 'w')"), protocol=2)[2:-1]
    call = text.replace(b"c__builtin__\neval", b"ctorch.serialization\nos.system")
    return lambda pickled: pickled[:2] + call + b"0" + pickled[2:]


ATTACKS = (hostile_attribute, hostile_and_forgotten, hostile_eval, hostile_part, hostile_name)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_that_carries_code_is_refused_before_anything_runs(tmp_path, attack):
    marker = tmp_path / "marker"
    model = timm.create_model("test_efficientnet", pretrained=False)
    path = saved(model, tmp_path / "hostile.pt", attack(model, marker))
    with pytest.raises(ValueError, match=r"hostile\.pt: the pickle wants to import"):
        read_published(path, EmotionNet("tiny"))
    assert not marker.exists()
    if attack is not hostile_name:
        torch.load(path, weights_only=False)
        assert marker.exists(), "the threat is real"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("attack", [hostile_attribute, hostile_eval, hostile_part])
def test_a_stream_that_carries_code_is_refused_before_anything_runs(tmp_path, attack):
    marker, path = tmp_path / "marker", tmp_path / "hostile.pt"
    model = timm.create_model("test_efficientnet", pretrained=False)
    attack(model, marker)
    torch.save(model, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"hostile\.pt: the pickle wants to import"):
        read_published(path, EmotionNet("tiny"))
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the threat is real"


def test_files_of_other_networks_are_refused(tmp_path, b0):
    torch.save(b0, tmp_path / "b0.pt")
    for network in (EmotionNet("b2"), EmotionNet("b0", affect=True)):
        with pytest.raises(ValueError, match=r"in b0\.pt, got .*another model"):
            read_published(tmp_path / "b0.pt", network)
    half = {name: value.half() for name, value in b0.state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    with pytest.raises(
        ValueError, match=r"another type: .* torch\.float16 instead of torch\.float32"
    ):
        read_published(tmp_path / "half.pt", EmotionNet())
    with pytest.raises(FileNotFoundError):
        read_published(tmp_path / "none.pt", EmotionNet())


def test_a_kept_network_is_the_same(tmp_path):
    network = randomised(EmotionNet("tiny", 5, affect=True, image_size=48))
    digest = save_emotion_net(tmp_path / "net.safetensors", network)
    again, recorded = load_emotion_net(tmp_path / "net.safetensors")
    assert recorded == digest
    assert again.config == network.config
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(again(images).logits, network(images).logits)
    save_network(tmp_path / "other.safetensors", {"w": torch.ones(1)}, {"architecture": {}})
    with pytest.raises(ValueError, match="expected an emotion_net"):
        load_emotion_net(tmp_path / "other.safetensors")


@pytest.mark.parametrize("backbone", ["b0", "tiny"])
def test_engines_answer_as_the_network_does(backbone):
    network = randomised(EmotionNet(backbone, affect=True, image_size=64))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.rand(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(images)
        exact, fast = (EmotionEngine(network, engine)(images) for engine in ("exact", "fast"))
    for ours, plain in zip(exact, expected, strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-5, rtol=1e-4)
    for ours, plain in zip(fast, expected, strict=True):
        assert ours.dtype is torch.float32
        assert (ours - plain).abs().max() < 0.15 * plain.std()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not [
        part for part in EmotionEngine(network).modules() if isinstance(part, nn.BatchNorm2d)
    ]


@pytest.mark.parametrize("engine", ["exact", "fast"])
def test_an_answer_does_not_depend_on_the_faces_beside_it(engine):
    running = EmotionEngine(randomised(EmotionNet("tiny", image_size=64)), engine)
    images = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert len(images) > max(FACES_AT_ONCE.values())
    with torch.inference_mode():
        together = running(images).logits.softmax(1)
        backwards = running(images.flip(0)).logits.softmax(1).flip(0)
        alone = torch.cat([running(image).logits.softmax(1) for image in images.split(1)])
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)
    torch.testing.assert_close(backwards, together, atol=1e-6, rtol=0)


def test_without_the_hardware_fast_is_exact(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not multiplies_bfloat16()
    assert EmotionEngine(EmotionNet("tiny"), "fast").dtype is torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert EmotionEngine(EmotionNet("tiny"), "fast").dtype is torch.bfloat16


@pytest.mark.parametrize("options", [
    {"classes": 10**12}, {"classes": 0}, {"classes": "8"}, {"image_size": 10**6},
    {"image_size": 0}, {"image_size": "big"},
])  # fmt: skip
def test_sizes_that_no_such_network_has_are_refused(options):
    with pytest.raises(ValueError, match="expected 1 to 1000 classes and a side of 16 to 1024 px"):
        EmotionNet("tiny", **options)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"out of \['b0', 'b2', 'tiny'\], got 'b7'"):
        EmotionNet("b7")
    with pytest.raises(ValueError, match=r"\(B, 3, 106, 106\), got \(1, 3, 8, 8\)"):
        EmotionNet("tiny")(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"got \(0, 3, 106, 106\)"):
        EmotionEngine(EmotionNet("tiny"))(torch.rand(0, 3, 106, 106))
    with pytest.raises(ValueError, match="expected an engine"):
        EmotionEngine(EmotionNet("tiny"), "int8")
