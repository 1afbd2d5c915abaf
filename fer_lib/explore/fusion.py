"""The explorer of notebook 02: pick a face or bring one, and see what three recognisers make of it.

A thin layer of controls; what they show comes from ``explanation``, ``samples`` and ``photograph``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from fer_lib.datasets.sources import make_locator
from fer_lib.datasets.store import Store
from fer_lib.explore.explanation import FaceReading, read_face, read_sample, uses_disagreement
from fer_lib.explore.photograph import crop_photograph
from fer_lib.explore.samples import CHOICES, fitting, split_labels
from fer_lib.faces.locate import FaceLocator
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.plots.saliency import SALIENCY_CAPTION, FaceExplanation, explanation_figure

_ALL = "all emotions"
_WIDE = {"description_width": "6em"}


class FusionExplorer(widgets.VBox):
    """Controls above one explained face; see ``fusion_explorer``.

    Attributes:
        emotion: filter by the true emotion.
        choice: filter by who is right.
        number: which of the faces that fit.
        upload: a photograph instead of a face of the store.
        w: weight of a landmark branch that disagrees.
        note: one sentence: how many faces fit, or why there is nothing new to see.
        picture: the explanation as a PNG.
        explanation: what the picture shows.
    """

    def __init__(
        self,
        network: LandmarkFusion,
        store: Store,
        emotions: Sequence[str],
        locator: FaceLocator | None,
        split: str,
        predictions: pd.DataFrame | None,
    ) -> None:
        self._network, self._store, self._emotions = network, store, tuple(emotions)
        self._locator, self._split, self._predictions = locator, split, predictions
        self._faces = store.select(split=split)
        self._true = store.index["emotion"].iloc[self._faces]
        if not len(self._faces):
            raise ValueError(
                f"expected faces in the {split} split of {store.path.name}, got none; choose "
                "another split"
            )
        # A table of another run is refused now, not at the first click.
        _ = self._labels if predictions is not None else None
        self._make_controls()
        super().__init__([
            widgets.HBox([self.emotion, self.choice, self.upload]),
            widgets.HBox([self.number, self.w]),
            self.note, self.picture, widgets.HTML(f"<small>{escape(SALIENCY_CAPTION)}</small>"),
        ])  # fmt: skip
        self._filter()
        self.emotion.observe(self._filter, "value")
        self.choice.observe(self._filter, "value")
        self.w.observe(self._draw, "value")
        self.upload.observe(self._receive, "value")

    @cached_property
    def _labels(self) -> pd.DataFrame:
        return split_labels(
            self._network, self._store, self._faces, self._emotions, self._predictions
        )

    def _make_controls(self) -> None:
        present = [name for name in self._emotions if (self._true == name).any()]
        self.emotion = widgets.Dropdown(
            options=[_ALL, *present], description="emotion", style=_WIDE
        )
        self.choice = widgets.Dropdown(options=CHOICES, description="answers", style=_WIDE)
        self.number = widgets.IntSlider(
            1, 1, len(self._faces), description="face", continuous_update=False,
            style=_WIDE, layout={"width": "32em"},
        )  # fmt: skip
        # Jupyter drops larger messages without a word, so the limit stands on the button.
        self.upload = widgets.FileUpload(
            accept="image/*", description="photograph ≤ 8 MB", layout={"width": "auto"},
            tooltip="Larger files do not reach the kernel: make them smaller first.",
        )  # fmt: skip
        self.w = widgets.FloatSlider(
            self._network.disagreement_weight, min=0, max=1, step=0.05, description="w",
            disabled=not uses_disagreement(self._network), style=_WIDE,
        )  # fmt: skip
        self.note, self.picture = widgets.HTML(), widgets.Image(format="png")

    def _filter(self, _change: object = None) -> None:
        """Find the faces that fit and show the first."""
        fits = np.ones(len(self._faces), dtype=bool)
        if self.emotion.value != _ALL:
            fits &= (self._true == self.emotion.value).fillna(False).to_numpy(bool)
        if self.choice.value != CHOICES[0]:
            self._say("Recognising every face of the split, once …")
            fits &= fitting(self._labels, self._true, self.choice.value)
        self._fitting = self._faces[fits]
        self.number.disabled = not fits.any()
        # One picture, not one for every setting of the slider.
        self.number.unobserve(self._pick, "value")
        self.number.max, self.number.value = max(1, len(self._fitting)), 1
        self.number.observe(self._pick, "value")
        self._pick()

    def _pick(self, _change: object = None) -> None:
        if not len(self._fitting):
            self._say("No face fits; the picture is still the last one.")
            return
        position = int(self._fitting[self.number.value - 1])
        self._show(read_sample(self._network, self._store, position, self._emotions))
        self._say(f"{self.number.value} of {len(self._fitting):,} faces that fit.")

    def _receive(self, change: Mapping[str, Any]) -> None:
        """Show an uploaded photograph, or say in one sentence why not."""
        for file in change["new"]:
            try:
                self._say(self._read_photograph(file["name"], bytes(file["content"])))
            # Decoders and detectors meet hostile files with nearly every exception there is.
            except Exception as error:
                self._say(f"{file['name']}: {' '.join(str(error).split()) or repr(error)}")
        # Forgotten, so that the same file can be brought again.
        self.upload.value = ()

    def _read_photograph(self, name: str, content: bytes) -> str:
        scheme = self._store.card["landmark_scheme"]
        if self._locator is None:
            landmarks = "five" if scheme == "five" else "mesh"
            self._locator = make_locator(landmarks, "auto")
        crops, remark = crop_photograph(
            content, self._locator, size=self._store.size, scheme=scheme,
            image_size=self._network.rgb.config["image_size"],
        )  # fmt: skip
        face, landmarks = crops.faces[0], crops.landmarks[0]
        self._show(read_face(self._network, face, landmarks, self._emotions, name=name))
        return f"{name}: {remark}" if remark else f"{name}: a face was found."

    def _show(self, reading: FaceReading) -> None:
        self._reading = reading
        self._draw()

    def _draw(self, _change: object = None) -> None:
        self.explanation: FaceExplanation = self._reading.explain(self.w.value)
        buffer = BytesIO()
        # Little compression: a picture per step of the slider should not wait for the encoder.
        explanation_figure(self.explanation).savefig(
            buffer, format="png", pil_kwargs={"compress_level": 1}
        )
        self.picture.value = buffer.getvalue()

    def _say(self, sentence: str) -> None:
        self.note.value = escape(sentence)


def fusion_explorer(
    network: LandmarkFusion,
    store: Store,
    emotions: Sequence[str],
    *,
    locator: FaceLocator | None = None,
    split: str = "test",
    predictions: pd.DataFrame | None = None,
) -> FusionExplorer:
    """Make an explorer of a fused network's answers.

    Args:
        network: trained; its device is used, and it is never changed.
        store: faces to look at.
        emotions: class names in the order of the network's logits.
        locator: who finds the face of an uploaded photograph; None makes one at the first upload.
        split: whose faces.
        predictions: what notebook 02 has written about the split; None recognises the split anew
            when a filter first asks who is right.

    Returns:
        The widget. For pages without widgets, ``plots.explanation_figure`` draws its
        ``explanation``.

    Raises:
        ValueError: the split has no faces, or the predictions are not about them.
    """
    return FusionExplorer(network, store, emotions, locator, split, predictions)
