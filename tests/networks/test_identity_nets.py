"""Identity networks: sizes of the published ones, strict filling, files that are not theirs."""

import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fer_lib.networks.identity import IDENTITY_NETS, Sphere20, load_identity_net
from fer_lib.networks.mobile_identity import MobileFaceNet, MobileFaceV2
from fer_lib.networks.mxnet_file import read_mxnet_params


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return MobileFaceV2().eval()


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "count", "features"),
    [
        ("cosface_sphere20", 22_666_944, 512),
        ("facenet_vggface2", 23_482_624, 512),
        ("mobilefacenet", 999_936, 128),
        ("mobileface_v2", 882_208, 256),
    ],
)
def test_networks_have_the_published_size_and_see_their_template(name, count, features):
    with torch.device("meta"):
        network = IDENTITY_NETS[name].build().eval()
        template = IDENTITY_NETS[name].template
        answer = network(torch.empty(1, 3, template.height, template.width))
    assert parameters(network) == count
    assert answer.shape == (1, features)


def test_sphere20_has_the_published_keys():
    with torch.device("meta"):
        keys = set(Sphere20().state_dict())
    assert {"layer1.0.weight", "layer1.0.bias", "layer1.1.weight", "layer1.2.conv1.weight"} <= keys
    assert {"layer3.5.prelu2.weight", "layer4.2.conv2.weight", "fc.weight", "fc.bias"} <= keys
    assert not any("layer4.3" in key or "layer1.3" in key for key in keys)


def test_a_residual_block_of_zeros_passes_its_input_on():
    network = Sphere20().layer2[2]
    for convolution in (network.conv1, network.conv2):
        nn.init.zeros_(convolution.weight)
    features = torch.randn(1, 128, 4, 4)
    assert torch.equal(network(features), features)


def test_weights_come_back_from_safetensors_and_from_torch(small, tmp_path):
    state = small.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "b.pth")
    for file in ("a.safetensors", "b.pth"):
        loaded = load_identity_net("mobileface_v2", tmp_path / file)
        assert not loaded.training
        assert all(torch.equal(state[key], value) for key, value in loaded.state_dict().items())


FLAWS = {
    "missing": (lambda state: state.pop("fc5.weight"), r"missing: fc5\.weight"),
    "left over": (lambda state: state.update(extra=torch.ones(1)), "not expected: extra"),
    "shape": (lambda state: state.update({"fc5.weight": torch.ones(2, 2)}), "of another shape"),
    "nan": (lambda state: state["fc5.weight"].fill_(torch.nan), r"not finite: fc5\.weight"),
    "prefix": (lambda state: state.update(net=state.pop("fc5.weight")), "missing.*not expected"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_does_not_fit_exactly_is_refused(small, flaw, tmp_path):
    spoil, message = FLAWS[flaw]
    state = {key: value.clone() for key, value in small.state_dict().items()}
    spoil(state)
    save_file(state, tmp_path / "spoilt.safetensors")
    with pytest.raises(ValueError, match=rf"of mobileface_v2 in spoilt\.safetensors.*{message}"):
        load_identity_net("mobileface_v2", tmp_path / "spoilt.safetensors")


def test_weights_of_another_network_are_refused(small, tmp_path):
    save_file(small.state_dict(), tmp_path / "v2.safetensors")
    with pytest.raises(ValueError, match=r"tensors of mobilefacenet in v2\.safetensors"):
        load_identity_net("mobilefacenet", tmp_path / "v2.safetensors")


def test_an_unknown_name_and_an_absent_file_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="expected an identity network of"):
        load_identity_net("arcface", tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match=r"unavailable.*20180402-114759-vggface2.pt"):
        load_identity_net("facenet_vggface2", tmp_path / "a.pt")


def test_the_training_head_of_facenet_is_known_by_name():
    assert IDENTITY_NETS["facenet_vggface2"].ignored == ("logits.weight", "logits.bias")


class Hostile:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_with_code_is_not_run(tmp_path, capsys):
    torch.save({"fc5.weight": Hostile()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError):
        load_identity_net("mobileface_v2", tmp_path / "bad.pt")
    assert capsys.readouterr().out == ""


def mxnet_file(arrays, kind=0):
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for values in arrays.values():
        parts.append(struct.pack("<IiI", 0xF993FAC9, 0, values.ndim))
        parts.append(struct.pack(f"<{values.ndim}qiii", *values.shape, 1, 0, kind))
        parts.append(values.astype("<f4").tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts.append(struct.pack("<Q", len(name)) + name.encode())
    return b"".join(parts)


ARRAYS = {"arg:fc_weight": np.arange(6.0).reshape(2, 3), "aux:bn_mean": np.array([0.5])}


def test_mxnet_arrays_come_back_under_their_names(tmp_path):
    (tmp_path / "a.params").write_bytes(mxnet_file(ARRAYS))
    found = read_mxnet_params(tmp_path / "a.params")
    assert list(found) == ["fc_weight", "bn_mean"]
    assert found["fc_weight"].tolist() == ARRAYS["arg:fc_weight"].tolist()


SOUND = mxnet_file(ARRAYS)
BROKEN = {
    "empty": b"",
    "another file": b"PK" + SOUND,
    "cut short": SOUND[:-3],
    "longer": SOUND + b"x",
    "half floats": mxnet_file(ARRAYS, kind=2),
    "huge count": struct.pack("<QQQ", 0x112, 0, 2**62),
    "huge shape": SOUND[:36] + struct.pack("<q", 2**60) + SOUND[44:],
    "negative": SOUND[:36] + struct.pack("<q", -2) + SOUND[44:],
    "one name twice": mxnet_file({"arg:a": np.ones(1), "aux:a": np.ones(1)}),
}


@pytest.mark.parametrize("flaw", BROKEN)
def test_broken_mxnet_files_are_refused_in_a_sentence(tmp_path, flaw):
    (tmp_path / "bad.params").write_bytes(BROKEN[flaw])
    with pytest.raises(ValueError, match=r"expected MXNet parameters, got bad\.params"):
        read_mxnet_params(tmp_path / "bad.params")


def test_real_mobilefacenet_answers_as_its_onnx_file(shared, generator):
    cv2 = pytest.importorskip("cv2")
    folder = shared / "assets/models/mobilefacenet"
    if not (folder / "mobilefacenet.pt").is_file():
        pytest.skip("the shared assets have no mobilefacenet")
    network = load_identity_net("mobilefacenet", folder / "mobilefacenet.pt")
    images = torch.randn(1, 3, 112, 112, generator=generator)
    other = cv2.dnn.readNetFromONNX(str(folder / "MobileFaceNet.onnx"))
    other.setInput(images.numpy())
    with torch.no_grad():
        assert np.abs(network(images).numpy() - other.forward()).max() < 1e-3


def test_real_mobileface_v2_fills_its_network(shared):
    files = list((shared / "assets/models/mobileface_v2").glob("*.params"))
    if not files:
        pytest.skip("the shared assets have no mobileface_v2")
    network = load_identity_net("mobileface_v2", files[0])
    assert parameters(network) == parameters(MobileFaceV2())
    assert isinstance(network, MobileFaceV2)


def test_mobilefacenet_is_not_the_other_network():
    with torch.device("meta"):
        assert set(MobileFaceNet().state_dict()) != set(MobileFaceV2().state_dict())
