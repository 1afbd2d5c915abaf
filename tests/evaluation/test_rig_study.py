"""Who edits: names, strengths, seeds and limits, with an editor that paints its buffers."""

import numpy as np
import pytest
import torch
from rig_store import CFG, SMALL, drawn_store, head, painter

from fer_lib.datasets.edits import COPY_SOURCE
from fer_lib.evaluation import rig_pairs, rig_sheets, rig_study, rig_training
from fer_lib.faces.params import FaceParams


class Reader:
    """Reads the truth, but the person wrong."""

    def drawn(self, faces):
        store = drawn_store()
        params = {name: values[faces.rows] for name, values in store.params.items()}
        true = FaceParams.from_numpy(params)
        return true.replace(shape=true.shape + 0.5)


@pytest.fixture(scope="module")
def tasks():
    return rig_study.unseen_tasks(drawn_store(), Reader(), CFG)


@pytest.fixture(scope="module")
def rig():
    return rig_study.rig(painter(), head(), steps=3)


def test_unseen_people_are_edited_with_true_and_with_read_codes(tasks):
    true, read = tasks.values()
    assert set(true.pairs["subject"]) == {"p3"}
    assert len(true) == 4  # one source for each target
    assert torch.equal(read.source.shape, true.source.shape + 0.5)
    assert torch.equal(read.edited.expression, true.edited.expression)
    assert torch.equal(read.edited.shape, read.source.shape)


def test_everybody_edits_and_copies_stand_there_once(tasks, rig):
    made = rig_study.everybody({**rig_study.rivals(head()), "rig": rig}, tasks)
    assert list(made) == [
        COPY_SOURCE, "pasted render", "mesh warp", "rig", "pasted render (read codes)",
        "mesh warp (read codes)", "rig (read codes)",
    ]  # fmt: skip
    assert (made[COPY_SOURCE] == tasks["true codes"].sources).all()
    assert all(images.shape == (4, SMALL, SMALL, 3) for images in made.values())
    assert (made["rig"] != made["rig (read codes)"]).any()


def test_a_fresh_editor_is_the_mesh_warp_if_the_photograph_is_carried(tasks):
    task, fresh = tasks["true codes"], rig_training.fresh_editor(CFG)
    warped = rig_pairs.make_edits(rig_study.rivals(head())["mesh warp"], task).astype(int)

    def gap(**options):
        edit = rig_study.rig(fresh, head(), steps=25, **options)
        return np.abs(rig_pairs.make_edits(edit, task) - warped)

    assert gap().max() <= 3
    assert gap(carried=False, noise=range(len(task))).mean() > 30


def test_strength_goes_from_the_source_to_the_edit(tasks, rig):
    task = tasks["true codes"]
    made = rig_study.with_strengths(rig, task, (0.0, 0.5, 1.0))
    assert np.abs(made[0.0].astype(int) - task.sources).max() <= 1
    assert (made[1.0] == rig_pairs.make_edits(rig, task)).all()
    far = [np.abs(made[share].astype(int) - task.sources).mean() for share in (0.0, 0.5, 1.0)]
    assert far == sorted(far)


def test_limits_name_every_factor_and_end_with_the_truth(tasks, rig):
    table = rig_study.limits(rig, *tasks.values())
    factors = ("shape", "expression", "pose", "camera", "albedo", "light")
    assert list(table.index) == ["all read", *(f"true {name}" for name in factors), "all true"]
    # The shape alone was read wrong.
    assert table.loc["true shape", "value"] == pytest.approx(table.loc["all true", "value"])
    assert table.loc["true pose", "value"] == pytest.approx(table.loc["all read", "value"])


def test_seeds_are_counted_through_and_failures_found(tasks, monkeypatch):
    task, editor = tasks["true codes"], painter()
    fresh = rig_study.seeded_edits(editor, head(), task, 2, steps=2)
    assert fresh.shape == (4, 2, SMALL, SMALL, 3)
    monkeypatch.setattr(rig_study, "_BATCH", 3)
    assert (rig_study.seeded_edits(editor, head(), task, 2, steps=2) == fresh).all()
    noise = np.random.default_rng(0).integers(0, 255, task.true.shape, dtype=np.uint8)
    # Where the landmarks of the test lie is the face; beside it everything is noise.
    others = {rig_study.STAGE_1: task.sources, rig_study.STAGE_2: noise}
    table, grain = rig_study.failures(task, np.stack([task.true, noise], 1), others)
    assert table.loc["seed 1", "value"] == 1
    assert table.loc["true edit", "value"] == 0
    assert (grain[:, 1] > 0.1).all()
    metrics = rig_study.failure_metrics(table)
    assert metrics["failure_rate_frac"].n == 8
    assert metrics["failure_rate_inverted_frac"].value == 0
    assert metrics["failure_rate_rig_frac"].value == 1


def test_previews_are_the_same_at_every_call(tasks):
    few, editor = tasks["true codes"][:2], painter()
    first, again = (
        rig_study.preview(editor, head(), few, steps=2, carried=False) for _ in range(2)
    )
    shown = rig_study.preview(editor, head(), few, steps=2, carried=True)
    assert (shown != first).any()
    assert (first == again).all()
    sheet = rig_sheets.strip({2: first, 4: again}, columns=8)
    assert (sheet.columns, sheet.column_titles) == (2, ["2 steps", "4 steps"])
    assert len(sheet.pictures) == 4


def test_sheets_show_every_editor_beside_the_truth(tasks, rig):
    task, read = tasks.values()
    made = {COPY_SOURCE: task.sources, "rig": rig_pairs.make_edits(rig, task)}
    gains = rig_pairs.score_gains(task, made)
    sheet = rig_sheets.edit_sheet(task, made, gains, "rig", rows=3)
    assert sheet.column_titles == ["source", "rig", "true edit"]
    assert (len(sheet.row_titles), len(sheet.pictures)) == (3, 9)
    dbs = [float(title.splitlines()[-1].removesuffix(" dB")) for title in sheet.row_titles]
    assert dbs == sorted(dbs, reverse=True)
    shown = rig_sheets.buffer_sheet(head(), task, read)
    assert shown.column_titles[-3:] == ["carried", "doubt", "true edit"]
    assert (shown.columns, len(shown.pictures)) == (10, 40)
    strip = rig_sheets.emotion_strip(painter(), head(), task.images, task.source, steps=2)
    assert (strip.columns, len(strip.pictures)) == (9, 36)
    fresh = np.stack([task.true, task.sources], 1)
    others = {"inverted": task.true, "rig": task.sources}
    shown = rig_sheets.failure_sheet(task, fresh, others, np.array([[1.0, 0]] * 4))
    assert shown.column_titles == ["source", "seed 0", "seed 1", "inverted", "rig", "true edit"]
