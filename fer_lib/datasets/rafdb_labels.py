"""RAF-DB's label list: one image name and one class per line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from fer_lib.datasets.rafdb_folder import check_numbering
from fer_lib.labels import emotion_of_id

_LINE_END = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(
    r"(?P<stem>[^/\\\s]+?)(?:_aligned)?(?P<suffix>\.(?:jpe?g|png|bmp))", re.IGNORECASE
)
_QUOTED = 60


class Labelled(NamedTuple):
    """One image of a label list.

    Attributes:
        sample_id: stem of the name, such as `train_00001`; `line_00017` where line 17 has no name.
        name: name of the original's file, None where the line has none.
        emotion: canonical name, None where the list does not say one.
        note: what is wrong or odd about the line, None for nothing.
    """

    sample_id: str
    name: str | None
    emotion: str | None
    note: str | None


class _Line(NamedTuple):
    number: int
    name: re.Match[str] | None
    label: str
    text: str


def parse_label_list(text: str, where: str) -> list[Labelled]:
    """Read a label list; every line that is not blank stands in the result.

    Fields are parted by any white space. Lines that repeat an image with the same label are one
    entry with a note; where they contradict each other the emotion is unknown.

    Args:
        text: content of the file.
        where: name of the file, for notes and errors.

    Returns:
        One entry per image in the order of their first lines.

    Raises:
        ValueError: most lines are no image with a label from 1 to 7, or the labels are those of
            other classes: the file is not a label list of the basic set.
    """
    lines = [
        _line(number, line) for number, line in enumerate(_LINE_END.split(text), 1) if line.strip()
    ]
    check_numbering((line.label for line in lines), where)
    _check_is_list(lines, where)
    by_id: dict[str, list[_Line]] = {}
    for line in lines:
        sample_id = line.name["stem"] if line.name else f"line_{line.number:05d}"
        by_id.setdefault(sample_id, []).append(line)
    return [_labelled(sample_id, lines, where) for sample_id, lines in by_id.items()]


def _line(number: int, line: str) -> _Line:
    first, *rest = line.split()
    return _Line(number, _NAME.fullmatch(first), " ".join(rest), " ".join([first, *rest]))


def _is_label(label: str) -> bool:
    return len(label) == 1 and label in "1234567"


def _check_is_list(lines: Sequence[_Line], where: str) -> None:
    if not lines:
        raise ValueError(f"expected lines such as 'train_00001.jpg 5' in {where}, it is empty")
    wrong = [line for line in lines if not (line.name and _is_label(line.label))]
    if 2 * len(wrong) > len(lines):
        raise ValueError(
            f"expected lines such as 'train_00001.jpg 5' in {where}, got {len(wrong)} others in "
            f"{len(lines)}, such as line {wrong[0].number}: {wrong[0].text[:_QUOTED]!r}; pass the "
            "label list of RAF-DB's basic set"
        )


def _labelled(sample_id: str, lines: Sequence[_Line], where: str) -> Labelled:
    first, labels = lines[0], list(dict.fromkeys(line.label for line in lines))
    numbers = ", ".join(str(line.number) for line in lines)
    place = f"{where} line{'s' if len(lines) > 1 else ''} {numbers}"
    if first.name is None:
        note = f"{place}: no image is named in {first.text[:_QUOTED]!r}"
        return Labelled(sample_id, None, None, note)
    name = first.name["stem"] + first.name["suffix"]
    if len(labels) == 1 and _is_label(labels[0]):
        note = f"{place}: the same label repeated" if len(lines) > 1 else None
        return Labelled(sample_id, name, emotion_of_id("rafdb", int(labels[0])), note)
    got = " and ".join(repr(label[:_QUOTED]) for label in labels)
    return Labelled(sample_id, name, None, f"{place}: expected one label from 1 to 7, got {got}")
