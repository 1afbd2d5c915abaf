"""One photograph through the door that a data set takes: read, locate, align, or say why not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from fer_lib.datasets.crops import TightCrops, cut_tight_crops
from fer_lib.datasets.preprocess import LOOSE_ALIGNMENT, build_store
from fer_lib.datasets.store import Store
from fer_lib.datasets.store_writer import StoreCard
from fer_lib.faces.locate import FaceLocator
from fer_lib.tables import sample_table

_NAME = "the photograph"
_SCHEMES = ("ibug68", "five")


def crop_photograph(
    content: bytes, locator: FaceLocator, *, size: int, scheme: str, image_size: int
) -> tuple[TightCrops, str | None]:
    """Cut the face of a photograph as the faces of a store are cut.

    The photograph becomes a store of one face in a temporary folder, so that not one step differs.

    Args:
        content: the bytes of an image file.
        locator: says where the face is.
        size: side of the loose crop in pixels, as of the store that the network learned from.
        scheme: landmark scheme of that store, ``ibug68`` or ``five``.
        image_size: side of the tight crop in pixels.

    Returns:
        One tight crop, and a remark on it if there is one (its landmarks are unknown, say).

    Raises:
        ValueError: the file cannot be read, shows no face, or no one finds landmarks of this
            scheme in photographs.
    """
    if scheme not in _SCHEMES:
        raise ValueError(
            f"expected a network trained on landmarks out of {_SCHEMES}, got {scheme!r}, which are "
            "not found in photographs; look at faces of the store"
        )
    with TemporaryDirectory() as folder:
        store = store_of_one(content, Path(folder), locator, size, scheme)
        remark = store.index.loc[0, "status_reason"]
        crops = cut_tight_crops(store, [0], image_size)
    return crops, None if pd.isna(remark) else str(remark)


def store_of_one(
    content: bytes, folder: Path, locator: FaceLocator, size: int, scheme: str
) -> Store:
    """Make a store of one photograph.

    Args:
        content: the bytes of an image file.
        folder: where it is made.
        locator: says where the face is.
        size: side of the loose crop in pixels.
        scheme: landmark scheme, ``ibug68`` or ``five``.

    Raises:
        ValueError: the file cannot be read, or shows no face.
    """
    (folder / _NAME).write_bytes(content)
    samples = sample_table([{"sample_id": _NAME, "source_path": _NAME}])
    card = StoreCard("an uploaded photograph", "unknown", LOOSE_ALIGNMENT, landmark_scheme=scheme)
    store = build_store(samples, folder, folder / "store", size=size, locator=locator, card=card)
    if store.index.loc[0, "status"] != "ok":
        raise ValueError(store.index.loc[0, "status_reason"])
    return store
