import pytest
import torch

from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.checkpoints import Lineage, load_recogniser, save_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.weights import load_network, save_network, state_hash

EMOTIONS = ("neutral", "happiness", "anger")


def test_a_saved_fusion_comes_back_whole(tmp_path):
    network = LandmarkFusion(RgbArm(3, 48, 4), LandmarkArm(3, 160, 2)).eval()
    lineage = Lineage.of("abc", ["anna", None, "bo", "anna"], ["def"])
    digest = save_recogniser(tmp_path / "net.safetensors", network, EMOTIONS, lineage)
    again = load_recogniser(tmp_path / "net.safetensors")
    assert digest == again.recorded_sha256 == state_hash(again.network.state_dict())
    assert again.emotions == EMOTIONS
    assert again.lineage == lineage
    assert again.lineage.subjects == {"anna", "bo"}
    inputs = torch.rand(2, 3, 48, 48), torch.zeros(2, 1, 160, 160), torch.ones(2, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(again.network(*inputs).logits, network(*inputs).logits)


def test_weights_of_another_shape_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_recogniser(path, RgbArm(3, 48, 4), EMOTIONS, Lineage())
    state, config = load_network(path)
    state["fc.bias"] = torch.zeros(5)
    save_network(path, state, config)
    with pytest.raises(ValueError, match=r"another shape: fc\.bias \(5,\) instead of \(3,\)"):
        load_recogniser(path)


def test_a_file_without_the_config_of_a_recogniser_is_refused(tmp_path):
    save_network(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="lacks"):
        load_recogniser(tmp_path / "other.safetensors")


@pytest.mark.parametrize("data", [["anna"], {"networks": "a" * 64}, {"subjects": [1]}, None])
def test_a_lineage_of_another_form_is_refused_rather_than_empty(data):
    with pytest.raises(ValueError, match="expected a lineage of lists of names"):
        Lineage.from_json(data)
