"""Splits: by subject, by name, whatever the order of rows."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lib.datasets.splits import assign_splits, check_subjects, split_subjects
from fer_lib.tables import sample_table


def samples(n_subjects=30, per_subject=4):
    return sample_table(
        [
            {"sample_id": f"{s}_{i}", "subject": f"person {s}"}
            for s in range(n_subjects)
            for i in range(per_subject)
        ]
    )


def test_fractions_are_met_to_within_a_subject():
    counts = pd.Series(split_subjects(map(str, range(1000)), (0.7, 0.1, 0.2))).value_counts()
    assert counts.to_dict() == {"train": 700, "test": 200, "val": 100}


def test_no_subject_crosses_splits():
    split = assign_splits(samples())
    check_subjects(split)
    assert split["split"].notna().all()
    assert split.groupby("subject")["split"].nunique().max() == 1


def test_order_of_rows_does_not_matter():
    table = samples()
    shuffled = table.sample(frac=1, random_state=3)
    expected = assign_splits(table).set_index("sample_id")["split"]
    assert assign_splits(shuffled).set_index("sample_id")["split"].sort_index().equals(
        expected.sort_index()
    )


def test_seed_changes_the_assignment_and_repeats_it():
    names = [str(i) for i in range(100)]
    assert split_subjects(names, seed=1) == split_subjects(names, seed=1)
    assert split_subjects(names, seed=1) != split_subjects(names, seed=2)


def test_assignment_is_the_same_on_every_machine():
    assert split_subjects(["anna", "bela", "cleo", "dora", "egon"], (0.6, 0.2, 0.2)) == {
        "anna": "test", "bela": "train", "cleo": "train", "dora": "val", "egon": "train",
    }


def test_unknown_subjects_are_persons_of_their_own():
    table = sample_table([{"sample_id": str(i)} for i in range(40)])
    assert assign_splits(table)["split"].value_counts()["test"] == 8


def test_crossing_is_found_and_named():
    table = assign_splits(samples())
    table.loc[0, "split"] = "val" if table.loc[0, "split"] == "train" else "train"
    with pytest.raises(ValueError, match="person 0"):
        check_subjects(table)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (-0.1, 0.6, 0.5), (0, 0, 0)])
def test_fractions_that_are_no_shares_are_refused(fractions):
    with pytest.raises(ValueError, match="sum to 1"):
        split_subjects(["a"], fractions)


@settings(deadline=None)
@given(st.sets(st.text(), max_size=40), st.integers(0, 5))
def test_every_subject_gets_one_split_and_small_sets_leave_none_empty(names, seed):
    split_of = split_subjects(names, seed=seed)
    assert set(split_of) == names
    if len(names) >= 3:
        assert set(split_of.values()) == {"train", "val", "test"}


def test_a_share_of_zero_stays_empty():
    assert set(split_subjects(map(str, range(50)), (0.8, 0.0, 0.2)).values()) == {"train", "test"}
