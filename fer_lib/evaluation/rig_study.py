"""The study of notebook 07, step by step: who edits, what they make of it, who measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.config import RigEditorConfig
from fer_lib.datasets.edits import COPY_SOURCE, counterfactual_pairs, one_source_per_target
from fer_lib.datasets.store import Store
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rivals import RIVALS
from fer_lib.evaluation.edit_gain import gain_table
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.residual_noise import failure_table, grain
from fer_lib.evaluation.rig_codes import CodeReader
from fer_lib.evaluation.rig_pairs import (
    Editor,
    EditTask,
    balanced_pairs,
    make_edits,
    score_gains,
)
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import FACTORS, swap
from fer_lib.faces.params import FaceParams
from fer_lib.networks.denoiser import no_photograph
from fer_lib.training.face_study import Faces, true_params

STAGE_1, STAGE_2 = "rig, stage 1", "rig"
TRUE_CODES, READ_CODES = "true codes", "read codes"
READ = f" ({READ_CODES})"
_BATCH = 25


def unseen_tasks(store: Store, reader: CodeReader, cfg: RigEditorConfig) -> dict[str, EditTask]:
    """Take pairs of unseen people, with true codes and with codes that were read in the pictures.

    Read codes are those of source and true edit, as if the latter were a target photograph; of it
    only ψ is taken.

    Args:
        store: of drawn faces in groups.
        reader: of codes.
        cfg: settings.

    Returns:
        The same pairs under ``TRUE_CODES`` and ``READ_CODES``.
    """
    index = store.index[store.index["split"] == "test"]
    pairs = one_source_per_target(counterfactual_pairs(index), cfg.seed)
    pairs = balanced_pairs(pairs, cfg.test_pairs, cfg.seed)
    ids = pd.Index(store.index["sample_id"])
    rows = [ids.get_indexer(pairs[name]) for name in ("source_id", "target_id")]
    true = [true_params(store, at) for at in rows]
    read = [reader.drawn(Faces.load(store, at)) for at in rows]
    task = EditTask.of(store, pairs, cfg.image_size, *true)
    edited = read[0].replace(expression=read[1].expression)
    return {TRUE_CODES: task, READ_CODES: task.with_codes(read[0], edited)}


def rig(
    editor: RigEditor, head: MorphableModel, *, carried: bool = True, **options: object
) -> Editor:
    """Let a rig editor work on parameters.

    Args:
        editor: the rig editor.
        head: of the buffers.
        carried: whether it is shown the photograph as the mesh carries it to the edit.
        options: of ``RigEditor.edit_many``.
    """

    def edit(images: Tensor, source: FaceParams, edited: FaceParams) -> Tensor:
        device = next(editor.parameters()).device
        buffers = draw_edit(head, images, source, edited)
        if not carried:
            buffers = map(no_photograph, buffers)
        return editor.edit(images.to(device), *(one.to(device) for one in buffers), **options)

    return edit


def rivals(head: MorphableModel) -> dict[str, Editor]:
    """Give the editors that learn nothing, copy-source first."""

    def edit(name: str, images: Tensor, source: FaceParams, edited: FaceParams) -> Tensor:
        return RIVALS[name](images, head, source, edited)

    return {name: partial(edit, name) for name in RIVALS}


def everybody(
    editors: Mapping[str, Editor], tasks: Mapping[str, EditTask]
) -> dict[str, np.ndarray]:
    """Let all editors make the same edits, with every kind of codes.

    Args:
        editors: by name, copy-source among them.
        tasks: from ``unseen_tasks``, or one of them alone.

    Returns:
        (N,s,s,3) uint8 by name; names of edits with read codes end in ``READ``. What does not look
        at codes is there once.
    """
    made = {}
    for kind, task in tasks.items():
        suffix = READ if kind == READ_CODES else ""
        for name, editor in editors.items():
            if not (suffix and name == COPY_SOURCE):
                made[name + suffix] = make_edits(editor, task, name + suffix)
    return made


def limits(editor: Editor, true: EditTask, read: EditTask, seed: int = 0) -> pd.DataFrame:
    """Find out which read factor costs most: each one in turn is replaced by the truth.

    Args:
        editor: who edits.
        true: N edits with true codes.
        read: the same with read codes.
        seed: of the bootstrap.

    Returns:
        As of ``gain_table``, over copy-source in the face: ``all read``, ``true <factor>`` …, and
        ``all true``.
    """
    tasks = {"all read": read} | {
        f"true {factor}": read.with_codes(
            swap(read.source, true.source, factor), swap(read.edited, true.edited, factor)
        )
        for factor in FACTORS
    }
    tasks["all true"] = true
    made = {name: make_edits(editor, task, name) for name, task in tasks.items()}
    return gain_table(score_gains(true, {COPY_SOURCE: true.sources, **made}), seed=seed)


def with_strengths(
    editor: Editor, task: EditTask, shares: Sequence[float]
) -> dict[float, np.ndarray]:
    """Go only parts of the way to every edit's ψ: (N,s,s,3) uint8 by share."""
    made = {}
    for share in shares:
        psi = torch.lerp(task.source.expression, task.edited.expression, share)
        part = task.with_codes(task.source, task.source.replace(expression=psi))
        made[share] = make_edits(editor, part, f"strength {share:g}")
    return made


def seeded_edits(
    editor: RigEditor, head: MorphableModel, task: EditTask, seeds: int, **options: object
) -> np.ndarray:
    """Make every edit from fresh noise, several times.

    Args:
        editor: the rig editor.
        head: of the buffers.
        task: N edits.
        seeds: K; edit n starts from seeds n·K to n·K + K - 1.
        options: of ``rig``.

    Returns:
        (N,K,s,s,3) uint8.
    """
    repeated = task[np.repeat(np.arange(len(task)), seeds)]
    made = []
    for start in range(0, len(repeated), _BATCH):
        part = repeated[slice(start, start + _BATCH)]
        work = rig(editor, head, noise=range(start, start + len(part)), **options)
        made.append(make_edits(work, part, "fresh noise", _BATCH))
    return np.concatenate(made).reshape(len(task), seeds, *task.true.shape[1:])


def grains(task: EditTask, pictures: np.ndarray) -> np.ndarray:
    """Measure the grain of (N,K,s,s,3) uint8 edits outside both faces: (N,K)."""
    columns = [grain(pictures[:, k], task.sources, task.outside) for k in range(pictures.shape[1])]
    return np.stack(columns, axis=1)


def preview(
    editor: RigEditor, head: MorphableModel, task: EditTask, steps: int = 20, *, carried: bool
) -> np.ndarray:
    """Draw a few edits from fresh noise, as DiffusionRig does: what it cannot do yet is seen there.

    Args:
        editor: in training.
        head: of the buffers.
        task: P edits; edit p starts from seed p.
        steps: of the sampler.
        carried: whether the photograph is shown.

    Returns:
        (P,s,s,3) uint8.
    """
    work = rig(editor, head, carried=carried, noise=range(len(task)), steps=steps)
    return make_edits(work, task, "preview", len(task))


def failures(
    task: EditTask, fresh: np.ndarray, others: Mapping[str, np.ndarray], seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Count edits full of grain.

    Args:
        task: N edits.
        fresh: (N,K,s,s,3) uint8 from ``seeded_edits``.
        others: (N,s,s,3) uint8 by name, the same edits made in other ways.
        seed: of the bootstrap.

    Returns:
        As of ``failure_table``, with a row for each other way and, as what no editor can be blamed
        for, ``true edit``; and the grain of every fresh edit, (N,K).
    """
    people, own = task.pairs["subject"], grains(task, fresh)
    table = failure_table(own, people, seed=seed)
    for name, images in {**others, "true edit": task.true}.items():
        one = grains(task, images[:, None])
        table.loc[name] = failure_table(one, people, seed=seed).loc["all seeds"]
    return table, own


def failure_metrics(table: pd.DataFrame) -> dict[str, Interval]:
    """Name the rates of ``failures`` as ``metrics.json`` wants them."""
    names = {"failure_rate_frac": "all seeds", "failure_rate_every_seed_frac": "with every seed",
             "failure_rate_inverted_frac": STAGE_1, "failure_rate_rig_frac": STAGE_2}  # fmt: skip
    rows = {name: table.loc[at] for name, at in names.items()}
    return {name: Interval(*row[:3].tolist(), int(row["n"])) for name, row in rows.items()}
