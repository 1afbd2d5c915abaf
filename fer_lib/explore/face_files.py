"""What the face explorer writes: parameters and pictures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams


def save_face(folder: Path, name: str, params: FaceParams, model: MorphableModel) -> Path:
    """Write parameters so that ``FaceParams.from_numpy`` reads them.

    Args:
        folder: where to; it is made.
        name: of the file, without its ending; a number is added where it is taken.
        params: a batch of one.
        model: its model; its name and the names of its modes are written too.

    Returns:
        The ``.npz``.

    Raises:
        ValueError: the name is not one of a file.
    """
    path = _free_path(folder, name, ".npz")
    names = {"model": model.name, "shape_names": model.shape_names}
    np.savez(path, **params.numpy(), **names, expression_names=model.expression_names)
    return path


def save_picture(folder: Path, name: str, picture: bytes) -> Path:
    """Write a PNG.

    Args:
        folder: where to; it is made.
        name: of the file, without its ending; a number is added where it is taken.
        picture: its bytes.

    Returns:
        The ``.png``.

    Raises:
        ValueError: the name is not one of a file.
    """
    path = _free_path(folder, name, ".png")
    path.write_bytes(picture)
    return path


def _free_path(folder: Path, name: str, ending: str) -> Path:
    if not name.strip() or name.startswith(".") or Path(name).name != name:
        raise ValueError(f"expected a file name without folders, got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{name}{ending}", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}{ending}"
    return path


def png(picture: np.ndarray) -> bytes:
    """Encode an image ``(H, W, 3)`` uint8 as PNG, quickly rather than small."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
