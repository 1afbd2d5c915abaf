"""What pages say about a run: title, question, numbers with units, thumbnail, links."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from PIL import Image, UnidentifiedImageError

from fer_lib.measurements import entry_parts
from fer_lib.parameters import notebooks_dir
from fer_lib.run_folder import Run

TEMPLATES = Path(__file__).resolve().parent / "templates"
_THUMBNAIL_PX = (880, 640)
_UNITS = {
    "_pct_iod": "% of eye distance",
    "_per_s": "/s",
    "_ratio": "×",
    "_frac": "%",
    "_pct": "%",
    "_deg": "°",
    "_ms": "ms",
    "_mb": "MB",
    "_db": "dB",
    "_px": "px",
    "_s": "s",
}


@dataclass(frozen=True)
class Number:
    """A measured value as pages show it; ``name`` is its key in ``metrics.json``."""

    name: str
    label: str
    value: str
    unit: str
    interval: str
    n: str


@dataclass(frozen=True)
class Card:
    """What a page shows of one run; links are relative to the page's folder."""

    notebook: str
    number: str
    title: str
    question: str
    run_id: str
    source: str
    preset: str
    status: str
    error: str
    started: str
    duration: str
    numbers: list[Number]
    thumbnail: str
    report: str


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - what the template names
    """Fill in one of the package's templates; every value is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def describe(run: Run, folder: Path) -> Card:
    """Collect what pages show of a run.

    Args:
        run: any run, however it ended.
        folder: where the page lies; links start there.
    """
    config = run.config
    title, question = _heading(run)
    page = run.path / "report.html"
    return Card(
        notebook=run.notebook,
        number=run.notebook[:2],
        title=title,
        question=question,
        run_id=run.run_id,
        source=source_of(run),
        preset=config["preset"] or "",
        status=config["status"],
        error=config["error"] or "",
        started=f"{datetime.fromisoformat(config['started']):%-d %B %Y, %H:%M} UTC",
        duration=_duration(config["seconds"]),
        numbers=[show_number(name, entry) for name, entry in run.metrics.items()],
        thumbnail=_thumbnail(run),
        report=relative_link(page, folder) if page.is_file() else "",
    )


def source_of(run: Run) -> str:
    """Give the source or store a run worked on, or an empty text."""
    labels = run.labels
    named = (labels.get(name) for name in ("source", "store"))
    return next((str(name) for name in named if name), "")


def relative_link(target: Path, folder: Path) -> str:
    """Give a link from a page's folder to a file, which works from disk."""
    return quote(Path(os.path.relpath(target, folder)).as_posix())


def show_number(name: str, entry: float | Mapping[str, Any] | None) -> Number:
    """Write a metric for people.

    Args:
        name: with the unit as its suffix; fractions are shown in per cent.
        entry: as in ``metrics.json``.
    """
    parts = entry_parts(entry)
    suffix = next((suffix for suffix in _UNITS if name.endswith(suffix)), "")
    label = name.removesuffix(suffix).replace("_", " ").strip() or name
    scale = 100 if suffix == "_frac" else 1
    decimals = _decimals(parts["value"], scale)
    value, low, high = (
        "" if parts.get(key) is None else f"{parts[key] * scale:,.{decimals}f}"
        for key in ("value", "low", "high")
    )
    return Number(
        name=name,
        label=label,
        value=value or "not measured",
        unit=_UNITS.get(suffix, "") if value else "",
        interval=f"{low} to {high}" if low and high else "",
        n=f"{parts['n']:,}" if parts.get("n") is not None else "",
    )


def _decimals(value: float | None, scale: int) -> int:
    """Give the places after the point that leave about three digits to read."""
    if value is None or (isinstance(value, int) and scale == 1):
        return 0
    if scale == 100:
        return 1
    whole_digits = math.floor(math.log10(abs(value))) + 1 if value else 1
    return min(max(3 - whole_digits, 0), 6)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def _heading(run: Run) -> tuple[str, str]:
    """Give title and question from the notebook's first cell."""
    text = _first_cell(run.path / "executed.ipynb") or _first_cell(
        notebooks_dir() / f"{run.notebook}.ipynb"
    )
    found = re.search(r"^# +(?:\d\d\b[ .:–-]*)?(.+)$", text, re.MULTILINE)
    title = found[1] if found else run.notebook[3:].replace("_", " ")
    asked = re.search(
        r"\*\*Question[.:]?\*\*[.:]?\s*(.+?)(?:\n\s*\n|\n\s*[-*] |\n\*\*|\Z)", text, re.DOTALL
    )
    question = " ".join(asked[1].split()) if asked else ""
    return tuple(re.sub(r"[*`]|\\(?=[_*])", "", part).strip() for part in (title, question))


def _first_cell(notebook: Path) -> str:
    """Give the source of a notebook's first markdown cell that papermill did not add."""
    if not notebook.is_file():
        return ""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        added = "papermill-error-cell-tag" in cell["metadata"].get("tags", [])
        if cell["cell_type"] == "markdown" and not added:
            return "".join(cell["source"])
    return ""


def _thumbnail(run: Run) -> str:
    """Give the headline figure, made small, as an address that carries its bytes."""
    for name in run.config["figures"]:
        try:
            image = Image.open(run.path / "figures" / name).convert("RGBA")
        except (OSError, UnidentifiedImageError):
            continue
        image.thumbnail(_THUMBNAIL_PX)
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image.getchannel("A"))
        buffer = io.BytesIO()
        paper.save(buffer, "JPEG", quality=88)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return ""
