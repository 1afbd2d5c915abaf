"""Where things live: the project root, its data and results folders, the shared test material."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """Give the project root, the folder that holds ``fer_lib``."""
    return Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Give the data folder: ``FER_DATA`` where set, else ``data`` under the root."""
    return Path(os.environ.get("FER_DATA") or root() / "data")


def results_dir() -> Path:
    """Give the results folder: ``FER_RESULTS`` where set, else ``results`` under the root."""
    return Path(os.environ.get("FER_RESULTS") or root() / "results")


def shared_dir() -> Path | None:
    """Give the folder of shared data and assets named by ``FER_SHARED``, or None without one."""
    folder = os.environ.get("FER_SHARED")
    return Path(folder).resolve() if folder and Path(folder).is_dir() else None


def store_dir(name: str) -> Path:
    """Give the folder of a store.

    Args:
        name: the store's name, one path component such as ``"synthetic"``.

    Returns:
        ``data/processed/<name>``; it need not exist.

    Raises:
        ValueError: the name is empty or would leave the folder of stores.
    """
    if not name or name in {".", ".."} or Path(name).name != name:
        raise ValueError(f"expected a store name of one path component, got {name!r}")
    return data_dir() / "processed" / name


def model_dir(name: str) -> Path:
    """Give the folder of what is made once from a morphable model's files.

    Args:
        name: of the model, such as ``"ict"``.

    Returns:
        ``data/models/<name>``; it need not exist.
    """
    return data_dir() / "models" / name
