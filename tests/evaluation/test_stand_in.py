import numpy as np
import pytest
import torch

from fer_lib.evaluation.stand_in import STAND_IN_NAME, load_stand_in
from fer_lib.labels import EMOTIONS
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.checkpoints import Lineage, load_recogniser, save_recogniser
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.weights import load_network, save_network, state_hash

LINEAGE = Lineage.of("store", ["anna", "bo"])


@pytest.fixture(scope="module")
def rgb():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RgbArm(8, 48, 4).eval()


def saved(rgb, path, fused):
    network = LandmarkFusion(rgb, LandmarkArm(8, 144, 2)).eval() if fused else rgb
    save_recogniser(path, network, EMOTIONS, LINEAGE)
    return path


def crops_of(count, side=48):
    return np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


def ask(judge, crops, lineage=None):
    names = range(len(crops))
    return judge.judge(crops, names, subjects=["cyn"], lineage=lineage or Lineage())


@pytest.mark.parametrize("fused", [False, True])
def test_the_stand_in_is_the_rgb_branch_and_is_named_a_stand_in(tmp_path, rgb, fused):
    judge = load_stand_in(saved(rgb, tmp_path / "net.safetensors", fused))
    assert judge.spec.name == STAND_IN_NAME
    assert judge.spec.stand_in
    assert judge.spec.crop == "tight"
    assert judge.spec.lineage.subjects == {"anna", "bo"}
    assert judge.spec.weights_sha256 == state_hash(rgb.state_dict())
    crops = crops_of(3)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = rgb(images).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(ask(judge, crops).iloc[:, 1:-1].astype(float), expected, atol=1e-5)


def test_an_edit_set_may_name_the_fusion_or_its_branch(tmp_path, rgb):
    path = saved(rgb, tmp_path / "net.safetensors", fused=True)
    judge = load_stand_in(path)
    for network in (load_recogniser(path).recorded_sha256, state_hash(rgb.state_dict())):
        with pytest.raises(ValueError, match="in the lineage"):
            ask(judge, crops_of(1), Lineage(networks=frozenset([network])))


@pytest.mark.parametrize("fused", [False, True])
def test_weights_changed_after_they_were_recorded_are_not_valid(tmp_path, rgb, fused):
    path = saved(rgb, tmp_path / "net.safetensors", fused)
    state, config = load_network(path)
    state["rgb.fc.bias" if fused else "fc.bias"] += 0.1
    save_network(path, state, config)
    judge = load_stand_in(path)
    assert judge.faults == ("its weights are not the recorded ones",)
    with pytest.raises(ValueError, match="not valid: its weights are not the recorded ones"):
        ask(judge, crops_of(1))


def test_other_networks_are_no_stand_in(tmp_path):
    for network in (LandmarkArm(8, 144, 2), EmotionNet("tiny", image_size=32)):
        save_recogniser(tmp_path / "net.safetensors", network, EMOTIONS, LINEAGE)
        with pytest.raises(ValueError, match=r"RGB branch or a fusion in net\.safetensors"):
            load_stand_in(tmp_path / "net.safetensors")
