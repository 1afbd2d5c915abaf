"""Photographs of a sample table, decoded ahead of whoever takes them, failures with their reason.

Few images are held at a time, so that a folder of 60-megapixel photographs needs no more memory
than a handful of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lib.media.images import MediaError, MissingFileError, read_image

_READERS = 2
_AHEAD = 2


@dataclass(frozen=True)
class Failure:
    """Why a sample has no face in the store: a status of the sample table and its reason."""

    status: str
    reason: str | None


def read_photographs(samples: pd.DataFrame, root: Path) -> Iterator[np.ndarray | Failure]:
    """Decode the files of a sample table, in its order.

    Args:
        samples: sample table; `source_path` is relative to `root`. A row whose status is not `ok`
            is not read and gives its own status and reason.
        root: folder of the source.

    Yields:
        `(H, W, 3)` uint8 RGB, upright, or the failure.
    """
    columns = zip(samples["status"], samples["status_reason"], samples["source_path"], strict=True)
    waiting: deque[Future[np.ndarray | Failure]] = deque()
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        try:
            for status, reason, source_path in columns:
                waiting.append(pool.submit(_read, status, reason, root, source_path))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(status: str, reason: str, root: Path, source_path: str) -> np.ndarray | Failure:
    if status != "ok":
        return Failure(status, reason)
    if pd.isna(source_path):
        return Failure("missing", "the row names no file")
    try:
        return read_image(root / source_path)
    except MissingFileError as error:
        return Failure("missing", str(error))
    except MediaError as error:
        return Failure("unreadable", str(error))
