import dataclasses
import weakref

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.evaluation.judge_spec import Answers, JudgeSpec
from fer_lib.evaluation.judgements import mean_probabilities, predicted_labels
from fer_lib.evaluation.judges import Judge
from fer_lib.labels import EMOTIONS
from fer_lib.networks.checkpoints import Lineage
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
    assert table.columns.tolist() == ["sample_id", "p_neutral", "p_happiness", "p_anger", "label"]
    np.testing.assert_allclose(table.iloc[:, 1:4].sum(axis=1), 1, atol=1e-5)
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
        (lambda x: x.sort(dim=1)[0].mean(dim=(2, 3)).softmax(1), "same of RGB and BGR"),
        (lambda x: Answers(x.mean(dim=(2, 3)).softmax(1), x[:, :2, 0, 0]), "valence and arousal"),
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


def test_names_and_crops_must_be_as_many():
    with pytest.raises(ValueError, match="a name for each crop, got 1 names, 5 crops"):
        judge_of().judge(crops_of(), ["f0"], subjects=(), lineage=Lineage())


def test_a_face_that_was_not_found_keeps_its_row():
    crops = list(crops_of(3))
    table = ask(judge_of(), [crops[0], None, crops[2]])
    assert table["p_anger"].isna().tolist() == [False, True, False]
    assert table["label"].isna().tolist() == [False, True, False]
    whole = ask(judge_of(), crops)
    pd.testing.assert_frame_equal(table.loc[[0, 2]], whole.loc[[0, 2]], atol=1e-6)
    assert ask(judge_of(), [None])["label"].isna().all()
    assert list(ask(judge_of(), [])) == list(whole)


def test_affect_is_clipped_and_features_are_given():
    def answer(x):
        means = x.mean(dim=(2, 3))
        return Answers(means.softmax(1), 9 * means[:, :2] - 4, means)

    judge = judge_of(answer, affect=True)
    crops = crops_of(4)
    crops[0], crops[1] = 0, 255
    table = ask(judge, crops)
    assert table["valence"].iloc[:2].tolist() == table["arousal"].iloc[:2].tolist() == [-1, 1]
    means = crops.astype(np.float32).mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(judge.features(crops, batch_size=3), means, atol=1e-5)
    with pytest.raises(ValueError, match="no features"):
        judge_of().features(crops)


def test_a_stream_is_judged_as_it_comes():
    taken = []

    def faces():
        for name, crop in enumerate(crops_of(5)):
            taken.append(name)
            yield f"f{name}", crop

    tables = judge_of().judge_stream(faces(), batch_size=2)
    first = next(tables)
    assert taken == [0, 1]
    rest = pd.concat([first, *tables], ignore_index=True)
    pd.testing.assert_frame_equal(rest, ask(judge_of()), atol=1e-6)


def test_a_long_stream_holds_one_batch_of_crops():
    alive = weakref.WeakSet()

    class Crop(np.ndarray):
        __hash__ = object.__hash__

    def faces():
        for number in range(2000):
            crop = np.full((24, 24, 3), number % 256, np.uint8).view(Crop)
            alive.add(crop)
            held.append(len(alive))
            yield f"f{number}", crop

    held, rows = [], 0
    for table in judge_of().judge_stream(faces(), batch_size=16):
        assert len(alive) <= 1, "a judged batch is let go but for the reader's own last crop"
        rows += len(table)
    assert rows == 2000
    assert max(held) <= 17


@pytest.mark.parametrize("size", [0, -4])
def test_a_batch_of_no_faces_is_refused_rather_than_answered_by_nothing(size):
    for ask_of in (ask, lambda judge, **how: judge.features(crops_of(), **how)):
        with pytest.raises(ValueError, match="a batch of 1 face or more"):
            ask_of(judge_of(), batch_size=size)


def test_an_answer_that_is_not_finite_is_refused_and_named():
    def answer(x):
        means = x.mean(dim=(2, 3))
        return means.log().mul(9).softmax(1) * (means / means)

    judge = judge_of(answer)
    crops = crops_of()
    assert len(ask(judge, crops)) == 5
    crops[3] = 0
    with pytest.raises(ValueError, match=r"no finite answer to 1 faces, such as 'f3'"):
        ask(judge, crops)


def test_names_may_repeat_and_rows_keep_their_order():
    crops = crops_of(4)
    judge = judge_of()
    table = judge.judge(crops, ["a", "b", "a", "a"], subjects=(), lineage=Lineage())
    assert table["sample_id"].tolist() == ["a", "b", "a", "a"]
    pd.testing.assert_frame_equal(table.iloc[:, 1:], ask(judge, crops).iloc[:, 1:])


def test_specifications_that_mislead_are_refused():
    with pytest.raises(ValueError, match="canonical"):
        judge_of(emotions=("happy", "neutral", "anger"))
    with pytest.raises(ValueError, match="say so in its name"):
        judge_of(stand_in=True)
    for side in (0, -24, 10**6, "24"):
        with pytest.raises(ValueError, match="expected a side of 8 to 1024 px"):
            judge_of(image_size=side)
    for emotions in ((), ("anger", "anger", "fear")):
        with pytest.raises(ValueError, match="each of them once"):
            judge_of(emotions=emotions)


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
