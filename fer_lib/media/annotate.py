"""Write a judge's answer onto a picture: the face's box and label, and bars beside the picture.

The bars stand on a strip of their own to the right, so that they never cover a face, however large
it is; sizes follow the picture, and small pictures are enlarged until text can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MIN_SIDE_PX = 320
_MAX_ENLARGED_PIXELS = 16_000_000
_TEXT_FRAC = 0.035
# Heights and widths in text sizes: at 0.035 of the shorter side, 17 rows fit any picture.
_ROW, _STRIP, _MARGIN, _LETTERS = 1.5, 15, 0.6, 25
_INK, _PAPER, _BAR, _BEST = (31, 41, 51), (255, 255, 255), (176, 190, 204), (42, 111, 151)


@dataclass(frozen=True)
class Answer:
    """What is written onto one picture.

    Attributes:
        title: who answers.
        probabilities: class name → probability in [0, 1]; empty without an answer.
        box: left, top, right, bottom of the face in px; it may leave the picture. None without.
        affect: name → value in [-1, 1], such as valence and arousal.
        note: why there is no answer.
    """

    title: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    box: tuple[float, float, float, float] | None = None
    affect: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None


def annotate(picture: np.ndarray, answer: Answer) -> np.ndarray:
    """Draw an answer; pictures of one size give annotated pictures of one size.

    Args:
        picture: (H, W, 3) uint8 RGB.
        answer: what to draw.

    Returns:
        (H', W', 3) uint8 RGB: the picture, enlarged by a whole factor where its shorter side is
        below 320 px, with the strip to its right.
    """
    factor = _factor(*picture.shape[:2])
    height, width = (side * factor for side in picture.shape[:2])
    text = max(11, round(_TEXT_FRAC * min(height, width)))
    sheet = Image.new("RGB", (width + _STRIP * text, height), _PAPER)
    shown = Image.fromarray(picture)
    sheet.paste(shown if factor == 1 else shown.resize((width, height), Image.Resampling.BICUBIC))
    draw = ImageDraw.Draw(sheet)
    draw.font = ImageFont.load_default(text)
    _draw_strip(draw, answer, width, text)
    if answer.box is not None and np.isfinite(answer.box).all():
        _draw_face(draw, answer, [factor * side for side in answer.box], (width, height), text)
    return np.asarray(sheet)


def _factor(height: int, width: int) -> int:
    wanted = -(-_MIN_SIDE_PX // min(height, width))
    allowed = int((_MAX_ENLARGED_PIXELS / (height * width)) ** 0.5)
    return max(1, min(wanted, allowed))


def _draw_face(
    draw: ImageDraw.ImageDraw, answer: Answer, box: list[float], size: tuple[int, int], text: int
) -> None:
    """Draw the box, cut to the picture, and the label above it, or inside it without room."""
    line = max(2, text // 8)
    right, bottom = (side - 1 for side in size)
    left, right = sorted((min(max(box[0], 0), right), min(max(box[2], 0), right)))
    top, bottom = sorted((min(max(box[1], 0), bottom), min(max(box[3], 0), bottom)))
    draw.rectangle((left, top, right, bottom), outline=_BEST, width=line)
    if not answer.probabilities:
        return
    best = max(answer.probabilities, key=answer.probabilities.get)
    label = f" {best} {answer.probabilities[best]:.0%} "
    tall, wide = _ROW * text, draw.textlength(label)
    top = top - tall if top >= tall else top
    left = max(0, min(left, size[0] - wide))
    draw.rectangle((left, top, left + wide, top + tall), fill=_BEST)
    draw.text((left, top + tall / 2), label, fill=_PAPER, anchor="lm")


def _draw_strip(draw: ImageDraw.ImageDraw, answer: Answer, start: int, text: int) -> None:
    left, top = start + _MARGIN * text, _MARGIN * text
    for line in wrap(answer.title, _LETTERS) + wrap(answer.note or "", _LETTERS):
        draw.text((left, top), line, fill=_INK)
        top += _ROW * text
    best = max(answer.probabilities, key=answer.probabilities.get, default=None)
    # Names take half of the strip, bars the rest.
    zero, length = start + _STRIP * text / 2, (_STRIP / 2 - _MARGIN) * text
    for name, share in answer.probabilities.items():
        end = zero + length * min(max(share, 0), 1)
        colour = _BEST if name == best else _BAR
        draw.rectangle((zero, top + 0.2 * text, end, top + 1.1 * text), fill=colour)
        draw.text((left, top), name, fill=_INK)
        top += _ROW * text
    for name, value in answer.affect.items():
        draw.text((left, top), f"{name} {value:+.2f}", fill=_INK)
        top += _ROW * text
