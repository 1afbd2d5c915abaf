import numpy as np
import pytest
import torch

from fer_lib import assets
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.crop_rules import CUTS
from fer_lib.evaluation.judge_names import TRAINED, find_judge, judge_names
from fer_lib.evaluation.judges import Judge
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.emotion_net import EmotionNet

EMOTIONS = ("neutral", "happiness", "anger")


@pytest.fixture
def bare(workplace, monkeypatch):
    """A place where nothing was downloaded or trained."""
    monkeypatch.delenv("FER_SHARED", raising=False)
    return workplace


@pytest.fixture
def rgb(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "rgb.safetensors"
    save_recogniser(path, RgbArm(3, image_size=48, width=16, stride=8), EMOTIONS, Lineage())
    return path


@pytest.fixture
def own(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "judge.safetensors"
    save_recogniser(path, EmotionNet("b0", 3, False, 64), EMOTIONS, Lineage())
    return path


def test_every_name_is_a_judge_or_a_sentence(bare):
    assert len(set(judge_names())) == len(judge_names())
    for name in judge_names():
        found = find_judge(name)
        assert isinstance(found, Absent)
        assert found.name == name
        assert len(found.reason.split()) > 6


def test_the_asked_for_names_are_known():
    wanted = {"own", "stand-in", "emonet:8", "emonet:5", "mini_xception", "faceapi",
              "hsemotion:enet_b0_8_best_vgaf", "hsemotion:enet_b2_8"}  # fmt: skip
    assert wanted <= set(judge_names())


def test_trained_judges_come_from_the_checkpoints_that_are_handed_in(bare, rgb, own):
    stand_in = find_judge("stand-in", trained={"stand-in": rgb})
    assert (stand_in.spec.stand_in, stand_in.spec.crop) == (True, "tight")
    judge = find_judge("own", trained={"own": own})
    assert not judge.spec.stand_in
    assert "trained here" in judge.spec.name
    missing = find_judge("own", trained={"stand-in": rgb})
    assert TRAINED["own"] in missing.reason
    assert "run it first" in missing.reason


def test_paths_of_checkpoints_are_names_too(bare, rgb, own):
    assert find_judge(str(rgb)).spec.stand_in
    assert "trained here" in find_judge(str(own)).spec.name
    with pytest.raises(FileNotFoundError):
        find_judge(str(rgb.with_name("gone.safetensors")))
    rgb.write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match=r"rgb\.safetensors"):
        find_judge(str(rgb))
    with pytest.raises(ValueError, match="expected a judge out of own, stand-in"):
        find_judge("hsemotion")


@pytest.mark.parametrize("name", ["mini_xception", "faceapi"])
def test_the_small_judges_answer_where_their_files_are(shared, name):
    try:
        judge = find_judge(name)
    except assets.AssetError as error:
        pytest.skip(str(error))
    assert isinstance(judge, Judge)
    assert judge.spec.crop in CUTS
    assert not judge.faults
    side = judge.spec.image_size
    crop = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    assert judge.judge([crop], ["a"], subjects=(), lineage=Lineage())["label"].notna().all()
