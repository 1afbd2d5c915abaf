"""The two file formats of ``torch.save``, read as data: zip (since 1.6) and stream (before).

Nothing of a file is executed: its pickle goes through `unpickler`, and the only names with a
meaning are those of torch's own tensors. The storages of a file together are no longer than the
file. Source of the formats: ``torch/serialization.py``.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from fer_lib.unpickler import Global, Permits, Rebuilds, unpickle

_MAGIC = 0x1950A86A20F9469CFC6C
_MAX_DIMENSIONS = 64
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
_LATE_TYPES = (
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip
# zipfile lets through what seeking to a senseless place (OSError) or an odd header raises.
_ZIP_ERRORS = (
    zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, RuntimeError, OSError,
)  # fmt: skip
_TYPES = {str(kind).split(".")[1]: kind for kind in (*_STORAGES.values(), *_LATE_TYPES)}


def read_torch_file(path: Path, permits: Permits | None = None) -> object:
    """Read what ``torch.save`` wrote, as data.

    Args:
        path: a file of either format.
        permits: as in `unpickler.unpickle`.

    Returns:
        As `unpickler.unpickle`, with detached tensors on the CPU.

    Raises:
        ValueError: no such format, cut short, or a pickle that is not read here.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(2)
        if start == b"PK":
            return _read_zip(file, path.stat().st_size, permits)
        if start[:1] != b"\x80":
            raise ValueError("it starts neither as a zip nor as a pickle")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return _read_stream(stream, permits)


def _read_zip(file: BinaryIO, length: int, permits: Permits | None) -> object:
    with _zip_errors():
        archive = _Archive(zipfile.ZipFile(file), length)
    if archive.holds("byteorder") and archive.read("byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    return unpickle(io.BytesIO(archive.read("data.pkl")), _REBUILDS, archive.storage, permits)


def _read_stream(stream: mmap.mmap, permits: Permits | None) -> object:
    """Read pickles one after another (magic, version, system, object, keys), then the storages."""
    if unpickle(stream, permits=permits) != _MAGIC:
        raise ValueError("it is a pickle, but none of torch")
    unpickle(stream, permits=permits)
    system = unpickle(stream, permits=permits)
    if not isinstance(system, Mapping) or system.get("little_endian") is not True:
        raise ValueError("its numbers are not said to be little-endian")
    storages = _StreamStorages(len(stream))
    value = unpickle(stream, _REBUILDS, storages.storage, permits)
    storages.fill(unpickle(stream, permits=permits), stream)
    return value


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        raise ValueError(f"its zip is damaged: {error}") from error


class _Archive:
    """The records of a zip, by their names inside its one folder."""

    def __init__(self, archive: zipfile.ZipFile, length: int) -> None:
        entries = archive.infolist()
        # torch only stores. What is packed, or shared by entries, could unpack to any size.
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > length:
            raise ValueError("its zip is packed, or unpacks to more than its length")
        self._names = {entry.filename for entry in entries}
        # Nothing is unpacked to disk, but a file of torch has no such names.
        astray = [name for name in self._names if name[:1] == "/" or ".." in name.split("/")]
        if astray:
            raise ValueError(f"its zip holds a name that leads out of it: {astray[0]!r:.60}")
        roots = [name.split("/")[0] for name in self._names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("it is a zip without a data.pkl")
        self._archive, self._root = archive, roots[0]
        self._loaded: dict[str, Tensor] = {}

    def holds(self, name: str) -> bool:
        return f"{self._root}/{name}" in self._names

    def read(self, name: str) -> bytes:
        if not self.holds(name):
            raise ValueError(f"its zip lacks {name[:40]!r}")
        with _zip_errors():
            return self._archive.read(f"{self._root}/{name}")

    def storage(self, name: object) -> Tensor:
        wanted = _storage_id(name)
        if wanted.key not in self._loaded:
            self._loaded[wanted.key] = _bytes(self.read(f"data/{wanted.key}"))
        return _typed(self._loaded[wanted.key], wanted)


class _StreamStorages:
    """Storages of a stream: reserved when the object names them, filled when it is complete."""

    def __init__(self, length: int) -> None:
        self._left = length
        self._reserved: dict[str, Tensor] = {}
        self._item_sizes: dict[str, int] = {}

    def storage(self, name: object) -> object:
        if isinstance(name, tuple) and len(name) == 4 and name[0] == "module":
            return name[1]
        wanted = _storage_id(name)
        if wanted.key not in self._reserved:
            self._reserve(wanted)
        return _typed(self._reserved[wanted.key], wanted)

    def _reserve(self, wanted: _StorageId) -> None:
        size = wanted.count * wanted.kind.itemsize
        self._left -= size
        if self._left < 0:
            raise ValueError("its tensors are larger than the file; it may be cut short")
        self._reserved[wanted.key] = torch.zeros(size, dtype=torch.uint8)
        self._item_sizes[wanted.key] = wanted.kind.itemsize

    def fill(self, keys: object, stream: mmap.mmap) -> None:
        known = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not known or sorted(self._reserved) != sorted(keys):
            raise ValueError("its storages are not those of its tensors")
        for key in keys:
            content = self._reserved[key]
            if int.from_bytes(stream.read(8), "little") * self._item_sizes[key] != len(content):
                raise ValueError("it is cut short, or a storage has not its tensors' length")
            found = _bytes(stream.read(len(content)))
            if len(found) != len(content):
                raise ValueError("it is cut short")
            content.copy_(found)


class _StorageId(NamedTuple):
    """What a persistent id says: type, key, number of elements, and which part (start, count)."""

    kind: torch.dtype
    key: str
    count: int
    part: tuple[int, int]


def _storage_id(name: object) -> _StorageId:
    if not isinstance(name, tuple) or len(name) not in (5, 6) or name[0] != "storage":
        raise ValueError("it refers to something else than a storage")
    storage, key, _, count, *view = name[1:]
    kind = _STORAGES.get(storage.name) if isinstance(storage, Global) else None
    if kind is None or not isinstance(key, str) or not _are_sizes((count,)):
        raise ValueError("it holds a storage of an unknown kind")
    part = (0, count) if view in ([], [None]) else view[0][1:] if isinstance(view[0], tuple) else ()
    if len(part) != 2 or not _are_sizes(part) or sum(part) > count:
        raise ValueError("it holds an unknown part of a storage")
    return _StorageId(kind, key, count, part)


def _bytes(content: bytes) -> Tensor:
    # torch refuses to look at an empty buffer.
    empty = torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else empty


def _typed(content: Tensor, wanted: _StorageId) -> Tensor:
    size = wanted.count * wanted.kind.itemsize
    if size > len(content):
        raise ValueError("a storage is shorter than its tensors expect")
    start, count = wanted.part
    return content[:size].view(wanted.kind)[start : start + count]


def _are_sizes(values: object) -> bool:
    known = isinstance(values, tuple) and len(values) <= _MAX_DIMENSIONS
    return known and all(type(value) is int and 0 <= value < 2**62 for value in values)


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    known = all(map(_are_sizes, ((offset,), size, stride)))
    if not known or not isinstance(storage, Tensor) or len(size) != len(stride):
        raise ValueError("it holds a tensor of a form that is not read here")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # By a stride of 0 a tensor could claim any size.
    if count > len(storage) or (count and last >= len(storage)):
        raise ValueError("it holds a tensor that is larger than its storage")
    # torch counts from the start of the memory, of which the storage may be a part.
    start = storage.storage_offset() + offset
    return storage.as_strided(size, stride, start) if count else storage.new_empty(size)


def _tensor_with_type(
    storage: object, offset: object, size: object, stride: object,
    _gradient: object, _hooks: object, name: object, *_: object,
) -> Tensor:  # fmt: skip
    kind = _TYPES.get(name.name) if isinstance(name, Global) else None
    if kind is None or not isinstance(storage, Tensor) or len(storage) % kind.itemsize:
        raise ValueError("it holds a tensor of an unknown type")
    return _tensor(storage.view(kind), offset, size, stride)


def _itself(value: object, *_: object) -> object:
    return value


_REBUILDS: Rebuilds = {
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v3"): _tensor_with_type,
    Global("torch._utils", "_rebuild_parameter"): _itself,
    Global("torch._utils", "_rebuild_parameter_with_state"): _itself,
    Global("torch", "Size"): _itself,
}
