"""Every kind of judge refuses what it cannot judge: in one sentence, and nothing is executed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

from fer_lib.evaluation import hsemotion
from fer_lib.evaluation.emonet import emonet_judge
from fer_lib.evaluation.judge_spec import UnavailableError
from fer_lib.evaluation.judges import Judge
from fer_lib.evaluation.small_judges import load_small_judge
from fer_lib.evaluation.stand_in import load_stand_in
from fer_lib.labels import EMOTIONS
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.emonet import EmoNetOutput
from fer_lib.networks.emotion_net import EmotionNet

ANCESTOR = "a" * 64


class SmallEmoNet(nn.Module):
    """Answers in EmoNet's form, from mean colours."""

    def __init__(self, classes=8):
        super().__init__()
        self.classes = classes
        self.fc = nn.Linear(3, classes + 2)

    def forward(self, images):
        scores = self.fc(images.mean(dim=(2, 3)))
        heatmaps = images.new_zeros(len(images), 68, 64, 64)
        return EmoNetOutput(heatmaps, scores[:, :-2], scores[:, -2], scores[:, -1])


def with_statistics(trunk):
    """Take the normalisations' means and variances from pictures; else all answers are alike."""
    for part in trunk.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        trunk.train()(nn.functional.interpolate(torch.randn(8, 3, 4, 4), 48, mode="bilinear"))
    return trunk.eval()


def hsemotion_judge(folder):
    model = hsemotion.HsemotionModel(backbone="tiny", image_size=48)
    network = with_statistics(timm.create_model("tinynet_e", num_classes=8))
    torch.save(network, folder / "small.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(hsemotion.MODELS, "small", model)
        patch.setenv("FER_DATA", str(folder))
        return hsemotion.load_hsemotion("small", path=folder / "small.pt")


def own_judge(folder):
    network = EmotionNet("tiny", image_size=48)
    with_statistics(network.trunk)
    save_recogniser(folder / "net.safetensors", network, EMOTIONS, Lineage())
    return hsemotion.load_own_emotion_judge(folder / "net.safetensors")


def stand_in(folder):
    save_recogniser(folder / "net.safetensors", RgbArm(8, 48, 4).eval(), EMOTIONS, Lineage())
    return load_stand_in(folder / "net.safetensors")


def small_judge(name):
    def make(_):
        try:
            return load_small_judge(name)
        except UnavailableError as error:
            pytest.skip(str(error))

    return make


KINDS = {
    "hsemotion": hsemotion_judge,
    "own emotion net": own_judge,
    "stand-in": stand_in,
    "emonet": lambda _: emonet_judge(SmallEmoNet()),
    "mini-xception": small_judge("mini_xception"),
    "faceapi": small_judge("faceapi"),
}


@pytest.fixture(scope="module", params=KINDS)
def judge(request, tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = KINDS[request.param](tmp_path_factory.mktemp("judge"))
    assert made.faults == ()
    lineage = dataclasses.replace(
        made.spec.lineage,
        subjects=frozenset(["anna"]),
        networks=made.spec.lineage.networks | {ANCESTOR},
    )
    made.spec = dataclasses.replace(made.spec, lineage=lineage)
    return made


class Trap:
    """Looks like an array; whoever converts it runs its code."""

    def __array__(self, *_, **__):
        pytest.fail("code of the input was run")


def faces_for(judge, count=3):
    side = judge.spec.image_size
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def ask(judge, crops, names=None, **options):
    names = [f"f{number}" for number in range(len(crops))] if names is None else names
    return judge.judge(crops, names, **{"subjects": ["cyn"], "lineage": Lineage()} | options)


def with_nan(faces):
    broken = faces / 255
    broken[1, 0, 0, 0] = np.nan
    return broken


PICTURE = r"expected uint8 RGB crops \(H, W, 3\) that are not empty, got "
BAD_CROPS = {
    "an empty crop": (lambda x: [x[0], x[1][:0]], PICTURE + "uint8 "),
    "no width": (lambda x: [x[0], x[1][:, :0]], PICTURE + "uint8 "),
    "NaN": (with_nan, PICTURE + "float64"),
    "floats in [0, 1]": (lambda x: np.float32(x) / 255, PICTURE + "float32"),
    "floats in [0, 255]": (lambda x: np.float32(x), PICTURE + "float32"),
    "int16": (lambda x: np.int16(x), PICTURE + "int16"),
    "uint16": (lambda x: np.uint16(x) * 257, PICTURE + "uint16"),
    "bool": (lambda x: x > 99, PICTURE + "bool"),
    "four channels": (lambda x: np.concatenate([x, x[..., :1]], axis=-1), PICTURE + "uint8 .*4"),
    "grey": (lambda x: x[..., 0], PICTURE + "uint8 "),
    "one channel": (lambda x: x[..., :1], PICTURE + "uint8 .*1"),
    "channels first": (lambda x: x.transpose(0, 3, 1, 2), PICTURE + r"uint8 \(3, "),
    "one face, not a list": (lambda x: x[0], PICTURE + "uint8 "),
    "batches in a list": (lambda x: [x], PICTURE + "uint8 "),
    "objects": (lambda x: x.astype(object), PICTURE + "object"),
    "a path": (lambda x: ["face.png"], PICTURE + "str"),
    "one string": (lambda x: "face", PICTURE + "str"),
    "bytes": (lambda x: x[0].tobytes()[:9], PICTURE + "int"),
    "bytes of a file": (lambda x: [b"\xff\xd8\xff"], PICTURE + "bytes"),
    "nested lists": (lambda x: x.tolist(), PICTURE + "list"),
    "tensors": (lambda x: list(torch.from_numpy(x)), PICTURE + "Tensor"),
    "a tensor": (torch.from_numpy, "expected an array or a list of crops, got Tensor"),
    "a table": (lambda x: pd.DataFrame(x[0, 0]), "expected an array or a list .*DataFrame"),
    "a set of names": (lambda x: {"a", "b"}, "expected an array or a list of crops, got set"),
    "a trap": (lambda x: [Trap()], PICTURE + "Trap"),
}


def sentence_of(error):
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 300
    return said


@pytest.mark.parametrize("name", BAD_CROPS)
def test_what_is_no_face_crop_is_refused_in_one_sentence(judge, name):
    make, words = BAD_CROPS[name]
    with pytest.raises(ValueError, match=words) as error:
        ask(judge, make(faces_for(judge)))
    sentence_of(error)


BAD_QUESTIONS = {
    "too few names": ({"names": ["a", "b"]}, "a name for each crop, got 2 names, 3 crops"),
    "too many names": ({"names": list("abcd")}, "a name for each crop, got 4 names, 3 crops"),
    "a known subject": ({"subjects": ["cyn", "anna"]}, r"learned from 1 of the subjects .*'anna'"),
    "subjects in a string": ({"subjects": "anna"}, "a list of names, got the string 'anna'"),
    "an ancestor": (
        {"lineage": Lineage(networks=frozenset([ANCESTOR]))}, "is in the lineage .*another judge",
    ),
    "no faces at a time": ({"batch_size": 0}, "expected a batch of 1 face or more, got 0"),
    "less than none": ({"batch_size": -1}, "expected a batch of 1 face or more, got -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_what_may_not_be_asked_is_refused_in_one_sentence(judge, name):
    options, words = BAD_QUESTIONS[name]
    with pytest.raises(ValueError, match=words) as error:
        ask(judge, faces_for(judge), **options)
    sentence_of(error)


def test_a_judge_whose_hash_is_in_the_lineage_is_refused(judge):
    lineage = Lineage(networks=frozenset([judge.spec.weights_sha256]))
    with pytest.raises(ValueError, match="is in the lineage of what it is to judge") as error:
        ask(judge, faces_for(judge), lineage=lineage)
    assert repr(judge.spec.name) in sentence_of(error)


def test_sizes_that_differ_are_refused_unless_the_judge_resizes(judge):
    side = judge.spec.image_size
    ragged = [np.zeros((side, side, 3), np.uint8), np.zeros((side + 8, side, 3), np.uint8)]
    if judge.spec.crop == "box":
        assert ask(judge, ragged).notna().all(axis=None)
    else:
        words = rf"expected crops of \({side}, {side}, 3\), got \({side + 8}, {side}, 3\)"
        with pytest.raises(ValueError, match=words) as error:
            ask(judge, ragged)
        sentence_of(error)


def test_weights_changed_after_they_were_recorded_are_refused(judge):
    again = Judge(judge.spec, judge.network, judge._answer, judge.device)
    parameter = next(judge.network.parameters())
    with torch.no_grad():
        first = parameter.reshape(-1)[0].clone()
        parameter.reshape(-1)[0] += 1
    with pytest.raises(ValueError, match="not valid: its weights are not the recorded") as error:
        ask(again, faces_for(judge))
    sentence_of(error)
    with torch.no_grad():
        parameter.reshape(-1)[0] = first


def test_a_network_that_answers_nan_is_refused(judge):
    count = len(judge.spec.emotions)
    spec = dataclasses.replace(judge.spec, affect=False)
    broken = Judge(spec, judge.network, lambda x: torch.full((len(x), count), torch.nan))
    with pytest.raises(ValueError, match="not valid: its answers are not finite") as error:
        ask(broken, faces_for(judge))
    sentence_of(error)


def test_odd_but_honest_input_is_answered_row_by_row(judge):
    faces = faces_for(judge)
    table = ask(judge, faces)
    columns = [f"p_{emotion}" for emotion in judge.spec.emotions]
    objects = np.empty(3, object)
    objects[:] = list(faces)
    for same in (objects, list(faces), tuple(faces), faces[:, ::-1][:, ::-1]):
        pd.testing.assert_frame_equal(ask(judge, same), table, atol=1e-6)
    nobody = ask(judge, [None, None])
    assert nobody["sample_id"].tolist() == ["f0", "f1"]
    assert nobody[columns].isna().all(axis=None)
    assert nobody["label"].isna().all()
    assert list(ask(judge, [])) == list(table)
    assert ask(judge, faces, ["a", "b", "a"])["sample_id"].tolist() == ["a", "b", "a"]
