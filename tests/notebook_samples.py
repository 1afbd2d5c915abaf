"""A small lab of its own: notebooks written on the spot, a preset, folders for data and results."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest

PARAMETERS = """\
STORE: str = "toy"  # what is read
SIZE: int = 3
RATE: float = 0.5
FLAG: bool = True
NAMES: list[str] = ["a"]
RATES: list[float] = [0.1]
LIMIT: int | None = None
"""
WORK = """\
run = runs.start("05_count_things", {"size": SIZE, "rate": RATE, "store": STORE})
run.write_metrics({"size_px": SIZE, "doubled_frac": {"value": RATE, "low": 0, "high": 1, "n": 9}})
if SIZE == 13:
    raise ValueError("thirteen <b>is</b> unlucky")
run.finish()"""


def write_notebook(folder: Path, name: str, *sources: str, parameters: str = PARAMETERS) -> Path:
    """Write a notebook: a title, the parameters cell, the sources; ``# md`` marks markdown."""
    cells = [
        nbformat.v4.new_markdown_cell(f"# {name[:2]} Count things\n\n**Question.** How many?"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
    ]
    for source in sources:
        markdown = source.startswith("# md\n")
        new = nbformat.v4.new_markdown_cell if markdown else nbformat.v4.new_code_cell
        cells.append(new(source.removeprefix("# md\n")))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def make_lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put notebook 05 and a preset into a folder, and make it the place of notebooks."""
    notebooks = folder / "notebooks"
    (notebooks / "presets").mkdir(parents=True)
    monkeypatch.setenv("FER_NOTEBOOKS", str(notebooks))
    monkeypatch.delenv("FER_PRESET", raising=False)
    monkeypatch.delenv("FER_RUN_POINTER", raising=False)
    write_notebook(notebooks, "05_count_things", "from fer_lib import runs", WORK)
    preset = {"05_count_things": {"SIZE": 5}}
    (notebooks / "presets" / "quick.json").write_text(json.dumps(preset))
    return folder


def run_cells_here(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Stand in for papermill: run the cells in this process; give the list of executions."""
    executions = []

    def execute_notebook(source, output, parameters, kernel_manager_class, **options):
        notebook = nbformat.read(source, as_version=4)
        nbformat.write(notebook, output)
        executions.append(parameters)
        first, *others = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        names = {}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in kernel_manager_class().kernel_spec.env.items():
                patch.setenv(name, value)
            exec(first, names)
            names.update(parameters)
            exec("\n".join(others), names)

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    return executions
