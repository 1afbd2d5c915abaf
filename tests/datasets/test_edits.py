import pytest

from fer_lib.datasets.edits import (
    COPY_SOURCE,
    PHOTOGRAPH,
    STRANGER,
    TRUE_EDIT,
    one_source_per_target,
    trivial_edits,
)
from fer_lib.datasets.edits import counterfactual_pairs as pairs_of
from fer_lib.labels import EMOTIONS
from fer_lib.tables import EDIT_COLUMNS, sample_table


@pytest.fixture
def groups():
    """Two people, two groups each, every emotion in every group."""
    return sample_table([
        {"sample_id": f"{who}-{group}-{emotion}", "subject": who, "pair": f"{who}-{group}",
         "emotion": emotion}
        for who in ("ann", "ben") for group in (0, 1) for emotion in EMOTIONS
    ])


def of(edits, editor):
    return edits[edits["editor"] == editor]


def test_pairs_are_all_edits_within_a_group(groups):
    pairs = pairs_of(groups)
    assert len(pairs) == 4 * 8 * 7
    assert (pairs["source_emotion"] != pairs["target_emotion"]).all()
    by_id = groups.set_index("sample_id")
    for end in ("source", "target"):
        rows = by_id.loc[pairs[f"{end}_id"]]
        assert (rows["pair"].to_numpy() == pairs["pair"].to_numpy()).all()
        assert (rows["subject"].to_numpy() == pairs["subject"].to_numpy()).all()
        assert (rows["emotion"].to_numpy() == pairs[f"{end}_emotion"].to_numpy()).all()


def test_rows_without_group_or_with_failures_are_in_no_pair():
    rows = [
        {"sample_id": "a", "pair": "g", "emotion": "fear"},
        {"sample_id": "b", "pair": "g", "emotion": "anger", "status": "no_face"},
        {"sample_id": "c", "emotion": "fear"},
        {"sample_id": "d", "emotion": "anger"},
    ]
    assert pairs_of(sample_table(rows)).empty


def test_every_target_of_a_group_is_aimed_at_once(groups):
    pairs = pairs_of(groups)
    chosen = one_source_per_target(pairs, seed=3)
    assert len(chosen) == 4 * 8
    assert not chosen.duplicated(["pair", "target_emotion"]).any()
    assert chosen.equals(one_source_per_target(pairs, seed=3))
    assert not chosen.equals(one_source_per_target(pairs, seed=4))
    assert len(set(chosen["source_emotion"])) > 3


def test_the_true_edit_shows_the_target_and_the_copy_the_source(groups):
    edits = trivial_edits(groups)
    assert set(EDIT_COLUMNS) <= set(edits.columns)
    emotion_of = groups.set_index("sample_id")["emotion"]
    true, copied = of(edits, TRUE_EDIT), of(edits, COPY_SOURCE)
    assert len(true) == len(copied) == 4 * 8
    assert (emotion_of[true["image"]].to_numpy() == true["target_emotion"].to_numpy()).all()
    assert (true["image"] == true["true_edit"]).all()
    assert (copied["image"] == copied["source_id"]).all()
    assert (emotion_of[copied["image"]].to_numpy() != copied["target_emotion"].to_numpy()).all()


def test_the_stranger_is_somebody_else_with_the_target_emotion(groups):
    strangers = of(trivial_edits(groups), STRANGER)
    shown = groups.set_index("sample_id").loc[strangers["image"]]
    assert (shown["subject"].to_numpy() != strangers["subject"].to_numpy()).all()
    assert (shown["emotion"].to_numpy() == strangers["target_emotion"].to_numpy()).all()


def test_nobody_is_a_stranger_to_themselves(groups):
    alone = groups[groups["subject"] == "ann"].reset_index(drop=True)
    assert of(trivial_edits(alone), STRANGER).empty


def test_without_pairs_every_labelled_face_stands_for_itself(groups):
    photographs = groups.assign(pair=None)
    photographs.loc[3, "status"] = "no_face"
    photographs.loc[4, "emotion"] = None
    edits = trivial_edits(sample_table(photographs))
    assert set(edits["editor"]) == {PHOTOGRAPH}
    assert len(edits) == len(groups) - 1  # a failed face counts, one without a label cannot
    assert (edits["image"] == edits["source_id"]).all()
