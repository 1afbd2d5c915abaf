"""Read ICT-FaceKit's own files: OBJ meshes and the index of names, from an archive or a folder.

Members are streamed and parsed as numbers; nothing is unpacked to disk and nothing is executed.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fer_lib.progress import track

FOLDER = "FaceXModel"
NEUTRAL = "generic_neutral_mesh"
INDEX = "vertex_indices.json"
N_LANDMARKS = 68
_MAX_BYTES = 16 << 20
_MAX_MEMBERS = 1000
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_IDENTITY = re.compile(r"identity\d{3}")

Array = NDArray[np.floating]
Index = NDArray[np.int64]
Member = tuple[str, bool, Callable[[], IO[bytes]]]
"""Path in the archive, whether it is a plain file, and how to open it."""


class IctError(ValueError):
    """The files are not those of ICT-FaceKit."""


@dataclass(frozen=True)
class IctFiles:
    """What ICT-FaceKit's files say, in their own centimetres and numbering.

    Attributes:
        neutral: (V,3) float32 mean neutral head; x to the subject's left, y up, z forward.
        shape_basis: (n_shape,V,3) displacement at one standard deviation: file minus neutral.
        shape_names: "identity000" …
        expression_basis: (n_expr,V,3) displacement of each blendshape: file minus neutral.
        expression_names: "browDown_L" … in the order of the index.
        triangles: (F,3) int64 vertices, counter-clockwise seen from outside; quads cut in two.
        texture_triangles: (F,3) int64 rows of ``texture`` at the same corners.
        texture: (T,2) float32 texture positions in UDIM tiles, v up.
        landmarks: (68,) int64 vertices in iBUG order, first = image left.
        source: (V,) int64 number of each vertex in the file.
        front: (V,) bool, what a camera in front may see; everything until it has been looked at.
    """

    neutral: Array
    shape_basis: Array
    shape_names: tuple[str, ...]
    expression_basis: Array
    expression_names: tuple[str, ...]
    triangles: Index
    texture_triangles: Index
    texture: Array
    landmarks: Index
    source: Index
    front: NDArray[np.bool_]


def read_archive(path: Path) -> IctFiles:
    """Read neutral mesh, identity modes and expression modes.

    Args:
        path: a ``.tar``, ``.tar.xz``, ``.tar.gz`` or ``.zip`` file, or a folder, with the public
            repository's layout: somewhere in it a folder ``FaceXModel``.

    Returns:
        The modes that the index names, and all identities in order.

    Raises:
        IctError: a file is absent, too large, a link, or disagrees with the neutral mesh.
    """
    vertices: dict[str, Array] = {}
    topology: dict[str, bytes] = {}
    index, neutral_text = None, b""
    for name, data in track(_members(path), "reading ICT-FaceKit"):
        if name == INDEX:
            index = _read_index(data)
        else:
            stem = name.removesuffix(".obj")
            vertices[stem], text = _read_obj(name, data)
            topology[stem] = hashlib.sha256(text).digest()
            neutral_text = text if stem == NEUTRAL else neutral_text
    if index is None or NEUTRAL not in vertices:
        raise IctError(f"expected {FOLDER}/{NEUTRAL}.obj and {FOLDER}/{INDEX} in {path.name}")
    if missing := [name for name in index[0] if name not in vertices]:
        raise IctError(f"expected an OBJ per expression in {path.name}, absent: {missing}")
    for name in vertices:
        if len(vertices[name]) != len(vertices[NEUTRAL]) or topology[name] != topology[NEUTRAL]:
            raise IctError(f"expected {name}.obj to have the neutral mesh's vertices and polygons")
    return _assemble(vertices, neutral_text, *index)


def _assemble(
    vertices: dict[str, Array], topology: bytes, expressions: tuple[str, ...], landmarks: Index
) -> IctFiles:
    neutral = vertices[NEUTRAL]
    identities = tuple(sorted(filter(_IDENTITY.fullmatch, vertices)))
    if not identities:
        raise IctError("expected identity000.obj and on, got none")
    texture, triangles, texture_triangles = _read_topology(topology)
    for rows, count in ((triangles, len(neutral)), (texture_triangles, len(texture))):
        if rows.min() < 0 or rows.max() >= count:
            raise IctError(f"expected polygons over {count} rows, got up to {rows.max() + 1}")
    if landmarks.min() < 0 or landmarks.max() >= len(neutral):
        raise IctError(f"expected landmarks below {len(neutral)}, got up to {landmarks.max()}")
    return IctFiles(
        neutral=neutral,
        shape_basis=np.stack([vertices[name] for name in identities]) - neutral,
        shape_names=identities,
        expression_basis=np.stack([vertices[name] for name in expressions]) - neutral,
        expression_names=expressions,
        triangles=triangles,
        texture_triangles=texture_triangles,
        texture=texture,
        landmarks=landmarks,
        source=np.arange(len(neutral)),
        front=np.ones(len(neutral), dtype=bool),
    )


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the model's files, in the order in which they lie there."""
    if path.is_dir():
        read = _folder_members
    else:
        read = _zip_members if zipfile.is_zipfile(path) else _tar_members
    try:
        for count, (name, plain, stream) in enumerate(read(path)):
            if count >= _MAX_MEMBERS:
                raise IctError(f"expected at most {_MAX_MEMBERS} entries in {path.name}, got more")
            if name := _wanted(name):
                if not plain:
                    raise IctError(f"expected {name} to be a plain file, got a link or a folder")
                yield name, _read(stream(), name)
    except (*_BROKEN, OSError, EOFError, RuntimeError) as error:
        raise IctError(f"expected an archive of ICT-FaceKit, got {path.name}: {error}") from error


def _folder_members(path: Path) -> Iterator[Member]:
    for file in sorted(path.rglob("*")):
        plain = file.is_file() and not file.is_symlink()
        yield file.relative_to(path.parent).as_posix(), plain, partial(file.open, "rb")


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            yield entry.filename, not entry.is_dir(), partial(archive.open, entry)


def _tar_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r|*") as archive:
        for entry in archive:
            yield entry.name, entry.isfile(), partial(archive.extractfile, entry)


def _wanted(path: str) -> str:
    """Name of one of the model's files, else an empty string."""
    place = PurePosixPath(path)
    known = place.suffix == ".obj" or place.name == INDEX
    return place.name if known and place.parent.name == FOLDER else ""


def _read(stream: IO[bytes], name: str) -> bytes:
    with stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise IctError(f"expected {name} to hold at most {_MAX_BYTES >> 20} MiB, got more")
    return data


def _read_index(data: bytes) -> tuple[tuple[str, ...], Index]:
    """Expression names and landmark vertices."""
    try:
        index = json.loads(data)
        names = tuple(index["expressions"])
        landmarks = np.array(index["idx_to_landmark_verts"], dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise IctError(f"expected names and landmarks in {INDEX}, got {error!r}") from error
    if not names or not all(isinstance(name, str) for name in names):
        raise IctError(f"expected a list of names under 'expressions' in {INDEX}")
    if landmarks.shape != (N_LANDMARKS,):
        raise IctError(f"expected {N_LANDMARKS} landmark vertices, got {landmarks.shape}")
    return names, landmarks


def _read_obj(name: str, data: bytes) -> tuple[Array, bytes]:
    """Vertices of an OBJ file, and the text that follows them: texture positions and polygons."""
    start, last = data.find(b"\nv "), data.rfind(b"\nv ")
    end = data.find(b"\n", last + 1) if last >= 0 else -1
    if end < 0:
        raise IctError(f"expected vertices and polygons in {name}, got none")
    block = data[start:end]
    vertices = _numbers(block.replace(b"\nv ", b"\n"), np.float32, name)
    if vertices.size != 3 * block.count(b"\n") or not np.isfinite(vertices).all():
        raise IctError(f"expected three finite numbers per vertex of {name}")
    return vertices.reshape(-1, 3), data[end + 1 :]


def _numbers(text: bytes, dtype: type, name: str) -> NDArray:
    """Numbers parted by white space."""
    try:
        return np.fromstring(text.decode("latin-1"), dtype=dtype, sep=" ")
    except ValueError as error:
        raise IctError(f"expected numbers in {name}, got something else ({error})") from error


def _read_topology(text: bytes) -> tuple[Array, Index, Index]:
    """Texture positions, triangles, and the triangles' texture rows; numbers from 0."""
    lines = text.split(b"\n")
    positions = [line[3:] for line in lines if line.startswith(b"vt ")]
    texture = _numbers(b"\n".join(positions), np.float32, f"{NEUTRAL}.obj")
    if not positions or texture.size != 2 * len(positions) or not np.isfinite(texture).all():
        raise IctError(f"expected two finite numbers per texture position of {NEUTRAL}.obj")
    polygons = [line[2:].split() for line in lines if line.startswith(b"f ")]
    fans = [(p[0], p[k], p[k + 1]) for p in polygons for k in range(1, len(p) - 1)]
    listed = b" ".join(b" ".join(fan) for fan in fans).replace(b"/", b" ")
    corners = _numbers(listed, np.int64, f"{NEUTRAL}.obj")
    if not fans or corners.size != 6 * len(fans):
        raise IctError(f"expected polygons as vertex/texture pairs in {NEUTRAL}.obj")
    pairs = corners.reshape(-1, 3, 2) - 1
    return texture.reshape(-1, 2), pairs[..., 0], pairs[..., 1]
