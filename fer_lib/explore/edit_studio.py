"""The edit studio: pick or bring a face, wish an expression, see before and after, save.

A thin layer of controls; what they mean stands in ``face_edits``. Every edited picture, also the
one on the screen, carries the mark that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from fer_lib.explore.face_controls import Slider, face_sliders, slider_values
from fer_lib.explore.face_edits import EditBench, EditStart, EditWish, ReadPhotograph
from fer_lib.explore.face_files import png, save_picture
from fer_lib.labels import AU_COLUMNS, EMOTIONS
from fer_lib.media.edited_mark import encode_edited
from fer_lib.paths import results_dir

KEEP = "its own expression"
_STYLE = {"description_width": "14em"}
_NOTICE = (
    "Edit faces only of people who agree to it. The file says that it is an edit and by which "
    "editor; whoever writes its pixels anew loses that mark."
)


class EditStudio(widgets.VBox):
    """Controls above two pictures; see ``edit_studio``.

    Attributes:
        face: menu of the faces.
        upload: a photograph instead.
        emotion: menu of the emotions; ``KEEP`` keeps the expression.
        strength: of the edit.
        steps: of the sampler.
        fresh: whether fresh noise is drawn instead of the photograph's own.
        seed: of fresh noise.
        blend: whether what lies outside the face stays untouched.
        units: slider of each action unit by name.
        buttons: ``edit``, ``reset`` and ``save``.
        name: of the file.
        before: the face as a PNG.
        after: the edit as a PNG with its mark.
        note: one sentence: what was done, or why not.
    """

    def __init__(
        self,
        bench: EditBench,
        starts: Mapping[str, EditStart],
        read: ReadPhotograph | None,
        folder: Path | None,
        side: int,
    ) -> None:
        self._bench, self._starts, self._read, self._folder = bench, dict(starts), read, folder
        self._edited: bytes | None = None
        self._make_controls(side)
        super().__init__(self._rows())
        self._pick()
        self.face.observe(self._guarded(self._pick), "value")
        self.upload.observe(self._receive, "value")
        for name, act in (("edit", self._edit), ("reset", self._pick), ("save", self._save)):
            self.buttons[name].on_click(self._guarded(act))

    @property
    def wish(self) -> EditWish:
        """What the controls ask for."""
        moved = {name: slider.value - self._shown[name] for name, slider in self.units.items()}
        emotion = None if self.emotion.value == KEEP else self.emotion.value
        seed = self.seed.value if self.fresh.value else None
        return EditWish(
            emotion, moved, self.strength.value, self.steps.value, seed, self.blend.value
        )

    def _make_controls(self, side: int) -> None:
        self.face = widgets.Dropdown(options=list(self._starts), description="face")
        # Jupyter drops larger messages without a word, so the limit stands on the button.
        self.upload = widgets.FileUpload(
            accept="image/*", description="photograph ≤ 8 MB", layout={"width": "auto"},
            disabled=self._read is None,
        )  # fmt: skip
        self.emotion = widgets.Dropdown(options=[KEEP, *EMOTIONS], description="emotion")
        self.strength = widgets.FloatSlider(1.0, min=0, max=1, step=0.05, description="strength")
        self.steps = widgets.IntSlider(EditWish().steps, 1, 100, description="steps")
        self.fresh = widgets.Checkbox(False, description="fresh noise, seed", indent=False)
        self.seed = widgets.BoundedIntText(0, 0, 2**31 - 1, layout={"width": "8em"})
        self.blend = widgets.Checkbox(False, description="keep what is outside", indent=False)
        self.units = {s.name: _unit_slider(s) for s in self._unit_sliders()}
        self.buttons = {n: widgets.Button(description=n) for n in ("edit", "reset", "save")}
        self.name = widgets.Text("edit", description="file name")
        self.note = widgets.HTML()
        layout = {"width": f"{side}px", "height": f"{side}px", "object_fit": "contain"}
        self.before, self.after = (widgets.Image(format="png", layout=layout) for _ in range(2))

    def _rows(self) -> list[widgets.Widget]:
        units = widgets.Accordion([widgets.VBox(list(self.units.values()))])
        units.titles = ("action units",)
        return [
            widgets.HBox([self.face, self.upload]),
            widgets.HBox([self.emotion, self.strength, self.steps]),
            widgets.HBox([self.fresh, self.seed, self.blend]),
            units,
            widgets.HBox([*self.buttons.values(), self.name]),
            self.note,
            widgets.HBox([self.before, self.after]),
            widgets.HTML(f"<small>{escape(_NOTICE)}</small>"),
        ]

    def _unit_sliders(self) -> list[Slider]:
        sliders = face_sliders(self._bench.head, "weak_perspective")
        return [slider for slider in sliders if slider.name in AU_COLUMNS]

    def _pick(self) -> None:
        """Show a face as it is."""
        start = self._start
        shown = slider_values(start.params, self._bench.head)
        for name, slider in self.units.items():
            slider.value = shown[name]
        # As the sliders rounded and limited them.
        self._shown = {name: slider.value for name, slider in self.units.items()}
        self.emotion.value = KEEP
        self.before.value = self.after.value = png(start.photo)
        self._edited = None

    def _edit(self) -> None:
        self._say("Working …")
        wish = self.wish
        image = self._bench.edit(self._start, wish)
        self._edited = encode_edited(image, self._bench.mark(wish))
        self.after.value = self._edited
        self._say(f"{wish.target}, strength {wish.strength:.2f}")

    def _save(self) -> None:
        if self._edited is None:
            raise ValueError("nothing is edited yet: press edit first")
        path = save_picture(self._folder or results_dir() / "edit_studio", self.name.value,
                            self._edited)  # fmt: skip
        self._say(f"Written: {path}")

    def _receive(self, change: Mapping[str, Any]) -> None:
        """Take uploaded photographs among the faces, or say in one sentence why not."""
        for file in change["new"]:
            self._guarded(lambda file=file: self._take(file["name"], bytes(file["content"])))(None)
        # Forgotten, so that the same file can be brought again.
        self.upload.value = ()

    def _take(self, name: str, content: bytes) -> None:
        start = self._read(content)
        self._bench.aim(start.params, EditWish())
        self._starts[name] = start
        self.face.options = list(self._starts)
        self.face.value = name
        self._pick()
        self._say(f"{name}: a face was found.")

    @property
    def _start(self) -> EditStart:
        return self._starts[self.face.value]

    def _guarded(self, act: Callable[[], None]) -> Callable[[object], None]:
        """Run an answer to the user; what fails becomes one sentence."""

        def answer(_change: object) -> None:
            try:
                act()
            # Decoders, estimators, disks and networks fail in nearly every way there is.
            except Exception as error:
                self._say(" ".join(str(error).split()) or repr(error))

        return answer

    def _say(self, sentence: str) -> None:
        self.note.value = escape(sentence)


def _unit_slider(slider: Slider) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        min=slider.low, max=slider.high, step=slider.step, description=slider.label,
        continuous_update=False, style=_STYLE, layout={"width": "32em"},
    )  # fmt: skip


def edit_studio(
    bench: EditBench,
    starts: Mapping[str, EditStart],
    *,
    read: ReadPhotograph | None = None,
    folder: Path | None = None,
    side: int = 256,
) -> EditStudio:
    """Make an edit studio.

    Args:
        bench: the editor with its head.
        starts: faces to edit by name, at least one.
        read: finds and measures the face of an uploaded photograph; without it none can be brought.
        folder: where edits are written; ``results/edit_studio`` without.
        side: of the two pictures on the screen in pixels.

    Returns:
        The widget.

    Raises:
        ValueError: there is no face, or one is of another head than the editor's.
    """
    if not starts:
        raise ValueError("expected at least one face to edit, got none; pass those of a store")
    for start in starts.values():
        bench.aim(start.params, EditWish())
    return EditStudio(bench, starts, read, folder, side)
