"""Faces to edit whose true result is known, and every editor's pictures of them side by side.

Editors work at the size of their network; an edit set has the size of its store. What an editor
changed is enlarged and added to the source, so no editor is blamed for detail that it never saw,
and strength 0 gives the source to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fer_lib.datasets.edit_sets import EditSet, write_edit_set
from fer_lib.datasets.edits import EDIT_SET_COLUMNS
from fer_lib.datasets.store import Store
from fer_lib.editing.rig_batches import shrink_pictures, to_bytes, to_pixels
from fer_lib.evaluation.edit_gain import gain_scores
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.params import FaceParams
from fer_lib.faces.regions import join_regions, region_masks
from fer_lib.faces.warp import resize_points
from fer_lib.networks.checkpoints import Lineage
from fer_lib.progress import track

Editor = Callable[[Tensor, FaceParams, FaceParams], Tensor]
"""Pictures (B,3,S,S) in [-1, 1], their parameters and the edit's in, edited pictures out."""


@dataclass(frozen=True)
class EditTask:
    """N edits to be made.

    Attributes:
        pairs: N rows as of ``datasets.edits.counterfactual_pairs``.
        crops: (N,S,S,3) uint8 sources as the store has them.
        images: (N,3,s,s) the same in [-1, 1] at the editor's size.
        true: (N,s,s,3) uint8 true edits at the editor's size.
        source: parameters of the sources.
        edited: the same with the target's ψ.
        face: (N,s,s) the face in source and true edit together.
        outside: (N,s,s) what is outside of both.
    """

    pairs: pd.DataFrame
    crops: np.ndarray
    images: Tensor
    true: np.ndarray
    source: FaceParams
    edited: FaceParams
    face: Tensor
    outside: Tensor

    @classmethod
    def of(
        cls, store: Store, pairs: pd.DataFrame, size: int, source: FaceParams, target: FaceParams
    ) -> EditTask:
        """Take pairs of a store.

        Args:
            store: holds sources and true edits.
            pairs: N rows with ``source_id`` and ``target_id``.
            size: side of the editor's pictures in pixels.
            source: N parameters of the sources, true ones or an estimator's.
            target: N parameters of the true edits by the same estimator; only ψ is taken.
        """
        ids = pd.Index(store.index["sample_id"])
        rows = [ids.get_indexer(pairs[name]) for name in ("source_id", "target_id")]
        crops, true = (np.array(store.faces[at]) for at in rows)
        images, wanted = (to_pixels(shrink_pictures(faces, size)) for faces in (crops, true))
        points = (torch.from_numpy(np.array(store.landmarks[at])) for at in rows)
        masks = [region_masks(resize_points(p, store.size, size), size) for p in points]
        both = join_regions(*masks)
        return cls(
            pairs.reset_index(drop=True), crops, images, picture(wanted), source,
            source.replace(expression=target.expression), both["face"], both["outside"],
        )  # fmt: skip

    def __len__(self) -> int:
        """Give the number of edits."""
        return len(self.pairs)

    @property
    def sources(self) -> np.ndarray:
        """(N,s,s,3) uint8 sources at the editor's size."""
        return picture(self.images)

    def with_codes(self, source: FaceParams, edited: FaceParams) -> EditTask:
        """The same edits with other parameters."""
        return replace(self, source=source, edited=edited)

    def __getitem__(self, rows: slice | Sequence[int]) -> EditTask:
        """Take some of the edits."""
        pairs = self.pairs.iloc[rows].reset_index(drop=True)
        parts = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__
                 if name != "pairs"}  # fmt: skip
        return EditTask(pairs, **parts)

    def edits(self, editor: str, strength: float = 1.0, seed: int = 0) -> pd.DataFrame:
        """List these edits as an edit set's table, the pictures named after the editor."""
        name = self.pairs["source_id"] + ":" + self.pairs["target_emotion"] + f":{editor}"
        return self.pairs.assign(
            editor=editor, strength=strength, seed=seed, image=name,
            true_edit=self.pairs["target_id"],
        )[[*EDIT_SET_COLUMNS]]  # fmt: skip


def balanced_pairs(pairs: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Keep some edits so that sources and targets of every emotion are as even as they can be.

    Args:
        pairs: from ``counterfactual_pairs`` or ``one_source_per_target``.
        count: how many at most.
        seed: of the choice.

    Returns:
        Some of the rows, in their order.
    """
    mixed = pairs.sample(frac=1, random_state=seed)
    # First one of every target, then of every source and target.
    turn = mixed.groupby(["source_emotion", "target_emotion"]).cumcount()
    target_turn = mixed.assign(turn=turn).sort_values("turn", kind="stable")
    target_turn = target_turn.groupby("target_emotion").cumcount().reindex(mixed.index)
    order = np.lexsort([turn, target_turn])
    return pairs.loc[mixed.index[order[:count]].sort_values()].reset_index(drop=True)


def picture(images: Tensor) -> np.ndarray:
    """Round pictures in [-1, 1]: (N,3,s,s) → (N,s,s,3) uint8."""
    return to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()


def enlarged(edited: np.ndarray, sources: np.ndarray, crops: np.ndarray) -> np.ndarray:
    """Add what an editor changed to sources of another size.

    Args:
        edited: (N,s,s,3) uint8 edits.
        sources: (N,s,s,3) uint8, what the editor was given.
        crops: (N,S,S,3) uint8, the same at their own size.

    Returns:
        (N,S,S,3) uint8; exactly ``crops`` where nothing was changed.
    """
    change = torch.from_numpy(edited.astype(np.float32) - sources).permute(0, 3, 1, 2)
    side = crops.shape[1]
    if side != change.shape[-1]:
        change = interpolate(change, [side, side], mode="bicubic", align_corners=False)
    whole = crops + change.permute(0, 2, 3, 1).numpy()
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def make_edits(
    editor: Editor, task: EditTask, name: str = "editing", batch_size: int = 25
) -> np.ndarray:
    """Let an editor work.

    Args:
        editor: who.
        task: N edits.
        name: of the progress bar.
        batch_size: edits at a time; does not matter to the pictures.

    Returns:
        (N,s,s,3) uint8 at the editor's size.
    """
    starts = range(0, len(task), batch_size)
    parts = [task[slice(start, start + batch_size)] for start in starts]
    made = [picture(editor(part.images, part.source, part.edited)) for part in track(parts, name)]
    return np.concatenate(made)


def score_gains(task: EditTask, made: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Score the pictures of several editors, copy-source among them, as ``gain_scores``."""
    parts = [
        gain_scores(task.edits(editor), images, task.sources, task.true, task.face)
        for editor, images in made.items()
    ]
    return pd.concat(parts, ignore_index=True)


def write_edits(
    folder: Path,
    task: EditTask,
    made: Mapping[str, np.ndarray],
    store: Store,
    locator: FaceLocator,
    lineage: Lineage,
) -> EditSet:
    """Write the pictures of one or more editors as an edit set, at the size of the store.

    An editor's name may end in its strength, such as ``strength 0.5``; others have strength 1.

    Args:
        folder: where to.
        task: what was edited.
        made: (N,s,s,3) uint8 by editor.
        store: of the sources.
        locator: finds the faces in the edits.
        lineage: of the editors.

    Returns:
        The edit set.
    """
    pictures = [enlarged(images, task.sources, task.crops) for images in made.values()]
    tables = [task.edits(editor, _strength(editor)) for editor in made]
    edits = pd.concat(tables, ignore_index=True)
    return write_edit_set(
        folder, edits, np.concatenate(pictures), store, locator, lineage.as_json()
    )


def _strength(editor: str) -> float:
    _, told, share = editor.rpartition("strength ")
    return float(share) if told else 1.0
