"""Strict papermill: requests are checked before a kernel starts, failures leave their evidence.

A grid is the same notebook at several settings, one after another, resumed where it stopped.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from fer_lib import paths, provenance, runs
from fer_lib.measurements import entry_parts
from fer_lib.parameters import notebooks_dir, settle
from fer_lib.run_folder import Run

EXECUTED = "executed.ipynb"


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; its run folder holds the executed copy.

    Attributes:
        run_path: the run's folder.
    """

    def __init__(self, message: str, run_path: Path) -> None:
        super().__init__(message)
        self.run_path = run_path


@dataclass(frozen=True)
class GridResult:
    """What became of a grid.

    Attributes:
        table_path: CSV with a row per point: run_id, status, the varied parameters, the metrics.
        run_paths: the runs' folders, in the order of the points.
        failures: the sentences of the points that failed.
    """

    table_path: Path
    run_paths: list[Path]
    failures: list[str]


def run(
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    preset: str | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Path:
    """Run a notebook, or give the finished identical run.

    Args:
        notebook: number or name.
        parameters: overrides; text is converted to the annotated type.
        preset: name of a preset; None means the notebook's defaults.
        force: run again even where a finished run would only be repeated.
        say: told in a sentence what is happening.

    Returns:
        The run's folder, with ``executed.ipynb`` in it.

    Raises:
        FileNotFoundError, ValueError, TypeError: the request is wrong; no kernel was started.
        NotebookFailed: the notebook stopped with an error.
    """
    path, settled = settle(notebook, parameters, preset)
    source = provenance.source_hash(path)
    same = None if force else runs.find_identical(path.stem, settled, source, preset)
    if same is not None:
        say(f"{path.stem}: reusing the identical finished run {same.run_id}")
        return same.path
    say(f"{path.stem}: running")
    return _execute(path, settled, preset, source)


def read_grid(path: Path) -> list[dict[str, Any]]:
    """Read the points of a grid.

    Args:
        path: JSON: ``{"SEED": [0, 1], "WIDTH": [16, 32]}`` for all combinations, or a list of
            objects for just these points.

    Returns:
        One mapping of parameters per point.

    Raises:
        ValueError: the file is no such JSON, or has no point.
    """
    try:
        grid = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: expected JSON, got a syntax error: {error}") from error
    if isinstance(grid, dict) and all(isinstance(values, list) for values in grid.values()):
        combinations = itertools.product(*grid.values())
        points = [dict(zip(grid, values, strict=True)) for values in combinations] if grid else []
    elif isinstance(grid, list) and all(isinstance(point, dict) for point in grid):
        points = grid
    else:
        raise ValueError(f"{path.name}: expected lists by parameter, or a list of objects")
    if not points:
        raise ValueError(f"{path.name}: expected at least one point, got none")
    return points


def run_grid(
    notebook: str,
    points: list[dict[str, Any]],
    parameters: Mapping[str, Any] | None = None,
    preset: str | None = None,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> GridResult:
    """Run a notebook at every point of a grid; points finished before are reused.

    Every point is checked before the first one runs; one that fails does not stop the others.

    Args:
        notebook: number or name.
        points: parameters per point, from ``read_grid``.
        parameters: overrides for all points; a point's own win.
        preset: name of a preset.
        force: run all points again.
        say: told in a sentence what is happening.

    Returns:
        Where the table and the runs are, and what failed.

    Raises:
        FileNotFoundError, ValueError, TypeError: the request is wrong; no kernel was started.
    """
    requests = [{**(parameters or {}), **point} for point in points]
    path, *_ = [settle(notebook, request, preset)[0] for request in requests]
    digest = provenance.json_hash([requests, preset])[:8]
    result = GridResult(paths.results_dir() / path.stem / f"grid-{digest}.csv", [], [])
    for i, request in enumerate(requests):
        say(f"point {i + 1} of {len(points)}: {json.dumps(points[i])}")
        try:
            folder = run(notebook, request, preset, force=force, say=say)
        except NotebookFailed as error:
            folder = error.run_path
            result.failures.append(str(error))
        result.run_paths.append(folder)
        _write_table(result, points)
    return result


def _execute(path: Path, settled: dict[str, Any], preset: str | None, source: str) -> Path:
    """Run a notebook in a fresh kernel and put the executed copy into the run's folder."""
    about = {"notebook_parameters": settled, "preset": preset, "source_hash": source}
    with _staging(path.stem) as staging:
        pointer = staging / "run_folder.txt"
        error: BaseException | None = None
        try:
            _papermill(path, staging / EXECUTED, settled, _environment(pointer, preset))
        except (Exception, KeyboardInterrupt) as stopped:
            error = stopped
        done = _run_made(pointer) or runs.start(path.stem, settled, preset=preset)
        if (staging / EXECUTED).is_file():
            shutil.move(staging / EXECUTED, done.path / EXECUTED)
    if error is None:
        done.close("finished", **about)
        return done.path
    reason = _reason(error)
    done.close("failed", error=reason, **about)
    if isinstance(error, KeyboardInterrupt):
        raise error
    message = f"{path.stem} failed {reason}; the executed copy is {done.path / EXECUTED}"
    raise NotebookFailed(message, done.path) from error


def _papermill(
    path: Path, output: Path, settled: dict[str, Any], environment: dict[str, str]
) -> None:
    # Papermill warns of parameters whose annotation it cannot read; they were checked before.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill.execute_notebook(
        str(path).replace("{", "{{").replace("}", "}}"),
        str(output).replace("{", "{{").replace("}", "}}"),
        parameters=settled,
        kernel_name="python3",
        language="python",
        progress_bar=False,
        stdout_file=sys.stderr,
        stderr_file=sys.stderr,
        cwd=str(path.parent),
        kernel_manager_class=_kernel_of_this_python(environment),
    )


def _environment(pointer: Path, preset: str | None) -> dict[str, str]:
    """Give what the kernel is told; it works in the notebook's folder, so folders are absolute."""
    return {
        runs.POINTER_VARIABLE: str(pointer),
        runs.PRESET_VARIABLE: preset or "",
        "FER_PROGRESS": "text",
        # Waiting threads that spin make a training ten times slower beside any other work.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "FER_RESULTS": str(paths.results_dir().resolve()),
        "FER_DATA": str(paths.data_dir().resolve()),
        "FER_SHARED": str(paths.shared_dir() or ""),
        "FER_NOTEBOOKS": str(notebooks_dir()),
    }


def _kernel_of_this_python(environment: dict[str, str]) -> type[AsyncKernelManager]:
    """Make a kernel manager that starts this interpreter, whatever kernels are installed."""
    # The kernel's own log has nothing for the person at the terminal; 50 is CRITICAL.
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    argv += ["--IPKernelApp.log_level=50"]
    spec = KernelSpec(argv=argv, env=environment, display_name="Python 3", language="python")

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return ThisPython


@contextmanager
def _staging(notebook: str) -> Iterator[Path]:
    """Give a folder for the copy being executed; the kernel decides the name of the run."""
    parent = paths.results_dir() / notebook
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".executing-", dir=parent))
    try:
        yield staging.resolve()
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run_made(pointer: Path) -> Run | None:
    return Run(Path(pointer.read_text(encoding="utf-8"))) if pointer.is_file() else None


def _reason(error: BaseException) -> str:
    if isinstance(error, PapermillExecutionError):
        message = " ".join(str(error.evalue).split())
        return f"in cell In [{error.exec_count}] with {error.ename}: {message}"
    if isinstance(error, DeadKernelError):
        return "because its kernel died, most often for want of memory"
    if isinstance(error, KeyboardInterrupt):
        return "because it was interrupted"
    return f"outside its cells with {type(error).__name__}: {' '.join(str(error).split())}"


def _write_table(result: GridResult, points: list[dict[str, Any]]) -> None:
    rows = []
    for folder, point in zip(result.run_paths, points, strict=False):
        run = Run(folder)
        named = {"run_id": run.run_id, "status": run.config["status"], **point}
        rows.append(named | _flat(run.metrics))
    table = pd.DataFrame(rows)
    table.to_csv(result.table_path, index=False)
    table.to_json(result.table_path.with_suffix(".json"), orient="records", indent=1)


def _flat(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Spread intervals over columns: ``name``, ``name_low``, ``name_high``, ``name_n``."""
    columns: dict[str, Any] = {}
    for name, entry in metrics.items():
        for key, number in entry_parts(entry).items():
            columns[name if key == "value" else f"{name}_{key}"] = number
    return columns
