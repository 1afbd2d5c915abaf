"""One page per run: the executed notebook as HTML, code folded, nothing loaded from a network."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from fer_lib import paths
from fer_lib.pages import TEMPLATES, describe, relative_link, render
from fer_lib.run_folder import Run

_BAR = re.compile(r"\d+%\|.*\|.*\[.*\]")
_CURSOR = re.compile(r"\x1b\[\d*[A-HJKS]")
_LOADING = ("script", "link", "meta", "base", "iframe", "object", "embed", "audio", "video")
_ADDRESSES = ("src", "srcset", "href", "xlink:href", "data", "poster", "background", "action")
_FROM_ELSEWHERE = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:|#)[^)]*\)", re.IGNORECASE)
_INTERACTIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript")


def write_report(run: Run) -> Path | None:
    """Write ``report.html`` beside a run's executed notebook.

    Args:
        run: a finished or failed run.

    Returns:
        The page; None where the run has no executed notebook (JupyterLab keeps its own).
    """
    executed = run.path / "executed.ipynb"
    if not executed.is_file():
        return None
    body = notebook_body(nbformat.read(executed, as_version=4))
    page = run.path / "report.html"
    index = paths.results_dir() / "report" / "index.html"
    text = render(
        "report.html.j2",
        card=describe(run, page.parent),
        config=run.config,
        body=body,
        code_style=HtmlFormatter(style="friendly").get_style_defs(".highlight"),
        index=relative_link(index, page.parent),
    )
    page.write_text(text, encoding="utf-8")
    return page


def notebook_body(notebook: NotebookNode) -> str:
    """Turn an executed notebook into HTML that stands alone.

    Args:
        notebook: cells with outputs; it is not changed.

    Returns:
        HTML without scripts, whose images are all embedded; each input is a closed ``<details>``.
    """
    kept = nbformat.from_dict(notebook)
    kept.metadata.pop("widgets", None)
    kept.cells = [cell for cell in kept.cells if not _is_notice(cell)]
    for cell in kept.cells:
        if cell.cell_type == "code":
            cell.outputs = _kept_outputs(cell.outputs)
    exporter = HTMLExporter(
        template_name="basic",
        template_file=str(TEMPLATES / "notebook.html.j2"),
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(kept)
    return _standing_alone(body)


def _is_notice(cell: NotebookNode) -> bool:
    """Say whether papermill put a cell on top to tell of a failure that the page tells itself."""
    added = "papermill-error-cell-tag" in cell.metadata.get("tags", [])
    return added and 'id="papermill-error-cell"' not in cell.source


def _kept_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Drop widgets and scripts, join what a stream said, and drop its progress bars."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if any(kind in output.get("data", {}) for kind in _INTERACTIVE):
            continue
        last = kept[-1] if kept else {}
        same_stream = output.output_type == "stream" and last.get("name") == output.get("name")
        if same_stream and last.get("output_type") == "stream":
            last["text"] += output.text
        else:
            kept.append(nbformat.from_dict(output))
    for output in kept:
        if output.output_type == "stream":
            output["text"] = last_states(output.text)
    return [output for output in kept if output.output_type != "stream" or output.text.strip()]


def last_states(text: str) -> str:
    """Give what a terminal would show in the end, without progress bars.

    Args:
        text: a stream in which a carriage return goes back to the start of a line.

    Returns:
        The last state of each line; lines that are progress bars are left out.
    """
    lines = _CURSOR.sub("", text).replace("\r\n", "\n").split("\n")
    states = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return "\n".join(state for state in states if not _BAR.search(state))


def _standing_alone(body: str) -> str:
    """Remove what would run or load something: scripts, frames, sheets, images from elsewhere."""
    soup = BeautifulSoup(body, "html.parser")
    for tag in soup.find_all(_LOADING):
        tag.decompose()
    for sheet in soup.find_all("style"):
        sheet.string = _FROM_ELSEWHERE.sub("", sheet.get_text())
    for tag in soup.find_all(True):
        kept = {name: value for name, value in tag.attrs.items() if not _loads(tag, name, value)}
        if tag.name == "img" and "src" not in kept:
            tag.replace_with(f"[image: {tag.get('alt') or tag.get('src') or 'without source'}]")
        tag.attrs = kept
    return str(soup)


def _loads(tag: Tag, name: str, value: str | list[str]) -> bool:
    """Say whether an attribute runs code or fetches something when the page is opened."""
    text = " ".join(value) if isinstance(value, list) else value
    if name == "style":
        return bool(_FROM_ELSEWHERE.search(text))
    if name in {"href", "xlink:href"} and tag.name == "a":
        return text.strip().lower().startswith("javascript:")
    return name.startswith("on") or (name in _ADDRESSES and not text.startswith(("data:", "#")))
