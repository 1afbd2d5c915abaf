"""Sheets of pictures of notebook 07: what the editor sees, what it learns, makes, and fails at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from fer_lib.datasets.edits import COPY_SOURCE
from fer_lib.editing.buffers import BUFFERS, draw_buffers, edited_params
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import RigEditor
from fer_lib.evaluation.rig_pairs import EditTask, picture
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.labels import EMOTIONS

_TINY = 1e-6
_SHOWN = ("normals", "albedo", "shaded")


class Sheet(NamedTuple):
    """Pictures to lay out, the arguments of ``plots.contact_sheet`` in their order.

    Attributes:
        pictures: (s,s,3) uint8 each, row by row.
        columns: pictures in a row.
        column_titles: of every column.
        row_titles: of every row, or none.
    """

    pictures: list[np.ndarray]
    columns: int
    column_titles: Sequence[str]
    row_titles: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        columns: Mapping[str, np.ndarray],
        rows: Sequence[str] = (),
        chosen: Sequence[int] | slice = slice(None),
    ) -> Sheet:
        """Lay columns of (N,s,s,3) uint8 side by side, of which some rows are chosen."""
        shown = np.stack(list(columns.values()), axis=1)[chosen]
        return cls(list(shown.reshape(-1, *shown.shape[2:])), len(columns), [*columns], [*rows])


def strip(pictures: Mapping[int, np.ndarray], columns: int = 8) -> Sheet:
    """Lay previews out: a row per picture, some of the checkpoints as columns."""
    steps = sorted(pictures)
    some = np.linspace(0, len(steps) - 1, min(columns, len(steps))).round().astype(int)
    return Sheet.of({f"{steps[k]:,} steps": pictures[steps[k]] for k in np.unique(some)})


def buffer_sheet(head: MorphableModel, true: EditTask, read: EditTask) -> Sheet:
    """Lay out what the editor is shown of a few edits, with true and with read codes."""
    source, edited = draw_edit(head, true.images, true.source, true.edited)
    guessed = draw_buffers(head, read.source, true.images.shape[-1])
    mask, doubt = source[:, BUFFERS["mask"]], edited[:, BUFFERS["doubt"]]
    shown = {
        "source": true.images, **{name: source[:, BUFFERS[name]] for name in _SHOWN},
        "mask": _grey(mask), "shaded, read": guessed[:, BUFFERS["shaded"]],
        "shaded, edit": edited[:, BUFFERS["shaded"]], "carried": edited[:, BUFFERS["carried"]],
        "doubt": _grey(doubt / doubt.amax().clamp_min(_TINY)),
    }  # fmt: skip
    columns = {name: picture(images) for name, images in shown.items()}
    return Sheet.of(columns | {"true edit": true.true})


def edit_sheet(
    task: EditTask, made: Mapping[str, np.ndarray], gains: pd.DataFrame, editor: str, rows: int = 8
) -> Sheet:
    """Lay out edits from the editor's best to its worst, everybody's beside the true one.

    Args:
        task: N edits.
        made: (N,s,s,3) uint8 by name.
        gains: from ``score_gains``.
        editor: by whose gain in the face the rows are spread evenly.
        rows: how many.
    """
    own = gains[(gains["editor"] == editor) & (gains["metric"] == "edit_gain_face_db")]
    values = own.set_index("image")["value"].reindex(task.edits(editor)["image"]).to_numpy()
    order = np.argsort(-values)
    chosen = order[np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(int)]
    aims = task.pairs.iloc[chosen]
    ways = aims["source_emotion"] + " →\n" + aims["target_emotion"]
    told = [f"{way}\n{gain:+.1f} dB" for way, gain in zip(ways, values[chosen], strict=True)]
    shown = {_broken(name): images for name, images in made.items() if name != COPY_SOURCE}
    return Sheet.of({"source": task.sources, **shown, "true edit": task.true}, told, chosen)


def emotion_strip(
    editor: RigEditor, head: MorphableModel, images: Tensor, params: FaceParams, **options: object
) -> Sheet:
    """Edit faces towards all emotions, each turned to noise once.

    Args:
        editor: the rig editor.
        head: of the buffers.
        images: (N,3,s,s) in [-1, 1].
        params: N faces.
        options: of ``RigEditor.edit_many``.

    Returns:
        A row per face: the source and the eight emotions in canonical order.
    """
    device = next(editor.parameters()).device
    aims = [edited_params(params, head.expression_names, emotion=name) for name in EMOTIONS]
    drawn = [draw_edit(head, images, params, aim) for aim in aims]
    edits = [edited.to(device) for _, edited in drawn]
    made = editor.edit_many(images.to(device), drawn[0][0].to(device), edits, **options)
    names = ["source", *EMOTIONS]
    return Sheet.of(dict(zip(names, map(picture, (images, *made)), strict=True)))


def failure_sheet(
    task: EditTask, fresh: np.ndarray, others: Mapping[str, np.ndarray], grain: np.ndarray
) -> Sheet:
    """Lay out the three faces with the most grain and the three with the least.

    Args:
        task: N edits.
        fresh: (N,K,s,s,3) uint8 from ``seeded_edits``.
        others: (N,s,s,3) uint8 by name, the same edits made in other ways.
        grain: (N,K) of ``fresh``.
    """
    order = np.argsort(-grain.max(axis=1)).tolist()
    chosen = list(dict.fromkeys([*order[:3], *order[-3:]]))
    seeds = {f"seed {k}": fresh[:, k] for k in range(fresh.shape[1])}
    columns = {"source": task.sources, **seeds, **others, "true edit": task.true}
    return Sheet.of(columns, [f"grain\n{grain[k].max():.3f}" for k in chosen], chosen)


def _grey(values: Tensor) -> Tensor:
    """Show (N,1,s,s) in [0, 1] as a picture in [-1, 1]."""
    return 2 * values.expand(-1, 3, -1, -1) - 1


def _broken(name: str) -> str:
    """A name on two lines: many columns stand side by side."""
    return name.replace(" (", "\n(")
