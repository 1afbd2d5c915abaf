"""Pairs of photographs of the same people, and hand-set points in crops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lib import assets
from fer_lib.datasets.london import read_london
from fer_lib.datasets.pairs import expression_pairs, some_people, template_in_crops
from fer_lib.datasets.sources import make_locator
from fer_lib.datasets.store import Store
from fer_lib.faces.align import LOOSE_FRAME, frame_points
from fer_lib.tables import sample_table


def store_of(index, size=112):
    faces = np.zeros((len(index), size, size, 3), np.uint8)
    return Store(Path("memory"), index, faces, np.zeros((len(index), 68, 2)), {}, {})


def test_everybody_with_both_emotions_is_paired_once():
    shown = [("b", "happiness"), ("a", "neutral"), ("a", "happiness"), ("a", "neutral"),
             ("b", "neutral"), ("c", "neutral"), ("d", "happiness"), ("e", "neutral")]  # fmt: skip
    rows = [
        {"sample_id": str(k), "subject": who, "emotion": emotion, "status": "ok"}
        for k, (who, emotion) in enumerate(shown)
    ]
    rows.append({"sample_id": "lost", "subject": "e", "emotion": "happiness", "status": "no_face"})
    first, second = expression_pairs(store_of(sample_table(pd.DataFrame(rows))))
    assert first.tolist() == [1, 4]
    assert second.tolist() == [2, 0]


def test_hand_set_points_lie_where_the_crop_puts_the_face(shared):
    root = shared / "data" / "london512"
    if not root.is_dir() or not assets.verify("face_landmarker"):
        pytest.skip("FER_SHARED holds no London pictures or no landmark mesh")
    index = read_london(root)
    neutral = np.flatnonzero(index["emotion"] == "neutral")[:2]
    smiling = np.flatnonzero(index["emotion"] == "happiness")[:1]
    rows = np.concatenate([neutral, smiling])
    found = template_in_crops(store_of(index), rows, root, make_locator("mesh", "cpu"))
    assert found.shape == (3, 189, 2)
    # The template knows the neutral pictures alone.
    assert np.isnan(found[2]).all()
    lids = [[18, 22, 20, 29], [23, 27, 25, 32]]
    eyes = np.stack([found[:2, lid].mean(1) for lid in lids], axis=1)
    frame = frame_points(LOOSE_FRAME, 112).numpy()
    assert np.abs(eyes - frame[:2]).max() < 5


def test_some_people_are_named_person_by_person_without_failures():
    rows = [
        {"sample_id": f"{who}{k}", "subject": who, "status": "no_face" if k == 0 else "ok"}
        for k in range(4) for who in ("ben", "ann", "cat")
    ]
    index = sample_table([*rows, {"sample_id": "stray"}])
    assert some_people(index, 2, 2) == ["ann1", "ann2", "ben1", "ben2"]
    assert len(some_people(index, 9, 9)) == 9
