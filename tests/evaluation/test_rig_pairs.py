"""Pairs to edit: balanced, of two sizes, and on disk with their lineage."""

import numpy as np
import pandas as pd
import pytest
import torch
from rig_store import EMOTIONS, SIZE, SMALL, Locator, drawn_store, faces

from fer_lib.datasets.edits import COPY_SOURCE, counterfactual_pairs
from fer_lib.evaluation import rig_pairs
from fer_lib.networks.checkpoints import Lineage


@pytest.fixture
def task():
    store = drawn_store()
    pairs = counterfactual_pairs(store.index[store.index["split"] == "test"])
    ids = pd.Index(store.index["sample_id"])
    source, target = (faces(4)[torch.from_numpy(ids.get_indexer(pairs[name]))]
                      for name in ("source_id", "target_id"))  # fmt: skip
    return rig_pairs.EditTask.of(store, pairs, SMALL, source, target)


def test_every_emotion_is_source_and_target_as_often_as_can_be():
    rows = [{"source_id": f"{a}{k}", "target_id": f"{b}{k}", "source_emotion": a,
             "target_emotion": b, "subject": f"p{k}", "pair": f"p{k}"}
            for k in range(30) for a in EMOTIONS for b in EMOTIONS if a != b]  # fmt: skip
    chosen = rig_pairs.balanced_pairs(pd.DataFrame(rows), 48, seed=3)
    assert set(chosen.groupby(["source_emotion", "target_emotion"]).size()) == {4}
    assert chosen["subject"].nunique() > 15
    assert chosen.equals(rig_pairs.balanced_pairs(pd.DataFrame(rows), 48, seed=3))
    assert len(rig_pairs.balanced_pairs(pd.DataFrame(rows[:5]), 48)) == 5


def test_an_edit_keeps_all_of_the_source_but_its_expression(task):
    assert len(task) == 12
    assert task.images.shape == (12, 3, SMALL, SMALL)
    for name in ("shape", "pose", "camera", "albedo", "light"):
        assert torch.equal(getattr(task.source, name), getattr(task.edited, name))
    moved = (task.source.expression != task.edited.expression).any(1)
    assert moved.all()
    assert (rig_pairs.picture(task.images) == task.sources).all()
    part = task[[3, 5]]
    assert part.pairs["target_id"].tolist() == task.pairs["target_id"].iloc[[3, 5]].tolist()
    assert torch.equal(part.edited.expression, task.edited.expression[[3, 5]])


def test_what_is_not_changed_is_the_source_to_the_last_bit(task):
    assert (rig_pairs.enlarged(task.sources, task.sources, task.crops) == task.crops).all()
    brighter = np.clip(task.sources.astype(int) + 9, 0, 255).astype(np.uint8)
    grey = np.full_like(task.crops, 100)
    change = rig_pairs.enlarged(brighter, brighter - 9, grey)
    assert (change == 109).all()
    same = rig_pairs.enlarged(task.true, task.sources, task.sources)
    assert (same == task.true).all()


def test_the_batch_does_not_matter(task):
    def editor(images, source, edited):
        return images + edited.expression.sum(1)[:, None, None, None] / 100

    one, many = (rig_pairs.make_edits(editor, task, batch_size=size) for size in (1, 12))
    assert (one == many).all()


def test_the_true_edit_gains_most_and_the_source_nothing(task):
    scores = rig_pairs.score_gains(task, {COPY_SOURCE: task.sources, "true": task.true})
    gains = scores[scores["metric"] == "edit_gain_db"].groupby("editor")["value"].mean()
    assert gains[COPY_SOURCE] == 0
    assert gains["true"] > 20


def test_edits_are_written_with_strength_and_lineage(task, tmp_path):
    made = {"rig": task.true, "rig, strength 0.25": task.sources}
    lineage = Lineage(frozenset(["abc"]), frozenset(["p0"]), frozenset(["net"]))
    found = rig_pairs.write_edits(tmp_path, task, made, drawn_store(), Locator(), lineage)
    assert found.lineage == lineage.as_json()
    assert found.edits.groupby("editor")["strength"].unique().str[0].tolist() == [1.0, 0.25]
    assert found.pictures.faces.shape == (24, SIZE, SIZE, 3)
    assert (found.pictures.faces[12:] == task.crops).all()
    assert set(found.edits["true_edit"]) <= set(drawn_store().index["sample_id"])
