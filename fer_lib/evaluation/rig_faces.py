"""What a rig editor learns from: drawn faces with true, read and wrong codes, and photographs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fer_lib.config import RigEditorConfig
from fer_lib.datasets.store import Store
from fer_lib.editing.rig_batches import (
    RigSet,
    draw_edits,
    draw_faces,
    shrink_pictures,
    way_back,
)
from fer_lib.editing.rig_edits import CodeNoise, borrowed_edits, group_edits, lead_astray
from fer_lib.evaluation.rig_codes import CodeReader
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.networks.checkpoints import Lineage
from fer_lib.training.face_study import Faces, true_params


@dataclass(frozen=True)
class RigFaces:
    """What an editor learns from.

    Attributes:
        alone: faces, each as itself: for stage 1.
        edits: of the same faces: for stage 2.
        lineage: stores and people, those of the reader included, and the reader.
    """

    alone: tuple[RigSet, ...]
    edits: tuple[RigSet, ...]
    lineage: Lineage


def gather_faces(
    store: Store,
    head: MorphableModel,
    reader: CodeReader,
    cfg: RigEditorConfig,
    photographs: Store | None = None,
) -> RigFaces:
    """Draw what an editor learns from: every face with its true parameters, and with wrong ones.

    Wrong ones are those that the reader gives, for as many faces as ``read_faces`` says, and true
    ones led astray for the others. Photographs have none but the reader's.

    Args:
        store: of drawn faces in groups.
        head: from ``buffer_head``.
        reader: of codes.
        cfg: settings.
        photographs: to learn from, too.

    Returns:
        The faces of training people.
    """
    generator = torch.Generator().manual_seed(cfg.seed)
    rows = _some_groups(store, cfg.train_faces, cfg.seed)
    samples = store.index.iloc[rows].reset_index(drop=True)
    pictures = shrink_pictures(store.faces[rows], cfg.image_size)
    alone, edits = [], []
    for chosen, codes, known in _kinds_of_codes(store, rows, head, reader, cfg, generator):
        names = head.expression_names
        pairs = group_edits(samples.iloc[chosen], codes, names, generator, known)
        alone.append(draw_faces(head, pictures[chosen], codes))
        edits.append(draw_edits(head, pictures[chosen], codes, pairs))
    stores, people = [store], samples["subject"].tolist()
    if photographs is not None and cfg.read_faces:
        codes, subjects, pictures = _photographs(photographs, reader, cfg)
        borrowed = borrowed_edits(codes, generator)
        alone.append(draw_faces(head, pictures, codes))
        edits.append(draw_edits(head, pictures, codes, borrowed))
        edits.append(draw_edits(head, *way_back(edits[-1], codes)))
        stores, people = [store, photographs], people + subjects
    lineage = Lineage(
        frozenset(one.card["hash"] for one in stores) | reader.lineage.stores,
        named_people(people) | reader.lineage.subjects,
        reader.lineage.networks,
    )
    return RigFaces(tuple(alone), tuple(edits), lineage)


def named_people(people: Iterable[object]) -> frozenset[str]:
    """Give those of a column of persons who have a name."""
    return frozenset(name for name in people if isinstance(name, str))


def _kinds_of_codes(
    store: Store,
    rows: np.ndarray,
    head: MorphableModel,
    reader: CodeReader,
    cfg: RigEditorConfig,
    generator: torch.Generator,
) -> list[tuple[slice, FaceParams, FaceParams | None]]:
    """Which faces, their codes, and the truth where the codes were led astray."""
    truth, count = true_params(store, rows), min(cfg.read_faces, len(rows))
    kinds = [(slice(None), truth, None)]
    if count:
        kinds.append((slice(count), reader.drawn(Faces.load(store, rows[:count])), None))
    if count < len(rows):
        rest = truth[count:]
        wrong = lead_astray(rest, head.expression_names, generator, CodeNoise())
        kinds.append((slice(count, None), wrong, rest))
    return kinds


def _some_groups(store: Store, limit: int, seed: int) -> np.ndarray:
    """Training rows, group after group in random order, and never more than the limit."""
    rows = store.select(split="train")
    groups, names = pd.factorize(store.index["pair"].iloc[rows])
    order = np.random.default_rng(seed).permutation(len(names))
    return rows[np.argsort(order[groups], kind="stable")][:limit]


def _photographs(
    store: Store, reader: CodeReader, cfg: RigEditorConfig
) -> tuple[FaceParams, list[str], torch.Tensor]:
    """Codes, persons and small pictures of some training photographs."""
    rows = store.select(split="train")
    rows = np.sort(np.random.default_rng(cfg.seed).permutation(rows)[: cfg.read_faces])
    codes = reader.photographs(Faces.load(store, rows))
    subjects = store.index["subject"].iloc[rows].tolist()
    return codes, subjects, shrink_pictures(store.faces[rows], cfg.image_size)
