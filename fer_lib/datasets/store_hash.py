"""The hash of a store's contents: equal contents give equal hashes, whenever and wherever written.

Each array has a SHA-256 of its own that takes rows as they are written, so nothing is read twice;
the store's hash is that of their list together with the sample table's values.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd


class ContentHash:
    """Hash of arrays that arrive in blocks of rows, and of a sample table at the end."""

    def __init__(self) -> None:
        self._arrays: dict[str, hashlib._Hash] = {}

    def add(self, name: str, rows: np.ndarray) -> None:
        """Take in the next rows of an array.

        Args:
            name: which array.
            rows: `(n, ...)`; how the rows are cut into blocks does not matter.
        """
        if name not in self._arrays:
            layout = f"{rows.dtype.str} {rows.shape[1:]}"
            self._arrays[name] = hashlib.sha256(layout.encode())
        self._arrays[name].update(np.ascontiguousarray(rows).data)

    def finish(self, index: pd.DataFrame) -> str:
        """Close with the sample table.

        Args:
            index: sample table of all rows.

        Returns:
            SHA-256 as hex.
        """
        parts = [[name, digest.hexdigest()] for name, digest in sorted(self._arrays.items())]
        parts += [[str(name), _column_digest(column)] for name, column in index.items()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _column_digest(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(np.float64, na_value=np.nan)
        # Not-a-number has many bit patterns; unknown is unknown.
        content = np.where(np.isnan(values), np.nan, values).tobytes()
    else:
        texts = [None if pd.isna(value) else str(value) for value in column]
        content = json.dumps(texts, ensure_ascii=False).encode()
    return hashlib.sha256(content).hexdigest()
