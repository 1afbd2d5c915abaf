"""Where a recogniser looks, drawn: overlays, seed 001's Tables 9 and 10, and one face explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_lib.plots.style import INK, MUTED, PALETTE

SALIENCY_CAPTION = (
    "Grad-CAM++ of each branch for its own answer, scaled to each map's own range. It weighs whole "
    "channels: a bright cell is active in channels that speak for the answer, even if the answer "
    "does not read that very cell."
)
_RIGHT, _WRONG = "#2a6f97", "#c1440e"
_SHADES = {"rgb": PALETTE[0], "landmarks": PALETTE[2], "fusion": PALETTE[1]}
# The brightest cell still lets the face through.
_OPACITY = 0.75
_ROW_IN, _HEAD_IN, _GAP_IN = 1.72, 0.32, 0.12


@dataclass(frozen=True)
class FaceExplanation:
    """What three recognisers say about one face, and where two of them look.

    Attributes:
        name: of the sample or the file.
        emotion: the true one, None where it is unknown.
        face: (S, S, 3) uint8 RGB, the tight crop that the RGB branch sees.
        heatmap: (H, H) float32 in [0, 1], what the landmark branch sees; 0 without landmarks.
        probabilities: one row per emotion, columns ``rgb``, ``landmarks`` and ``fusion``.
        rgb_map: (S, S) float32 in [0, 1], None where there is nothing to show.
        landmark_map: (H, H) float32 in [0, 1], None where there is nothing to show.
        landmark_weight: p·w of Eq. 2, in [0, 1], by which the landmark feature is multiplied.
        disagreement_weight: w in [0, 1]; None where the network does not use it.
        landmarks_known: whether there are landmarks; without them the weight is 0.
    """

    name: str
    emotion: str | None
    face: np.ndarray
    heatmap: np.ndarray
    probabilities: pd.DataFrame
    rgb_map: np.ndarray | None
    landmark_map: np.ndarray | None
    landmark_weight: float
    disagreement_weight: float | None
    landmarks_known: bool

    def answer(self, recogniser: str) -> tuple[str, float]:
        """Give the emotion that a recogniser holds most probable, and its probability."""
        column = self.probabilities[recogniser]
        return str(column.idxmax()), float(column.max())

    @property
    def agree(self) -> bool:
        """Whether the two branches give the same label."""
        return self.answer("rgb")[0] == self.answer("landmarks")[0]


def saliency_overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Lay a saliency map over an image.

    The image turns grey; colour means the map alone. The colours (``inferno``) are perceptually
    even and grow lighter with the map, which is also how much they cover.

    Args:
        image: (S, S, 3) uint8 RGB.
        saliency: (S, S) in [0, 1].

    Returns:
        (S, S, 3) uint8 RGB; where the map is 0 it is the grey image.

    Raises:
        ValueError: the sizes differ, or the map leaves [0, 1].
    """
    if image.dtype != np.uint8 or image.shape != (*saliency.shape, 3):
        raise ValueError(
            f"expected a uint8 image and a map of one size, got {image.dtype} {image.shape} and "
            f"{saliency.shape}; resize the map first"
        )
    if saliency.size and not (saliency.min() >= 0 and saliency.max() <= 1):
        raise ValueError(
            f"expected a map from 0 to 1, got {saliency.min():.3g} to {saliency.max():.3g}; scale "
            "it first"
        )
    # Rec. 601 luma, as cameras weigh the three.
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None]
    colour = 255 * colormaps["inferno"](saliency.astype(float))[..., :3]
    cover = _OPACITY * saliency[..., None].astype(float)
    return np.rint(grey * (1 - cover) + colour * cover).astype(np.uint8)


def saliency_panel(groups: Mapping[str, Sequence[FaceExplanation]]) -> Figure:
    """Show faces, their landmarks and where each branch looks (seed 001, Tables 9 and 10).

    Args:
        groups: title, such as ``fusion right`` and ``fusion wrong`` → faces, one row each.

    Returns:
        The figure: face, heat map, RGB branch's map, landmark branch's map over the heat map;
        underneath the true emotion, the fused answer, and each branch's own, right ones blue.

    Raises:
        ValueError: there is no face.
    """
    groups = {title: faces for title, faces in groups.items() if faces}
    if not groups:
        raise ValueError("expected at least one face to explain, got none; choose other samples")
    rows = sum(len(faces) for faces in groups.values())
    height = rows * _ROW_IN + len(groups) * _HEAD_IN + _GAP_IN
    figure = Figure(figsize=(6.8, height), dpi=120)
    top = height - _GAP_IN
    for title, faces in groups.items():
        figure.text(0.02, (top - 0.16) / height, title, fontsize=10, color=INK, weight="bold")
        top -= _HEAD_IN
        for face in faces:
            _panel_row(figure, face, top / height, _ROW_IN / height)
            top -= _ROW_IN
    return figure


def explanation_figure(explanation: FaceExplanation) -> Figure:
    """Show one face, its landmarks, where both branches look, and three recognisers' answers.

    Args:
        explanation: of the face.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8.6, 4.5), dpi=110)
    grid = figure.add_gridspec(
        2, 2, left=0.01, right=0.44, bottom=0.03, top=0.83, wspace=0.04, hspace=0.2
    )
    pictures = _pictures(explanation)
    for place, (title, picture) in enumerate(pictures.items()):
        axes = _draw(figure.add_subplot(grid[place // 2, place % 2]), picture)
        axes.set_title(title, fontsize=8, color=INK, pad=3)
    bars = figure.add_axes((0.57, 0.1, 0.4, 0.71))
    _probability_bars(bars, explanation)
    head = f"{_short(explanation.name, 28)} – {_truth(explanation)[0]}"
    # A file name may hold dollar signs, which are no formula.
    figure.text(0.01, 0.94, head, fontsize=10, color=INK, parse_math=False)
    figure.text(0.01, 0.89, weight_sentence(explanation), fontsize=8, color=MUTED)
    return figure


def weight_sentence(explanation: FaceExplanation) -> str:
    """Say how much the landmark branch's feature counts for this face, and why.

    Args:
        explanation: of the face.

    Returns:
        One line.
    """
    if not explanation.landmarks_known:
        return "No landmarks: the fusion rests on the RGB branch alone."
    weight = f"the landmark feature is weighted by {explanation.landmark_weight:.2f}"
    if explanation.agree:
        return f"The branches agree: {weight}; w does not act."
    if explanation.disagreement_weight is None:
        return f"The branches disagree: {weight}; this network has no w."
    return f"The branches disagree, w = {explanation.disagreement_weight:.2f}: {weight}."


def _panel_row(figure: Figure, explanation: FaceExplanation, top: float, height: float) -> None:
    side = height * (_ROW_IN - 0.42) / _ROW_IN
    captions = (
        (_truth(explanation), _verdict(explanation, "fusion")),
        ((_short(explanation.name, 24), MUTED), (_weight(explanation), MUTED)),
        (("RGB branch looks", MUTED), _verdict(explanation, "rgb")),
        (("landmark branch looks", MUTED), _verdict(explanation, "landmarks")),
    )
    pictures = _pictures(explanation).values()
    for column, (picture, lines) in enumerate(zip(pictures, captions, strict=True)):
        axes = _draw(figure.add_axes((0.015 + column * 0.2475, top - side, 0.2275, side)), picture)
        for line, (text, colour) in enumerate(lines):
            axes.annotate(
                text, (0.5, 0), (0, -4 - 10 * line), xycoords="axes fraction", ha="center",
                textcoords="offset points", va="top", fontsize=7.5, color=colour, parse_math=False,
            )  # fmt: skip


def _pictures(explanation: FaceExplanation) -> dict[str, tuple[np.ndarray, bool]]:
    """Give the four pictures by title, each with whether it shows all it should."""
    dots = np.rint(255 * explanation.heatmap).astype(np.uint8)[..., None].repeat(3, axis=2)
    return {
        "aligned face": (explanation.face, True),
        "heat map": (dots, True),
        "RGB branch looks": _overlaid(explanation.face, explanation.rgb_map),
        "landmark branch looks": _overlaid(dots, explanation.landmark_map),
    }


def _overlaid(image: np.ndarray, saliency: np.ndarray | None) -> tuple[np.ndarray, bool]:
    return (image, False) if saliency is None else (saliency_overlay(image, saliency), True)


def _draw(axes: Axes, picture: tuple[np.ndarray, bool]) -> Axes:
    image, complete = picture
    axes.imshow(image, interpolation="nearest" if len(image) < 64 else "antialiased")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if not complete:
        axes.text(
            0.5, 0.5, "no map", transform=axes.transAxes, ha="center", va="center", fontsize=9,
            color=INK, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip
    return axes


def _probability_bars(axes: Axes, explanation: FaceExplanation) -> None:
    table = explanation.probabilities
    thickness = 0.8 / len(_SHADES)
    for position, (recogniser, colour) in enumerate(_SHADES.items()):
        places = np.arange(len(table)) + (position - 1) * thickness
        axes.barh(
            places, table[recogniser], thickness, color=colour,
            label=_verdict(explanation, recogniser)[0],
        )  # fmt: skip
    axes.set_yticks(range(len(table)), list(table.index))
    axes.set(xlim=(0, 1), xlabel="probability")
    axes.invert_yaxis()
    for label in axes.get_yticklabels():
        label.set_weight("bold" if label.get_text() == explanation.emotion else "normal")
    axes.tick_params(labelsize=8, length=0)
    axes.xaxis.label.set_size(9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 0.99))


def _truth(explanation: FaceExplanation) -> tuple[str, str]:
    known = explanation.emotion is not None
    return (f"true: {explanation.emotion}", INK) if known else ("true emotion unknown", MUTED)


def _verdict(explanation: FaceExplanation, recogniser: str) -> tuple[str, str]:
    """Give an answer in words and the colour of right, wrong or unknown."""
    label, probability = explanation.answer(recogniser)
    text = f"{_named(recogniser)}: {label} {probability:.2f}"
    if explanation.emotion is None:
        return text, INK
    return (f"{text} ✓", _RIGHT) if label == explanation.emotion else (f"{text} ✗", _WRONG)


def _weight(explanation: FaceExplanation) -> str:
    if not explanation.landmarks_known:
        return "no landmarks"
    return f"landmark weight {explanation.landmark_weight:.2f}"


def _named(recogniser: str) -> str:
    return "RGB" if recogniser == "rgb" else recogniser


def _short(name: str, length: int) -> str:
    """Keep the end of a long name, where file names differ, on one line."""
    plain = name if name.isprintable() else repr(name)
    return plain if len(plain) <= length else f"…{plain[1 - length :]}"
