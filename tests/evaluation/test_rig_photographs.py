"""Photographs: what a smile leaves in place is laid on top of each other, and people are chosen."""

import numpy as np
import pytest
import torch
from rig_store import SMALL, drawn_store, faces

from fer_lib.datasets.store import Store
from fer_lib.evaluation import rig_photographs
from fer_lib.faces.warp import transform_points


class Reader:
    """Knows everybody's parameters."""

    def photographs(self, some, *, together=False):
        return faces(4)[some.rows.tolist()]


def test_the_similarity_is_found_whatever_the_mouth_does():
    points = torch.rand(3, 68, 2, generator=torch.Generator().manual_seed(0)) * 100
    turn = torch.tensor([[1.1, -0.2, 5.0], [0.2, 1.1, -3.0]]).expand(3, 2, 3)
    moved = transform_points(points, turn)
    moved[:, 48:] += 30
    found = rig_photographs.still_similarity(points, moved)
    assert torch.allclose(found, turn, atol=1e-3)
    unknown = points.clone()
    unknown[0, 36] = torch.nan
    found = rig_photographs.still_similarity(unknown, moved)
    assert found[0].isnan().any()
    assert torch.allclose(found[1:], turn[1:], atol=1e-3)


def test_a_pair_is_an_edit_of_the_neutral_photograph():
    store = drawn_store()
    task = rig_photographs.pair_task(store, Reader(), SMALL)
    assert task.pairs["subject"].tolist() == ["p0", "p1", "p2", "p3"]
    assert task.pairs["source_id"].tolist() == [f"p{k}-neutral" for k in range(4)]
    assert torch.equal(task.edited.shape, task.source.shape)
    assert (task.edited.expression != task.source.expression).any(1).all()
    assert task.true.shape == (4, SMALL, SMALL, 3)
    assert len(task.edits("rig")) == 4


def test_pairs_without_landmarks_are_refused():
    store = drawn_store()
    unknown = store.landmarks.copy()
    unknown[0] = np.nan
    with pytest.raises(ValueError, match="got 1 without"):
        rig_photographs.pair_task(replaced(store, unknown), Reader(), SMALL)


def replaced(store, landmarks):
    new = Store(store.path, store.index, store.faces, landmarks, store.card, store.extras)
    new.__dict__["params"] = store.params
    return new


def test_different_people_are_looked_at():
    images, params = rig_photographs.some_photographs(drawn_store(), Reader(), SMALL, 3, None)
    assert images.shape == (3, 3, SMALL, SMALL)
    assert len(params.shape.unique(dim=0)) == 3
