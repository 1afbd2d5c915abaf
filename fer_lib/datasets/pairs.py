"""Two photographs of each of many people that differ by the expression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fer_lib.datasets.london import read_london_landmarks
from fer_lib.datasets.photographs import Failure, read_photographs
from fer_lib.datasets.store import Store
from fer_lib.faces.align import loose_crop_similarity
from fer_lib.faces.locate import FaceLocator
from fer_lib.faces.warp import transform_points


def expression_pairs(
    store: Store, first: str = "neutral", second: str = "happiness"
) -> tuple[np.ndarray, np.ndarray]:
    """Find everybody who shows both emotions.

    Args:
        store: of photographs.
        first: canonical emotion of the first photograph.
        second: of the second.

    Returns:
        Rows (P,) of either, the same people in the same order; of several photographs the first.
    """
    usable = store.index.iloc[store.select()]
    rows = {
        emotion: usable[usable["emotion"] == emotion].drop_duplicates("subject").reset_index()
        for emotion in (first, second)
    }
    both = rows[first].merge(rows[second], on="subject").sort_values("subject")
    return both["index_x"].to_numpy(), both["index_y"].to_numpy()


def some_people(index: pd.DataFrame, people: int, each: int) -> list[str]:
    """Name pictures of known persons, as many of each as of the others as far as there are.

    Args:
        index: sample table; failed rows and unknown persons are left out.
        people: at most so many persons, by name.
        each: at most so many pictures of one, in the order of the table.

    Returns:
        Sample ids, person by person.
    """
    known = index[(index["status"] == "ok") & index["subject"].notna()]
    chosen = sorted(known["subject"].unique())[:people]
    rows = known[known["subject"].isin(chosen)].groupby("subject", sort=True).head(each)
    return rows.sort_values("subject", kind="stable")["sample_id"].tolist()


def template_in_crops(
    store: Store, rows: np.ndarray, root: Path | str, locator: FaceLocator
) -> np.ndarray:
    """Bring the hand-set points of the London Set into the crops of its store.

    Args:
        store: of the London Set; its faces are where ``locator`` finds them.
        rows: (N,) positions of neutral photographs.
        root: folder of the data set.
        locator: that the store was made with.

    Returns:
        (N,189,2) crop pixels; NaN where there are no points or no face.
    """
    samples = store.index.iloc[rows]
    points = torch.from_numpy(read_london_landmarks(root, samples).landmarks)
    moved = torch.full_like(points, torch.nan)
    for k, image in enumerate(read_photographs(samples, Path(root))):
        (found,) = [None] if isinstance(image, Failure) else locator.locate([image])
        if found is not None:
            five = torch.from_numpy(found.five)[None]
            matrix, _ = loose_crop_similarity(five, store.size)
            moved[k] = transform_points(points[k : k + 1], matrix)[0]
    return moved.numpy()
