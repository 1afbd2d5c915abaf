"""The compact copy of ICT-FaceKit: one npz with the parts that are drawn, in half precision."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from fer_lib import assets, paths
from fer_lib.faces.ict.archive import Array, IctError, IctFiles, Index, read_archive
from fer_lib.faces.ict.atlas import is_drawn
from fer_lib.faces.ict.gaze import add_gaze
from fer_lib.faces.ict.sight import seen_in_front

N_VERTICES, N_TRIANGLES = 26_719, 52_220
_STEPS_PER_CM = 1 << 13  # about a micrometre, the rounding of the files' own six digits
_BASES = ("shape_basis", "expression_basis")
_NAMES = ("shape_names", "expression_names")


def import_ict(archive: Path, target: Path) -> IctFiles:
    """Read ICT-FaceKit and keep what is drawn.

    Args:
        archive: as `read_archive` takes it.
        target: npz to write: displacements in half precision, the neutral head in single.

    Returns:
        The kept part, as `read_bundle` gives it.

    Raises:
        IctError: the archive does not hold ICT-FaceKit's mesh.
    """
    files = read_archive(archive)
    got = (len(files.neutral), len(files.triangles))
    if got != (N_VERTICES, N_TRIANGLES):
        raise IctError(
            f"expected ICT-FaceKit's {N_VERTICES} vertices and {N_TRIANGLES} triangles, got {got}"
        )
    drawn = keep_vertices(files, is_drawn(files.source))
    write_bundle(replace(drawn, front=seen_in_front(add_gaze(drawn))), target)
    return read_bundle(target)


def keep_vertices(files: IctFiles, kept: Index) -> IctFiles:
    """Leave out vertices, and the triangles that touch them.

    Args:
        files: the head.
        kept: (V,) bool which vertices stay.

    Returns:
        The smaller head; ``source`` still tells the numbers of the file.
    """
    number = np.cumsum(kept) - 1
    inside = kept[files.triangles].all(1)
    return replace(
        files,
        neutral=files.neutral[kept],
        shape_basis=files.shape_basis[:, kept],
        expression_basis=files.expression_basis[:, kept],
        triangles=number[files.triangles[inside]],
        texture_triangles=files.texture_triangles[inside],
        landmarks=number[files.landmarks],
        source=files.source[kept],
        front=files.front[kept],
    )


def write_bundle(files: IctFiles, target: Path) -> None:
    """Write the head beside its place and rename it."""
    arrays = {f.name: np.asarray(getattr(files, f.name)) for f in fields(files)}
    arrays |= {name: _planes(arrays[name]) for name in _BASES}
    arrays |= {k: a.astype(np.int32) for k, a in arrays.items() if a.dtype == np.int64}
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f"{target.stem}.part.npz")
    np.savez_compressed(beside, **arrays)
    beside.replace(target)


def read_bundle(path: Path) -> IctFiles:
    """Read what `write_bundle` wrote.

    Raises:
        IctError: the file is damaged; it can be deleted and is then made again.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {f.name: file[f.name] for f in fields(IctFiles)}
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise IctError(f"expected a bundle, got {path.name} ({error}); delete it") from error
    arrays |= {name: _from_planes(arrays[name]) for name in _BASES}
    arrays |= {name: tuple(arrays[name].tolist()) for name in _NAMES}
    arrays |= {
        k: a.astype(np.int64)
        for k, a in arrays.items()
        if isinstance(a, np.ndarray) and a.dtype == np.int32
    }
    return IctFiles(**arrays)


def _planes(basis: Array) -> Index:
    """Half-precision (n,V,3) as bytes (2,n,3,V): alike bytes lie together and pack well."""
    rounded = np.round(basis.swapaxes(1, 2) * _STEPS_PER_CM) / _STEPS_PER_CM
    halves = np.ascontiguousarray(rounded, dtype=np.float16)
    return np.moveaxis(halves[..., None].view(np.uint8), -1, 0)


def _from_planes(planes: Index) -> Array:
    halves = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(np.float16)[..., 0]
    return np.ascontiguousarray(halves.swapaxes(1, 2), dtype=np.float32)


def load_ict() -> IctFiles:
    """Give the drawn part of ICT-FaceKit; the first use imports it from its archive.

    Raises:
        fer_lib.assets.AssetError: the archive cannot be had.
        IctError: the archive does not hold ICT-FaceKit.
    """
    target = paths.model_dir("ict") / "facekit.npz"
    return read_bundle(target) if target.is_file() else import_ict(assets.get("ict"), target)
