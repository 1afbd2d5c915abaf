"""One page over all runs: what each notebook asked, and what it measured."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from fer_lib.pages import describe, render, source_of
from fer_lib.run_folder import Run


def write_index(runs: Iterable[Run], path: Path) -> Path:
    """Write the page over runs: the newest of each notebook, source and preset.

    Args:
        runs: in any order, however they ended.
        path: HTML file to write; its folder is made.

    Returns:
        ``path``.
    """
    shown = [describe(run, path.parent) for run in newest_of_each(runs)]
    groups = [(number, list(cards)) for number, cards in groupby(shown, lambda card: card.notebook)]
    path.parent.mkdir(parents=True, exist_ok=True)
    now = f"{datetime.now(UTC):%-d %B %Y, %H:%M} UTC"
    path.write_text(render("index.html.j2", groups=groups, now=now), encoding="utf-8")
    return path


def newest_of_each(runs: Iterable[Run]) -> list[Run]:
    """Give the newest run of each notebook, source and preset, in the order of the notebooks."""
    newest: dict[tuple[str, str, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.config["started"]):
        newest[run.notebook, source_of(run), run.config["preset"] or ""] = run
    # The embedded source stands first in each notebook, then the others.
    return [newest[key] for key in sorted(newest, key=_position)]


def _position(key: tuple[str, str, str]) -> tuple[str, bool, str, str]:
    notebook, source, preset = key
    return notebook, source != "synthetic", source, preset
