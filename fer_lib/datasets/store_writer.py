"""Writing a store: rows stream to the disk, the folder appears at the end by a rename."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from fer_lib.datasets.splits import check_subjects
from fer_lib.datasets.store import OPTIONAL_ARRAYS, count_samples, folder_aside, is_store
from fer_lib.datasets.store_hash import ContentHash
from fer_lib.provenance import package_versions
from fer_lib.tables import sample_table


@dataclass(frozen=True)
class StoreCard:
    """What a store's maker says about it.

    Attributes:
        source: data set or generator.
        licence: what its owners allow.
        alignment: how faces lie in the crop.
        lineage: what it was made from and with (settings, hashes, networks).
        landmark_scheme: what the landmarks are and in which order (`ibug68`, `five`, …).
    """

    source: str
    licence: str
    alignment: str
    lineage: Mapping[str, Any] = field(default_factory=dict)
    landmark_scheme: str = "ibug68"


class StoreWriter:
    """Writes a store of a known number of rows, in order; use it as a context manager.

    Leaving the block normally checks the table (unique ids, no subject in two splits) and puts the
    store in place, over an older one; leaving it by an exception removes what was written and
    touches nothing else.

    Args:
        path: folder of the store to be.
        n: number of rows that will be written.
        size: side of the faces in pixels.
        n_landmarks: landmarks per face.
        card: source, licence, alignment, lineage.

    Raises:
        ValueError: the folder holds something that is no store, is being written by another, or
            the disk refuses it (full, read-only).
    """

    def __init__(
        self, path: Path | str, *, n: int, size: int, n_landmarks: int, card: StoreCard
    ) -> None:
        # A link to a store stays a link: the folder it leads to is replaced.
        self._path = Path(os.path.realpath(path))
        self._n = n
        self._shapes = {"faces": (size, size, 3), "landmarks": (n_landmarks, 2), **OPTIONAL_ARRAYS}
        self._card = card
        self._beside = self._path.with_name(f".{self._path.name}.writing")
        self._files: dict[str, BinaryIO] = {}
        self._tables: list[pd.DataFrame] = []
        self._hash = ContentHash()
        self._written = 0

    def __enter__(self) -> StoreWriter:
        with _refusals_as_a_sentence(self._path):
            _refuse_foreign(self._path)
            self._lock = _lock_folder(self._beside, self._path)
            _restore(self._path)
        return self

    def write(
        self,
        samples: pd.DataFrame,
        faces: np.ndarray,
        landmarks: np.ndarray,
        params: Mapping[str, np.ndarray] | None = None,
        extras: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Append rows.

        Args:
            samples: sample table of `(n,)` rows.
            faces: `(n, S, S, 3)` uint8 RGB.
            landmarks: `(n, K, 2)` float32 crop pixels, NaN unknown.
            params: `(n, ...)` arrays by name; the same names in every call.
            extras: optional arrays of the store by name (`store.OPTIONAL_ARRAYS`); the same names
                in every call.

        Raises:
            ValueError: a shape or type does not fit, there are too many rows, or the disk is full.
        """
        arrays = {"faces": faces, "landmarks": landmarks, **(extras or {})}
        arrays |= {f"params.{name}": np.asarray(values) for name, values in (params or {}).items()}
        self._check(len(samples), arrays)
        for name, values in arrays.items():
            rows = np.ascontiguousarray(values)
            with _refusals_as_a_sentence(self._path):
                self._file(name, rows).write(rows.data)
            self._hash.add(name, rows)
        self._tables.append(samples)
        self._written += len(samples)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with _refusals_as_a_sentence(self._path):
                self._close_files()
                if kind is None:
                    self._finish()
            if kind is not None:
                shutil.rmtree(self._beside, ignore_errors=True)
        except BaseException:
            shutil.rmtree(self._beside, ignore_errors=True)
            raise
        finally:
            os.close(self._lock)

    def _check(self, n_rows: int, arrays: Mapping[str, np.ndarray]) -> None:
        expected = {"faces": np.uint8, "landmarks": np.float32}
        expected |= dict.fromkeys(OPTIONAL_ARRAYS, np.float32)
        for name, values in arrays.items():
            shape = (n_rows, *self._shapes.setdefault(name, values.shape[1:]))
            if values.shape != shape or values.dtype != expected.get(name, values.dtype):
                raise ValueError(
                    f"expected {name} of shape {shape} {expected.get(name, '')}, got "
                    f"{values.shape} {values.dtype}"
                )
        if self._files and set(arrays) != set(self._files):
            raise ValueError(
                f"expected the arrays {sorted(self._files)} in every call, got {sorted(arrays)}"
            )
        if self._written + n_rows > self._n:
            raise ValueError(
                f"expected {self._n} rows in all, got {self._written + n_rows}; raise n"
            )

    def _file(self, name: str, rows: np.ndarray) -> BinaryIO:
        """Open an array's file at its first rows; the header already has the final shape."""
        if name not in self._files:
            file = (self._beside / f"{name}.npy").open("wb")
            header = {
                "descr": np.lib.format.dtype_to_descr(rows.dtype),
                "fortran_order": False,
                "shape": (self._n, *rows.shape[1:]),
            }
            np.lib.format.write_array_header_2_0(file, header)
            self._files[name] = file
        return self._files[name]

    def _close_files(self) -> None:
        # Closing writes what is buffered: on a full disk it fails, and the others still must close.
        with ExitStack() as files:
            for file in self._files.values():
                files.callback(file.close)

    def _finish(self) -> None:
        if self._written != self._n:
            raise ValueError(
                f"expected {self._n} rows, got {self._written}; the store was not written"
            )
        if self._n == 0:
            for name, dtype in (("faces", np.uint8), ("landmarks", np.float32)):
                np.save(self._beside / f"{name}.npy", np.empty((0, *self._shapes[name]), dtype))
        index = sample_table(pd.concat(self._tables) if self._tables else pd.DataFrame())
        check_subjects(index)
        index.to_parquet(self._beside / "index.parquet")
        self._pack_params()
        text = json.dumps(self._full_card(index), indent=1, ensure_ascii=False)
        (self._beside / "card.json").write_text(text + "\n", encoding="utf-8")
        _put_in_place(self._beside, self._path)

    def _pack_params(self) -> None:
        files = sorted(self._beside.glob("params.*.npy"))
        if files:
            arrays = {path.name[7:-4]: np.load(path, mmap_mode="r") for path in files}
            np.savez(self._beside / "params.npz", **arrays)
            for path in files:
                path.unlink()

    def _full_card(self, index: pd.DataFrame) -> dict[str, Any]:
        return {
            "source": self._card.source,
            "licence": self._card.licence,
            "alignment": self._card.alignment,
            "counts": count_samples(index),
            "size_px": self._shapes["faces"][0],
            "landmarks": self._shapes["landmarks"][0],
            "landmark_scheme": self._card.landmark_scheme,
            "hash": self._hash.finish(index),
            "lineage": dict(self._card.lineage),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
        }


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not (path / "card.json").is_file() and not _is_empty_folder(path):
        raise ValueError(
            f"expected a store or nothing at {path}, found something else; choose another name or "
            "move it away"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _lock_folder(beside: Path, path: Path) -> int:
    """Make and lock the folder to write in; the lock dies with the process that holds it."""
    while True:
        beside.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(beside, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ValueError(
                f"the store {path} is being written by another process; wait for it or choose "
                "another name"
            ) from error
        # The folder may have become the finished store between opening and locking it.
        if beside.exists() and beside.stat().st_ino == os.fstat(lock).st_ino:
            break
        os.close(lock)
    for leftover in beside.iterdir():
        leftover.unlink()
    return lock


def _put_in_place(beside: Path, path: Path) -> None:
    old = folder_aside(path)
    _remove(old)
    if path.exists():
        path.rename(old)
    try:
        beside.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _remove(old)


def _restore(path: Path) -> None:
    """Put an older store back that a killed writer had moved aside."""
    old = folder_aside(path)
    if not path.exists() and is_store(old):
        old.rename(path)


def _remove(old: Path) -> None:
    # The card goes first: what a kill leaves of the folder is then no store to go back to.
    with suppress(OSError):
        (old / "card.json").unlink()
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _refusals_as_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise ValueError(
            f"the store {path} cannot be written: {reason}; make room or choose a folder that can "
            "be written (an older store is untouched)"
        ) from error
