import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.evaluation.judgements import mean_probabilities, predicted_labels
from fer_lib.evaluation.judges import STAND_IN_NAME, Judge, JudgeSpec, load_stand_in
from fer_lib.labels import EMOTIONS
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.checkpoints import Lineage, save_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.published import hsemotion_probabilities
from fer_lib.weights import state_hash

LINEAGE = Lineage.of("store", ["anna", "bo"])
CLASSES = ("neutral", "happiness", "anger")


class Colours(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        return (self.scale * images.mean(dim=(2, 3))).softmax(dim=1)


def judge_of(answer=None, **changes):
    network = Colours()
    spec = JudgeSpec(
        "colours", 24, "tight", CLASSES, state_hash(network.state_dict()), "none", LINEAGE
    )
    return Judge(dataclasses.replace(spec, **changes), network, answer or network)


def crops_of(count=5, side=24):
    return np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


def ask(judge, crops=None, subjects=("cyn",), lineage=None, **options):
    crops = crops_of() if crops is None else crops
    names = [f"f{i}" for i in range(len(crops))]
    return judge.judge(crops, names, subjects=subjects, lineage=lineage or Lineage(), **options)


def test_a_valid_judge_answers_by_name_and_whatever_the_batch():
    judge = judge_of()
    assert judge.faults == ()
    table = ask(judge)
    assert table.columns.tolist() == ["sample_id", "p_neutral", "p_happiness", "p_anger"]
    np.testing.assert_allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)
    pd.testing.assert_frame_equal(ask(judge, batch_size=1), table, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda x: torch.full((len(x), 3), 1 / 3), "same of every image"),
        (lambda x: x.mean(dim=(2, 3)), "sum to 1"),
        (lambda x: x.mean(dim=(2, 3)) * float("nan"), "not finite"),
        (lambda x: (x - x.mean(dim=0)).mean(dim=(2, 3)).mul(9).softmax(1), "depend on the batch"),
        (lambda x: x.mean(dim=(2, 3))[:, :2].softmax(dim=1), "for 3 classes"),
        (lambda x: x.reshape(len(x), 7), "does not answer"),
    ],
)
def test_a_judge_that_fails_a_self_test_says_why_and_does_not_judge(answer, fault):
    judge = judge_of(answer)
    assert any(fault in sentence for sentence in judge.faults)
    with pytest.raises(ValueError, match="not valid"):
        ask(judge)


def test_other_weights_than_recorded_are_not_valid():
    judge = judge_of(weights_sha256="0" * 64)
    assert judge.faults == ("its weights are not the recorded ones",)


def test_a_judge_refuses_what_it_was_in_touch_with():
    judge = judge_of()
    own = judge.spec.weights_sha256
    with pytest.raises(ValueError, match="lineage"):
        ask(judge, lineage=Lineage(networks=frozenset([own])))
    child = judge_of(lineage=Lineage(networks=frozenset(["parent"])))
    with pytest.raises(ValueError, match="lineage"):
        ask(child, lineage=Lineage(networks=frozenset(["parent"])))
    with pytest.raises(ValueError, match=r"1 of the subjects.*'bo'"):
        ask(judge, subjects=["cyn", "bo", None])
    assert len(ask(judge, subjects=["cyn", None])) == 5


def test_crops_of_another_size_are_refused():
    with pytest.raises(ValueError, match="24, 24, 3"):
        ask(judge_of(), crops_of(side=32))


def test_specifications_that_mislead_are_refused():
    with pytest.raises(ValueError, match="canonical"):
        judge_of(emotions=("happy", "neutral", "anger"))
    with pytest.raises(ValueError, match="say so in its name"):
        judge_of(stand_in=True)


@pytest.mark.parametrize("fused", [False, True])
def test_the_stand_in_is_the_rgb_branch_and_is_named_a_stand_in(tmp_path, fused):
    torch.manual_seed(0)
    rgb = RgbArm(8, 48, 4).eval()
    network = LandmarkFusion(rgb, LandmarkArm(8, 144, 2)).eval() if fused else rgb
    save_recogniser(tmp_path / "net.safetensors", network, EMOTIONS, LINEAGE)
    judge = load_stand_in(tmp_path / "net.safetensors")
    assert judge.spec.name == STAND_IN_NAME
    assert judge.spec.stand_in
    assert judge.spec.lineage.subjects == {"anna", "bo"}
    assert judge.spec.weights_sha256 == state_hash(rgb.state_dict())
    crops = crops_of(3, 48)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = rgb(images).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(ask(judge, crops).iloc[:, 1:], expected, atol=1e-5)


def judged_rows():
    """Seed 000's own table: one face per target emotion."""
    table = hsemotion_probabilities()
    rows = table.rename(columns=lambda name: f"p_{name}").reset_index(names="emotion")
    return rows.assign(subject="only")


def test_one_face_per_target_gives_seed_000s_tables_back():
    judged = judged_rows()
    means = mean_probabilities(judged, draws=10)
    pd.testing.assert_frame_equal(means.mean, hsemotion_probabilities(), check_names=False)
    assert list(means.mean.columns) == sorted(EMOTIONS)
    assert (means.n == 1).all()
    labels = predicted_labels(judged)
    wrong = labels.index[labels["predicted"] != labels.index]
    assert wrong.tolist() == ["anger"]
    assert labels.loc["anger", "predicted"] == "neutral"
    assert labels.loc["contempt", "margin"] == pytest.approx(0.0005, abs=1e-4)


def test_means_have_intervals_and_faces_without_answer_count_as_not_recognised():
    generator = np.random.default_rng(0)
    sure = generator.uniform(0.5, 1, 40)
    judged = pd.DataFrame({"emotion": ["fear"] * 40, "p_fear": sure, "p_anger": 1 - sure})
    judged["subject"] = np.repeat(np.arange(8), 5).astype(str)
    judged.loc[:3, ["p_fear", "p_anger"]] = np.nan
    means = mean_probabilities(judged, cluster="subject")
    assert means.mean.loc["fear", "fear"] == pytest.approx(sure[4:].mean())
    assert means.low.loc["fear", "fear"] < means.mean.loc["fear", "fear"]
    assert means.high.loc["fear", "fear"] > means.mean.loc["fear", "fear"]
    assert means.n["fear"] == 36
    row = predicted_labels(judged).loc["fear"]
    assert (row["n"], row["recognised"]) == (40, 0.9)


def test_a_target_that_nobody_could_judge_has_no_label():
    judged = pd.DataFrame({"emotion": ["fear"], "p_fear": [np.nan], "p_anger": [np.nan]})
    row = predicted_labels(judged).loc["fear"]
    assert row["predicted"] is None
    assert row["recognised"] == 0
    assert mean_probabilities(judged).mean.empty
