"""The folder of one run: figures, tables, checkpoints, metrics, and how it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from IPython.display import Image

from fer_lib import paths, provenance
from fer_lib.measurements import checked_metrics

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Savable(Protocol):
    """A figure that writes itself into a file, as matplotlib's do."""

    def savefig(self, path: Path, **options: Any) -> None:  # noqa: ANN401 - matplotlib's own
        """Write the figure."""

    def get_size_inches(self) -> Sequence[float]:
        """Give width and height on paper."""


@dataclass(frozen=True)
class Run:
    """One execution of a notebook.

    Attributes:
        path: its folder.
        query: the question of ``finished`` or ``latest`` that this run answered, if any.
    """

    path: Path
    query: Mapping[str, Any] | None = field(default=None, compare=False)

    @property
    def notebook(self) -> str:
        """The notebook's name, such as ``02_train_landmark_fusion``."""
        return self.path.parent.name

    @property
    def run_id(self) -> str:
        """Time and short hash: the folder's name."""
        return self.path.name

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` says now."""
        return read_json(self.path / "config.json")

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``metrics.json`` says now; empty where nothing has been measured yet."""
        file = self.path / "metrics.json"
        return read_json(file) if file.is_file() else {}

    @property
    def labels(self) -> dict[str, Any]:
        """What the run can be filtered by.

        Parameters in lower case, the folder name of each input (``store``) and the hash of its
        contents (``store_hash``), ``preset`` and ``run_id``.
        """
        config = self.config
        recorded = {name: e for name, e in config["inputs"].items() if "path" in e}
        inputs = {name: Path(entry["path"]).name for name, entry in recorded.items()}
        hashes = {f"{name}_hash": entry["hash"] for name, entry in recorded.items()}
        settings = {**config["parameters"], **(config["notebook_parameters"] or {})}
        lowered = {name.lower(): value for name, value in settings.items()}
        own = {"preset": config["preset"], "run_id": self.run_id}
        return {**inputs, **lowered, **hashes, **own}

    def save_figure(self, figure: Savable, name: str, *, headline: bool = False) -> Path:
        """Write a figure as PNG.

        Args:
            figure: what has ``savefig``.
            name: file name without suffix.
            headline: show this one on the index page; without any, the first saved is shown.

        Returns:
            ``figures/<name>.png``.
        """
        path = self._file("figures", name, ".png")
        figure.savefig(path, dpi=150, bbox_inches="tight")
        others = [known for known in self.config["figures"] if known != path.name]
        ordered = [path.name, *others] if headline else [*others, path.name]
        self._update(figures=ordered)
        return path

    def show_figure(self, figure: Savable, name: str, *, headline: bool = False) -> Image:
        """Write a figure as ``save_figure`` does, and give it to the notebook to show.

        What is shown is the file itself, so the notebook and the report cannot differ.
        """
        path = self.save_figure(figure, name, headline=headline)
        return Image(filename=str(path), width=round(96 * figure.get_size_inches()[0]))

    def save_table(self, table: pd.DataFrame, name: str) -> Path:
        """Write a table twice: CSV for people, parquet with its types for later notebooks.

        Args:
            table: an index that is not just 0, 1, 2, … is kept.
            name: file name without suffix.

        Returns:
            ``tables/<name>.parquet``.
        """
        path = self._file("tables", name, ".parquet")
        named = table.rename(columns=str)
        plain_index = isinstance(table.index, pd.RangeIndex) and table.index.name is None
        named.to_parquet(path)
        named.to_csv(path.with_suffix(".csv"), index=not plain_index)
        return path

    def table(self, name: str) -> pd.DataFrame:
        """Read a table that ``save_table`` wrote.

        Raises:
            FileNotFoundError: this run wrote no such table.
        """
        path = self._file("tables", name, ".parquet")
        if not path.is_file():
            raise FileNotFoundError(f"expected a table {name} in run {self.run_id}, found none")
        return pd.read_parquet(path)

    def checkpoint_path(self, name: str) -> Path:
        """Give the place of a checkpoint, ``checkpoint/<name>.safetensors``."""
        return self._file("checkpoint", name, ".safetensors")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add measured values to ``metrics.json``; the first ones written lead on the index page.

        Args:
            metrics: name → number, None, or value with low, high and n;
                see ``measurements.checked_metrics``.

        Raises:
            ValueError: a name or a number that ``metrics.json`` must not hold.
            TypeError: a value that is no number.
        """
        write_json(self.path / "metrics.json", {**self.metrics, **checked_metrics(metrics)})

    def add_output(self, name: str, path: Path) -> None:
        """Record something written outside the run folder, such as a store.

        A finished run is reused only while this is still there and unchanged.
        """
        entry = {"path": portable(path), "hash": provenance.input_hash(path)}
        self._update(outputs={**self.config["outputs"], name: entry})

    def finish(self) -> None:
        """Mark the run as finished and note how long it took."""
        self.close("finished")

    def close(self, status: str, **more: Any) -> None:  # noqa: ANN401 - JSON values
        """Note how the run ended.

        Args:
            status: ``"finished"`` or ``"failed"``.
            more: further entries of ``config.json``, such as the error.
        """
        started = datetime.fromisoformat(self.config["started"])
        seconds = round((datetime.now(UTC) - started).total_seconds(), 1)
        self._update(status=status, seconds=seconds, **more)

    def _file(self, folder: str, name: str, suffix: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"expected a name of letters, digits, _, . and -, got {name!r}")
        path = self.path / folder / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        return path

    def _update(self, **entries: Any) -> None:  # noqa: ANN401 - JSON values
        write_json(self.path / "config.json", {**self.config, **entries})


def portable(path: Path) -> str:
    """Give a path relative to the project where it lies inside, so that the checkout can move."""
    resolved, root = path.resolve(), paths.root()
    inside = resolved.is_relative_to(root)
    return (resolved.relative_to(root) if inside else resolved).as_posix()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object beside its place and rename it, so that no reader sees half of it."""
    beside = path.with_name(path.name + ".part")
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)
