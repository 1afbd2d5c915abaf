"""Runs: start one, find finished ones, find one that a new one would only repeat.

A run is a folder ``results/<NN_slug>/<run_id>/`` with ``config.json``, ``metrics.json``,
``tables/``, ``figures/``, ``checkpoint/`` and, where ``fer run`` made it, ``executed.ipynb`` and
``report.html``; ``run_id`` is the time and a short hash of settings and inputs.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fer_lib import paths, provenance
from fer_lib.parameters import notebooks_dir
from fer_lib.run_folder import NAME, Run, portable, write_json

POINTER_VARIABLE = "FER_RUN_POINTER"
PRESET_VARIABLE = "FER_PRESET"
_TRAINED = {
    "own": ("04", "judge"),
    "own embedder": ("04", "embedder"),
    "stand-in": ("02", "rgb"),
    "fusion": ("02", "fusion"),
}


def start(
    notebook: str,
    config: Any,  # noqa: ANN401 - one dataclass or mapping, or several
    inputs: Mapping[str, Path | Run | Sequence[Run]] | None = None,
    preset: str | None = None,
) -> Run:
    """Make a run folder and write its ``config.json``.

    Args:
        notebook: the notebook's file name without suffix.
        config: a dataclass or mapping with the settings, or a sequence of several.
        inputs: what is read – a store, a file, a folder, or runs from ``latest`` or ``finished``.
        preset: the preset in use; None takes the environment's ``FER_PRESET``.

    Returns:
        The run, with status ``running``.

    Raises:
        ValueError: the notebook's name or the settings are malformed.
        FileNotFoundError: an input is not there.
    """
    if not NAME.fullmatch(notebook):
        raise ValueError(f"expected a notebook's name like 01_preprocess, got {notebook!r}")
    parameters = _parameters(config)
    recorded = {name: _record_input(value) for name, value in (inputs or {}).items()}
    started = datetime.now(UTC)
    path = _make_folder(notebook, started, provenance.json_hash([parameters, recorded])[:8])
    entries = {
        "notebook": notebook,
        "run_id": path.name,
        "status": "running",
        "preset": preset or os.environ.get(PRESET_VARIABLE) or None,
        "parameters": parameters,
        "notebook_parameters": None,
        "seed": parameters.get("seed", parameters.get("SEED")),
        "started": started.isoformat(),
        "seconds": None,
        "inputs": recorded,
        "outputs": {},
        "figures": [],
        "error": None,
        "source_hash": provenance.source_hash(notebooks_dir() / f"{notebook}.ipynb"),
        "git_commit": provenance.git_commit(),
        "packages": provenance.package_versions(),
    }
    write_json(path / "config.json", entries)
    if pointer := os.environ.get(POINTER_VARIABLE):
        Path(pointer).write_text(str(path), encoding="utf-8")
    return Run(path)


def every(notebook: str = "*") -> list[Run]:
    """Give all runs of the notebooks that match a pattern, newest first, however they ended."""
    files = paths.results_dir().glob("*/*/config.json")
    runs = [Run(file.parent) for file in files if fnmatch(file.parent.parent.name, notebook)]
    return sorted(runs, key=lambda run: (run.config["started"], run.run_id), reverse=True)


def finished(
    notebook: str = "*",
    *,
    having: str | None = None,
    **labels: Any,  # noqa: ANN401 - JSON values
) -> list[Run]:
    """Give finished runs, newest first.

    Passing the answer to ``start`` as an input records the question too: the new run is reused
    only while the same question has the same answer.

    Args:
        notebook: name or pattern, such as ``"02_*"``.
        having: a file each run must have, relative to its folder: ``"tables/predictions.parquet"``.
        labels: what each run's parameters, inputs or preset must be: ``store="synthetic"``.

    Returns:
        The runs; empty when there are none.
    """
    return _ask(notebook, having, labels, "all")


def latest_of_each(
    notebook: str = "*",
    *,
    having: str | None = None,
    **labels: Any,  # noqa: ANN401 - JSON values
) -> list[Run]:
    """Give one finished run per notebook, in the order of the notebooks.

    Of each notebook it is the newest run of the preset in use, or else the newest of any preset.
    Arguments as for ``finished``.
    """
    return _ask(notebook, having, labels, "each")


def latest(
    notebook: str,
    *,
    having: str | None = None,
    **labels: Any,  # noqa: ANN401 - JSON values
) -> Run:
    """Give the newest finished run of the preset in use, or else the newest of any preset.

    Arguments as for ``finished``.

    Raises:
        FileNotFoundError: there is none.
    """
    if answers := _ask(notebook, having, labels, "one"):
        return answers[0]
    wanted = "".join(f", {name}={value}" for name, value in labels.items())
    wanted += f", {having}" if having else ""
    raise FileNotFoundError(
        f"expected a finished run of {notebook}{wanted}, found none; run it first: "
        f"fer run {notebook[:2]}"
    )


def checkpoints_in(found: Sequence[Run]) -> dict[str, Path]:
    """Find the networks that judge, among runs of 02 and 04.

    Args:
        found: runs, the preferred first.

    Returns:
        ``own`` (emotion judge), ``own embedder``, ``stand-in`` (RGB net), ``fusion`` → checkpoint,
        as far as there are any.
    """
    files: dict[str, Path] = {}
    for run in found:
        for name, (number, checkpoint) in _TRAINED.items():
            path = run.checkpoint_path(checkpoint)
            if run.notebook.startswith(number) and path.is_file():
                files.setdefault(name, path)
    return files


def repeats(run: Run) -> list[Run]:
    """Give the finished runs that differ from a run by their seed alone, itself among them.

    Args:
        run: a run of a notebook that reads a store and has a parameter ``SEED``.

    Returns:
        Runs with its other settings and its store, newest first, as ``finished`` does; several may
        have one seed, see ``newest_per_seed``.
    """
    settings = {name: value for name, value in run.config["parameters"].items() if name != "seed"}
    return finished(run.notebook, store_hash=run.labels["store_hash"], **settings)


def newest_per_seed(found: Sequence[Run]) -> list[Run]:
    """Keep the newest run of each seed, of those with the newest run's source code.

    Args:
        found: runs, newest first, as ``repeats`` gives them.

    Returns:
        One run per seed, by seed.
    """
    same = [run for run in found if run.config["source_hash"] == found[0].config["source_hash"]]
    by_seed = {run.config["parameters"]["seed"]: run for run in reversed(same)}
    return [by_seed[seed] for seed in sorted(by_seed)]


def find_identical(
    notebook: str, parameters: Mapping[str, Any], source_hash: str, preset: str | None
) -> Run | None:
    """Give the newest finished run that a new one would only repeat.

    Args:
        notebook: the notebook's name.
        parameters: all parameters of its tagged cell.
        source_hash: of library and notebook, from ``provenance.source_hash``.
        preset: the preset in use.

    Returns:
        A run with these parameters, source and preset whose inputs and outputs are still what was
        recorded, or None.
    """
    wanted = {
        "status": "finished",
        "notebook_parameters": dict(parameters),
        "source_hash": source_hash,
        "preset": preset,
    }
    for run in every(notebook):
        config = run.config
        same = all(config[name] == value for name, value in wanted.items())
        if same and all(map(_unchanged, _entries(config))):
            return run
    return None


def _parameters(config: Any) -> dict[str, Any]:  # noqa: ANN401 - checked here
    """Merge settings into one mapping of JSON values."""
    parts = config if isinstance(config, Sequence) and not isinstance(config, str) else [config]
    merged: dict[str, Any] = {}
    for part in parts:
        settings = dataclasses.asdict(part) if dataclasses.is_dataclass(part) else dict(part)
        for name, value in settings.items():
            if merged.setdefault(name, value) != value:
                raise ValueError(f"expected one value of {name}, got {merged[name]} and {value}")
    return json.loads(json.dumps(merged, allow_nan=False))


def _record_input(value: Path | Run | Sequence[Run]) -> dict[str, Any]:
    if isinstance(value, Path):
        return {"path": portable(value), "hash": provenance.input_hash(value)}
    found = [value] if isinstance(value, Run) else list(value)
    if not found:
        raise ValueError(
            "expected at least one finished run as an input, got none; run the notebook that "
            "writes what this one reads first"
        )
    names = [f"{run.notebook}/{run.run_id}" for run in found]
    query = dict(found[0].query) if found[0].query else None
    return {"runs": names, "query": query}


def _make_folder(notebook: str, started: datetime, digest: str) -> Path:
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{digest}"
    for suffix in ("", *(f"-{i}" for i in range(2, 100))):
        path = paths.results_dir() / notebook / f"{run_id}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"expected a free run folder, 99 are named {run_id}; wait a second")


def _ask(notebook: str, having: str | None, labels: dict[str, Any], pick: str) -> list[Run]:
    """Answer a question, and give each run of the answer the question to carry."""
    preset = os.environ.get(PRESET_VARIABLE) or None
    question = {"notebook": notebook, "having": having, "labels": labels}
    query = {**question, "pick": pick, "preset": preset}
    return [dataclasses.replace(run, query=query) for run in _answers(query)]


def _answers(query: Mapping[str, Any]) -> list[Run]:
    having, labels = query["having"], query["labels"].items()
    found = []
    for run in every(query["notebook"]):
        known = run.labels
        matches = all(name in known and known[name] == value for name, value in labels)
        there = having is None or (run.path / having).is_file()
        if run.config["status"] == "finished" and matches and there:
            found.append(run)
    if query["pick"] == "all":
        return found
    # Sorting keeps the order of equals: the newest of the preset comes first, then the newest.
    found.sort(key=lambda run: query["preset"] not in {None, run.config["preset"]})
    if query["pick"] == "one":
        return found[:1]
    first_of_each = {run.notebook: run for run in reversed(found)}
    return [first_of_each[name] for name in sorted(first_of_each)]


def _entries(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from config["inputs"].values()
    yield from config["outputs"].values()


def _unchanged(entry: Mapping[str, Any]) -> bool:
    """Say whether a recorded input or output is still what it was."""
    if "path" in entry:
        path = paths.root() / entry["path"]
        return path.exists() and provenance.input_hash(path) == entry["hash"]
    if entry["query"]:
        now = [f"{run.notebook}/{run.run_id}" for run in _answers(entry["query"])]
        return now == entry["runs"]
    return all((paths.results_dir() / name).is_dir() for name in entry["runs"])
