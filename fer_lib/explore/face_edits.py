"""What the controls of the edit studio mean: a wish for a face becomes an edited picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from torch import Tensor

from fer_lib.editing.buffers import edited_params
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import RigEditor, SourceNoise
from fer_lib.editing.rig_batches import shrink_pictures, to_pixels
from fer_lib.evaluation.rig_codes import CodeReader
from fer_lib.evaluation.rig_pairs import enlarged, picture
from fer_lib.explore.face_controls import check_model
from fer_lib.explore.photograph import store_of_one
from fer_lib.faces.action_units import au_coefficients
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.media.edited_mark import EditMark
from fer_lib.training.face_study import Faces


class EditStart(NamedTuple):
    """A face to edit.

    Attributes:
        photo: (S, S, 3) uint8 loose crop.
        params: of the face in it, a batch of one.
    """

    photo: np.ndarray
    params: FaceParams


ReadPhotograph = Callable[[bytes], EditStart]
"""Turns the bytes of an image file into a face to edit; raises a sentence where it cannot."""


def photograph_reader(reader: CodeReader, locator: FaceLocator, size: int) -> ReadPhotograph:
    """Let the studio take photographs.

    Args:
        reader: of codes, of the editor's head.
        locator: finds the face; with a mesh, if the reader reads it.
        size: side of the loose crop in pixels.
    """

    def read(content: bytes) -> EditStart:
        scheme = "ibug68" if locator.has_mesh else "five"
        with TemporaryDirectory() as folder:
            store = store_of_one(content, Path(folder), locator, size, scheme)
            face = Faces.load(store, np.array([0]))
        return EditStart(face.crops[0].numpy(), reader.photographs(face))

    return read


class EditWish(NamedTuple):
    """What an edit should be.

    Attributes:
        emotion: whose prototype replaces the expression; None keeps it.
        units: what is added to action units, by name.
        strength: 0 (the photograph) to 1.
        steps: of the sampler.
        seed: of fresh noise; None takes the photograph's own, by inversion.
        blend: whether the photograph stays untouched outside the face.
    """

    emotion: str | None = None
    units: Mapping[str, float] = {}
    strength: float = 1.0
    steps: int = 4
    seed: int | None = None
    blend: bool = False

    @property
    def target(self) -> str:
        """What is aimed at, in words."""
        moved = [f"{name} {by:+.2f}" for name, by in self.units.items() if by]
        return ", ".join([*([self.emotion] if self.emotion else []), *moved]) or "no change"


class EditBench:
    """A rig editor with its head; the noise of the last photograph is kept for further edits.

    Args:
        editor: the network.
        head: from ``editing.buffers.buffer_head``, the one that the editor has learned from.
        name: of the editor, as edited pictures tell it.
    """

    def __init__(self, editor: RigEditor, head: MorphableModel, name: str) -> None:
        self.editor, self.head, self.name = editor, head, name
        self._kept: tuple[EditStart, tuple[int, int | None], SourceNoise] | None = None

    def aim(self, params: FaceParams, wish: EditWish) -> FaceParams:
        """Give the parameters that a wish leads to: only ψ differs, and only what is named.

        Raises:
            ValueError: the emotion or a unit is unknown, or the face is of another head.
        """
        check_model(params, self.head)
        names, aimed = self.head.expression_names, params
        if wish.emotion:
            aimed = edited_params(aimed, names, emotion=wish.emotion)
        if any(wish.units.values()):
            change = au_coefficients({k: by for k, by in wish.units.items() if by}, names)
            aimed = edited_params(aimed, names, difference=change)
        return edited_params(params, names, psi=aimed.expression, strength=wish.strength)

    def edit(self, start: EditStart, wish: EditWish) -> np.ndarray:
        """Make an edit.

        Args:
            start: the face.
            wish: what it should show.

        Returns:
            (S, S, 3) uint8, of the photograph's size.
        """
        edited = self.aim(start.params, wish)
        small = to_pixels(shrink_pictures(start.photo[None], self.editor.denoiser.spec.size))
        drawn = draw_edit(self.head, small, start.params, edited)
        before, after = (one.to(self._device) for one in drawn)
        source = self._prepared(start, wish, small, before)
        made = self.editor.draw(source, after, blend=wish.blend)
        return enlarged(picture(made), picture(small), start.photo[None])[0]

    def mark(self, wish: EditWish) -> EditMark:
        """Give what a picture of this wish has to tell about itself."""
        return EditMark(self.name, wish.target, wish.strength)

    def _prepared(
        self, start: EditStart, wish: EditWish, small: Tensor, buffers: Tensor
    ) -> SourceNoise:
        key = (wish.steps, wish.seed)
        if self._kept and self._kept[0] is start and self._kept[1] == key:
            return self._kept[2]
        noise = "invert" if wish.seed is None else [wish.seed]
        source = self.editor.prepare(small.to(self._device), buffers, noise=noise, steps=wish.steps)
        self._kept = (start, key, source)
        return source

    @property
    def _device(self) -> object:
        return next(self.editor.parameters()).device
