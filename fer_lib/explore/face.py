"""The face explorer: move shape, action units, pose, camera and light, and see the face.

A thin layer of controls; what they mean stands in ``face_controls`` and ``faces.operations``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch

from fer_lib.explore.face_controls import (
    FaceStart,
    average_face,
    check_model,
    face_sliders,
    moved_face,
    random_person,
    slider_values,
    transferred,
)
from fer_lib.explore.face_files import png, save_face, save_picture
from fer_lib.faces.heads import HEADS
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import mirror, with_emotion
from fer_lib.faces.params import FaceParams
from fer_lib.labels import EMOTIONS
from fer_lib.paths import results_dir
from fer_lib.plots.face_pictures import plain_picture

AVERAGE, OWN = "average face", "as it is"
_WIDE = {"description_width": "14em"}


class FaceExplorer(widgets.VBox):
    """Controls beside one face; see ``face_explorer``.

    Attributes:
        model: menu of the models.
        start: menu of the faces to start from.
        emotion: menu of the emotions; ``OWN`` keeps the expression.
        strength: of the emotion.
        added: whether the emotion is added to the expression instead of replacing it.
        sliders: slider by name, as of ``face_controls.face_sliders``.
        buttons: button by name.
        first: menu of the faces that give β.
        second: menu of the faces that give ψ.
        difference: whether the difference to the second's neutral is transferred.
        picture: the face as a PNG.
        photo: the photograph of the start.
        transfer: first face, second face, and the first with the expression of the second.
        note: one sentence: what was done, or why not.
        params: what the picture shows.
    """

    def __init__(
        self, starts: Mapping[str, FaceStart], model: str, size: int, folder: Path | None, seed: int
    ) -> None:
        self._starts, self._size, self._folder = dict(starts), size, folder
        self._generator = torch.Generator().manual_seed(seed)
        self._quiet = False
        self._model: MorphableModel | None = None
        self._make_controls(model)
        super().__init__()
        self._change_model()
        self._observe()

    @property
    def params(self) -> FaceParams:
        """The face that the sliders describe, a batch of one."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        return moved_face(self._base, self._shown, values, self._model)

    def _make_controls(self, model: str) -> None:
        self.model = widgets.Dropdown(options=list(HEADS), value=model, description="model")
        self.start = widgets.Dropdown(options=[AVERAGE], description="start")
        self.emotion = widgets.Dropdown(options=[OWN, *EMOTIONS], description="emotion")
        self.strength = widgets.FloatSlider(
            1.0, min=0, max=1.25, step=0.05, description="strength", continuous_update=False
        )
        self.added = widgets.Checkbox(False, description="add to its expression", indent=False)
        self.buttons = {
            name: widgets.Button(description=name, layout={"width": "auto"})
            for name in ("random person", "mirror", "reset", "save picture", "save parameters")
        }
        self.name = widgets.Text("face", description="file name")
        self.first, self.second = (widgets.Dropdown(description=d) for d in ("β of A", "ψ of B"))
        self.difference = widgets.Checkbox(
            False, description="as difference to B's neutral", indent=False
        )
        self.note, self.transfer = widgets.HTML(), widgets.Image(format="png")
        layout = {"width": f"{self._size}px", "height": f"{self._size}px", "object_fit": "contain"}
        self.picture, self.photo = (widgets.Image(format="png", layout=layout) for _ in range(2))

    def _observe(self) -> None:
        self.model.observe(self._guarded(self._change_model), "value")
        self.start.observe(self._guarded(self._reset), "value")
        for control in (self.emotion, self.strength, self.added):
            control.observe(self._guarded(self._express), "value")
        for control in (self.first, self.second, self.difference):
            control.observe(self._guarded(self._transfer), "value")
        acts = (self._meet, self._mirror, self._reset, self._save_picture, self._save_params)
        for button, act in zip(self.buttons.values(), acts, strict=True):
            button.on_click(self._guarded(act))

    def _guarded(self, act: Callable[[], None]) -> Callable[[object], None]:
        """Run an answer to the user; what fails becomes one sentence."""

        def answer(_change: object) -> None:
            if self._quiet:
                return
            try:
                self.note.value = ""
                act()
            # Renderers, disks and downloads fail in nearly every way there is.
            except Exception as error:
                self._say(" ".join(str(error).split()) or repr(error))

        return answer

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Set controls without answering to them."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _change_model(self) -> None:
        """Load a model and show its average face; one that cannot be loaded changes nothing."""
        before = self._model
        try:
            self._model = HEADS[self.model.value]()
        except Exception:
            if before is not None:
                with self._silence():
                    self.model.value = before.name
            raise
        fitting = [name for name, start in self._starts.items() if start.model == self._model.name]
        with self._silence():
            self.start.options = [AVERAGE, *fitting]
            for menu, place in ((self.first, 0), (self.second, -1)):
                menu.options = fitting
                menu.value = fitting[place] if fitting else None
        self.difference.disabled = not fitting
        self._reset()
        if fitting:
            self._transfer()

    def _reset(self) -> None:
        """Go back to the start."""
        start = self._starts.get(self.start.value)
        if start:
            check_model(start.params, self._model)
        self._take(start.params if start else average_face(self._model))
        photo = None if start is None else start.photo
        self.photo.layout.display = "none" if photo is None else ""
        if photo is not None:
            self.photo.value = png(photo)

    def _take(self, params: FaceParams, own: torch.Tensor | None = None) -> None:
        """Let the sliders show a face; ``own`` is the ψ to which emotions are added."""
        self._base, shown = params, slider_values(params, self._model)
        with self._silence():
            if own is None:
                self._own, self.emotion.value = params.expression, OWN
            self._lay_out(params.camera_kind)
            for name, slider in self.sliders.items():
                slider.value = shown[name]
        self._shown = {name: slider.value for name, slider in self.sliders.items()}
        self._draw()

    def _lay_out(self, camera_kind: str) -> None:
        """Make the sliders of this model and camera, unless they are there."""
        if getattr(self, "_made_for", None) == (self._model.name, camera_kind):
            return
        self._made_for = (self._model.name, camera_kind)
        self.sliders, tabs = {}, {}
        for tab, name, label, low, high, step in face_sliders(self._model, camera_kind):
            slider = widgets.FloatSlider(
                min=low, max=high, step=step, description=label, continuous_update=False,
                style=_WIDE, layout={"width": "32em"},
            )  # fmt: skip
            slider.observe(self._guarded(self._draw), "value")
            self.sliders[name] = slider
            tabs.setdefault(tab, []).append(slider)
        tabs["transfer"] = [
            widgets.HBox([self.first, self.second]), self.difference, self.transfer,
            widgets.HTML("Left to right: A, B, and A with the expression of B."),
        ]  # fmt: skip
        board = widgets.Tab([widgets.VBox(column) for column in tabs.values()])
        board.titles = tuple(tabs)
        *acts, picture, params = self.buttons.values()
        self.children = [
            widgets.HBox([self.model, self.start]),
            widgets.HBox([self.emotion, self.strength, self.added]),
            widgets.HBox([self.picture, self.photo, board]),
            widgets.HBox([*acts, self.name, picture, params]),
            self.note,
        ]

    def _draw(self) -> None:
        """Show a rough picture at once and a fine one after it."""
        params = self.params
        for size, supersample in ((self._size // 2, 1), (self._size, 2)):
            self.picture.value = png(plain_picture(self._model, params, size, supersample))

    def _express(self) -> None:
        params, emotion = self.params, self.emotion.value
        params = params.replace(expression=self._own)
        if emotion != OWN:
            mode = "added" if self.added.value else "absolute"
            names = self._model.expression_names
            params = with_emotion(params, emotion, names, self.strength.value, mode)
        self._take(params, self._own)

    def _meet(self) -> None:
        self._take(random_person(self.params, self._model, self._generator))

    def _mirror(self) -> None:
        self._take(mirror(self.params, self._model))

    def _save_picture(self) -> None:
        self._say(f"Written: {save_picture(self._place, self.name.value, self.picture.value)}")

    def _save_params(self) -> None:
        path = save_face(self._place, self.name.value, self.params, self._model)
        self._say(f"Written: {path}")

    @property
    def _place(self) -> Path:
        return self._folder or results_dir() / "face_explorer"

    def _transfer(self) -> None:
        first, second = (self._starts[menu.value] for menu in (self.first, self.second))
        for start in (first, second):
            check_model(start.params, self._model)
        mixed = transferred(first, second, self._model, self.difference.value)
        faces = (first.params, second.params, mixed)
        pictures = [plain_picture(self._model, params, self._size) for params in faces]
        self.transfer.value = png(np.concatenate(pictures, axis=1))

    def _say(self, sentence: str) -> None:
        self.note.value = escape(sentence)


def face_explorer(
    starts: Mapping[str, FaceStart] | None = None,
    *,
    model: str = "ict",
    size: int = 256,
    folder: Path | None = None,
    seed: int = 0,
) -> FaceExplorer:
    """Make an explorer of faces.

    Args:
        starts: faces to start from and to transfer expressions between, by name.
        model: which model first, a key of ``HEADS``.
        size: side of the pictures in pixels.
        folder: where pictures and parameters are written; ``results/face_explorer`` without.
        seed: of the random persons.

    Returns:
        The widget.

    Raises:
        ValueError: a start is not one face of a known model.
        fer_lib.assets.AssetError: the model cannot be had; ``model="embedded"`` needs no file.
    """
    for name, start in (starts or {}).items():
        if start.model not in HEADS or len(start.params) != 1:
            raise ValueError(
                f"expected one face of a model out of {list(HEADS)} for {name!r}, got "
                f"{len(start.params)} of {start.model!r}"
            )
    return FaceExplorer(starts or {}, model, size, folder, seed)
