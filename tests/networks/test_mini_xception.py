import json
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from fer_lib.networks.mini_xception import MiniXception, load_mini_xception


@pytest.fixture(scope="module")
def arrays_file(shared):
    path = shared / "assets" / "models" / "mini_xception" / "mini_xception_102.npz"
    if not path.is_file():
        pytest.skip("FER_SHARED has no mini-Xception")
    return path


def images_of(count):
    generator = torch.Generator().manual_seed(1)
    coarse = 2 * torch.rand(count, 1, 6, 6, generator=generator) - 1
    return functional.interpolate(coarse, (64, 64), mode="bilinear")


def padded(features, kernel, stride, value=0.0):
    """TensorFlow's "same": as many windows as steps begin, an odd rest of padding at the end."""
    side = features.shape[-1]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    ends = (total // 2, total - total // 2)
    return functional.pad(features, ends + ends, value=value)


def layer_answer(kind, config, weights, given):
    """One layer as Keras defines it, from its description and its own arrays."""
    stride = config.get("strides", [1])[0]
    if kind == "Conv2D":
        kernel = weights["kernel"].permute(3, 2, 0, 1)
        if config["padding"] == "same":
            given = padded(given, kernel.shape[-1], stride)
        return functional.conv2d(given, kernel, weights.get("bias"), stride)
    if kind == "SeparableConv2D":
        depthwise = weights["depthwise_kernel"].permute(2, 3, 0, 1)
        given = functional.conv2d(padded(given, 3, 1), depthwise, groups=len(depthwise))
        return functional.conv2d(given, weights["pointwise_kernel"].permute(3, 2, 0, 1))
    if kind == "BatchNormalization":
        mean, variance = weights["moving_mean"], weights["moving_variance"]
        scale = weights["gamma"] / (variance + config["epsilon"]).sqrt()
        return (given - mean[:, None, None]) * scale[:, None, None] + weights["beta"][:, None, None]
    if kind == "MaxPooling2D":
        return functional.max_pool2d(padded(given, 3, stride, -torch.inf), 3, stride)
    if kind == "GlobalAveragePooling2D":
        return given.mean(dim=(2, 3))
    assert kind == "Activation" and config["activation"] in ("relu", "softmax")
    return given.relu() if config["activation"] == "relu" else given.softmax(dim=1)


def described_answer(path, images):
    """What the network answers that the file itself describes, layer by layer."""
    with np.load(path, allow_pickle=False) as file:
        layers = json.loads(str(file["config"]))["config"]["layers"]
        arrays = {name: torch.from_numpy(file[name]) for name in file.files if "/" in name}
    said = {}
    for layer in layers:
        name, kind = layer["name"], layer["class_name"]
        given = [said[source[0]] for source in (layer["inbound_nodes"] or [[]])[0]]
        weights = {key.split("/")[1]: a for key, a in arrays.items() if key.split("/")[0] == name}
        if kind == "InputLayer":
            said[name] = images
        elif kind == "Add":
            said[name] = sum(given)
        else:
            said[name] = layer_answer(kind, layer["config"], weights, *given)
    return said[layers[-1]["name"]]


def test_it_computes_what_its_file_describes(arrays_file):
    images = images_of(3)
    with torch.no_grad():
        said = load_mini_xception(arrays_file)(images).softmax(dim=1)
    expected = described_answer(arrays_file, images)
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-5)
    assert (said[0] - said[1]).abs().max() > 1e-2


def test_it_has_the_published_size():
    state = MiniXception().state_dict()
    counted = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    assert sum(tensor.numel() for tensor in counted.values()) == 58_423


def test_an_answer_does_not_depend_on_the_batch():
    network, images = MiniXception().eval(), images_of(3)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 48, 48)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(B, 1, 64, 64\)"):
        MiniXception()(torch.zeros(shape))


def test_the_keras_file_holds_the_same_arrays(arrays_file):
    pytest.importorskip("h5py", reason="reading Keras' own file wants h5py")
    keras = arrays_file.with_name("fer2013_mini_XCEPTION.102-0.66.hdf5")
    state = load_mini_xception(arrays_file).state_dict()
    other = load_mini_xception(keras).state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_without_h5py_a_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "net.hdf5").write_bytes(b"\x89HDF")
    with pytest.raises(ModuleNotFoundError, match="pip install h5py"):
        load_mini_xception(tmp_path / "net.hdf5")


class Marker:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def test_a_file_that_does_not_fit_is_refused(arrays_file, tmp_path):
    with np.load(arrays_file, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    path = tmp_path / "net.npz"
    for change, sentence in (
        ({"conv2d_7/bias": None}, r"missing: head\.bias"),
        ({"other/kernel": np.zeros(3, np.float32)}, "not expected: other/kernel"),
        ({"conv2d_7/bias": np.zeros(8, np.float32)}, r"head\.bias \(8,\) instead of \(7,\)"),
        ({"conv2d_7/bias": np.full(7, np.nan, np.float32)}, r"not finite: head\.bias"),
        ({"conv2d_7/bias": np.array([Marker()], object)}, r"mini-Xception's arrays in net\.npz"),
        ({"conv2d_7/bias": np.array(["text"])}, r"mini-Xception's arrays in net\.npz"),
    ):
        np.savez(path, **{n: a for n, a in (arrays | change).items() if a is not None})
        with pytest.raises(ValueError, match=sentence):
            load_mini_xception(path)
    for content in (b"", b"PK\x03\x04", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mini-Xception's arrays in net\.npz"):
            load_mini_xception(path)
    with pytest.raises(FileNotFoundError, match="there is no"):
        load_mini_xception(tmp_path / "none.npz")
