"""Balancing: counts before and after, and the recount of the published table."""

from collections import Counter

import numpy as np
import pytest

from fer_lib import published
from fer_lib.datasets.balance import (
    cap_classes,
    check_published_counts,
    class_table,
    inverse_frequency_weights,
    oversample_classes,
)
from fer_lib.labels import EMOTIONS
from fer_lib.tables import sample_table

NAMES = ["neutral"] * 7 + ["fear"] * 2 + ["anger"] * 3


def test_class_table_counts_by_emotion_and_split_and_keeps_empty_classes():
    rows = [
        {"sample_id": str(i), "emotion": name, "split": "train" if i % 2 else "test"}
        for i, name in enumerate(NAMES)
    ]
    rows.append({"sample_id": "x", "emotion": "fear", "split": "train", "status": "no_face"})
    rows.append({"sample_id": "y", "split": "train"})
    table = class_table(sample_table(rows))
    assert list(table.index) == [*EMOTIONS, "total"]
    assert table.loc["neutral"].tolist() == [3, 0, 4, 7]
    assert table.loc["contempt"].tolist() == [0, 0, 0, 0]
    assert table.loc["total", "total"] == len(NAMES)


def test_class_table_counts_repeated_positions():
    rows = sample_table([{"sample_id": "a", "emotion": "fear", "split": "train"}])
    assert class_table(rows, [0, 0, 0]).loc["fear", "train"] == 3


def test_cap_keeps_small_classes_whole():
    kept = cap_classes(NAMES, 3)
    assert Counter(NAMES[i] for i in kept) == {"neutral": 3, "fear": 2, "anger": 3}
    assert len(set(kept.tolist())) == len(kept)


def test_cap_is_drawn_by_seed_and_refuses_zero():
    names = ["fear"] * 1000
    assert np.array_equal(cap_classes(names, 10, seed=1), cap_classes(names, 10, seed=1))
    assert not np.array_equal(cap_classes(names, 10, seed=1), cap_classes(names, 10, seed=2))
    with pytest.raises(ValueError, match="cap"):
        cap_classes(NAMES, 0)


def test_oversampling_makes_classes_equal_and_uses_every_row():
    drawn = oversample_classes(NAMES)
    assert Counter(NAMES[i] for i in drawn) == {"neutral": 7, "fear": 7, "anger": 7}
    times = Counter(drawn.tolist())
    assert set(times) == set(range(len(NAMES)))
    assert {times[i] for i in (7, 8)} == {3, 4}


def test_balancing_nothing_gives_nothing():
    assert cap_classes([], 5).tolist() == []
    assert oversample_classes([]).tolist() == []
    assert inverse_frequency_weights([]).sum() == 0


def test_weights_make_every_present_class_count_the_same():
    weights = inverse_frequency_weights(NAMES)
    counts = np.array([NAMES.count(name) for name in EMOTIONS])
    assert weights[counts == 0].tolist() == [0] * 5
    assert (weights * counts)[counts > 0] == pytest.approx([4.0, 4.0, 4.0])
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)


def test_published_list_is_found_to_be_500_too_long_at_anger():
    table, finding = check_published_counts()
    assert table.loc["total", "printed"] == 288_151
    assert table.loc["total", "expected"] == 287_651
    assert table.index[table["difference"] != 0].tolist() == ["anger", "total"]
    assert "288,151" in finding
    assert "Anger should be 24,882" in finding
    assert "287,651" in finding


def test_a_right_list_would_be_called_right(monkeypatch):
    counts = {**published.AFFECTNET_AFTER_LABELLING, "anger": 24_882}
    monkeypatch.setattr(published, "AFFECTNET_AFTER_LABELLING", counts)
    assert "as the training log says" in check_published_counts()[1]
