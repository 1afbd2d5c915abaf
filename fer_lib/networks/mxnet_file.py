"""Parameter files of MXNet (``.params``), read as data: a list of arrays, then their names.

Source of the format: ``NDArray::Save`` in MXNet's ``src/ndarray/ndarray.cc`` (dense arrays, V2).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

_LIST_MAGIC, _ARRAY_MAGIC = 0x112, 0xF993FAC9
_MAX_DIMENSIONS = 8
_MAX_NAME = 256


def read_mxnet_params(path: Path) -> dict[str, Tensor]:
    """Read a parameter file of MXNet.

    Args:
        path: the file.

    Returns:
        Name (without ``arg:`` or ``aux:``) → float32 tensor.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, is cut short, or holds other than dense float32 arrays.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected MXNet parameters at {path}, found none")
    try:
        return _read(memoryview(path.read_bytes()))
    except (ValueError, struct.error) as error:
        raise ValueError(f"expected MXNet parameters, got {path.name}: {error}") from error


def _read(content: memoryview) -> dict[str, Tensor]:
    reader = _Reader(content)
    magic, _, count = reader.numbers("QQQ")
    if magic != _LIST_MAGIC or count > len(content):
        raise ValueError("it is no list of arrays")
    arrays = [reader.array() for _ in range(count)]
    names = list(reader.names())
    if len(names) != count or len(set(names)) != count or reader.left:
        raise ValueError("its names are not those of its arrays")
    return dict(zip(names, arrays, strict=True))


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def numbers(self, kinds: str) -> tuple[int, ...]:
        return struct.unpack("<" + kinds, self._bytes(struct.calcsize("<" + kinds)))

    def array(self) -> Tensor:
        magic, layout, dimensions = self.numbers("IiI")
        if magic != _ARRAY_MAGIC or layout != 0 or not 0 < dimensions <= _MAX_DIMENSIONS:
            raise ValueError("it holds an array that is not dense or of another version")
        shape = self.numbers(f"{dimensions}q")
        *_, kind = self.numbers("iii")
        if kind != 0 or min(shape) < 0:
            raise ValueError("it holds an array that is not float32")
        values = bytearray(self._bytes(4 * math.prod(shape)))
        return torch.frombuffer(values, dtype=torch.float32).view(shape)

    def names(self) -> Iterator[str]:
        for _ in range(self.numbers("Q")[0]):
            length = self.numbers("Q")[0]
            name = bytes(self._bytes(min(length, _MAX_NAME + 1))).decode()
            yield name.removeprefix("arg:").removeprefix("aux:")

    def _bytes(self, count: int) -> memoryview:
        if count > self.left:
            raise ValueError("it is cut short")
        self._at += count
        return self._content[self._at - count : self._at]
