import numpy as np
import pandas as pd
import pytest

from fer_lib.datasets.edits import COPY_SOURCE, TRUE_EDIT, trivial_edits
from fer_lib.evaluation.edit_scores import accuracy_gain, judged_edits, target_accuracy
from fer_lib.tables import probability_columns, sample_table

EMOTIONS = ("neutral", "happiness", "fear")


@pytest.fixture
def edits():
    return trivial_edits(sample_table([
        {"sample_id": f"{who}-{emotion}", "subject": who, "pair": who, "emotion": emotion}
        for who in ("ann", "ben", "cat") for emotion in EMOTIONS
    ]))


def judge(edits, says):
    """A judge that is sure of ``says(image)``."""
    images = sorted(set(edits["image"]))
    cells = np.array([[float(says(image) == emotion) for emotion in EMOTIONS] for image in images])
    table = pd.DataFrame(cells, columns=probability_columns(EMOTIONS))
    return table.assign(sample_id=images)


def test_a_perfect_judge_reaches_every_true_edit_and_no_copy(edits):
    judged = judged_edits(edits, judge(edits, lambda image: image.split("-")[1]))
    scores = target_accuracy(judged)
    assert list(scores) == [TRUE_EDIT, COPY_SOURCE]
    assert scores[TRUE_EDIT][:3] == (1, 1, 1)
    assert scores[COPY_SOURCE][:3] == (0, 0, 0)
    assert scores[TRUE_EDIT].n == 18
    assert accuracy_gain(judged, TRUE_EDIT, COPY_SOURCE).value == 1


def test_a_constant_judge_gives_no_gain(edits):
    judged = judged_edits(edits, judge(edits, lambda image: "fear"))
    assert accuracy_gain(judged, TRUE_EDIT, COPY_SOURCE)[:3] == (0, 0, 0)
    assert target_accuracy(judged)[TRUE_EDIT].value == pytest.approx(1 / 3)


def test_an_image_that_was_not_judged_is_not_reached(edits):
    answers = judge(edits, lambda image: image.split("-")[1])
    judged = judged_edits(edits, answers[answers["sample_id"] != "ann-fear"])
    lost = judged[judged["image"] == "ann-fear"]
    assert not lost["reached"].any()
    assert lost["target_probability"].isna().all()
    assert target_accuracy(judged)[TRUE_EDIT].n == 18
    assert target_accuracy(judged)[TRUE_EDIT].value == pytest.approx(16 / 18)


def test_intervals_resample_people_not_edits(edits):
    by_person = judge(edits, lambda image: image.split("-")[1] if "ann" not in image else "none")
    by_person.loc[by_person["sample_id"].str.contains("ann"), "p_neutral"] = 1.0
    share = target_accuracy(judged_edits(edits, by_person))[TRUE_EDIT]
    assert share.high - share.low > 0.4


def test_a_target_the_judge_does_not_know_is_refused(edits):
    answers = judge(edits, lambda image: "fear").drop(columns="p_happiness")
    with pytest.raises(ValueError, match="happiness"):
        judged_edits(edits, answers)


def test_gain_needs_the_same_edits(edits):
    judged = judged_edits(edits, judge(edits, lambda image: "fear"))
    with pytest.raises(ValueError, match="same edits"):
        accuracy_gain(judged.drop(index=0), TRUE_EDIT, COPY_SOURCE)
