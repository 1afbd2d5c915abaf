"""Which faces a contact sheet shows: of a store, or synthetic ones with undisturbed expressions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_lib.datasets.store import Store
from fer_lib.datasets.subjects import ViewConfig
from fer_lib.datasets.synthetic import SyntheticConfig, draw_subject

_PROTOTYPE_SEED_OFFSET = 2_000_003


def choose_faces(
    store: Store, emotions: Sequence[str], rows: int, seed: int = 0
) -> tuple[list[np.ndarray | None], list[str]]:
    """Choose faces for a sheet with one column per emotion.

    Where samples are grouped by ``pair`` and a group shows every emotion, each row is one group of
    another subject; otherwise each column holds random faces of its emotion.

    Args:
        store: where from.
        emotions: the columns.
        rows: how many rows at most.
        seed: of the choice.

    Returns:
        Faces row by row, None where an emotion has too few; and the rows' titles (subjects), empty
        where rows are no groups.
    """
    generator = np.random.default_rng(seed)
    usable = store.index.iloc[store.select(emotions=emotions)]
    groups = usable[usable["pair"].notna()].groupby("pair")["emotion"].nunique()
    complete = usable[usable["pair"].isin(groups.index[groups == len(emotions)])]
    first_groups = complete.drop_duplicates("subject")[["pair", "subject"]]
    if len(emotions) > 1 and len(first_groups):
        chosen = first_groups.iloc[generator.permutation(len(first_groups))[:rows]]
        table = complete.reset_index().set_index(["pair", "emotion"])["index"]
        places = [table.get((pair, name)) for pair in chosen["pair"] for name in emotions]
        return [store.faces[place] for place in places], list(chosen["subject"])
    columns = [generator.permutation(usable.index[usable["emotion"] == e])[:rows] for e in emotions]
    height = max(len(column) for column in columns)
    return [
        store.faces[column[row]] if row < len(column) else None
        for row in range(height)
        for column in columns
    ], []


def draw_prototypes(
    subjects: int, size: int, seed: int = 0, model: str = "embedded"
) -> list[np.ndarray]:
    """Draw synthetic people with every emotion's prototype at full strength, nothing added.

    Args:
        subjects: how many people; each makes one row.
        size: side of a face in pixels.
        seed: of the people, who are none of a store's with the same seed.
        model: whose heads, as in ``SyntheticConfig``.

    Returns:
        Faces row by row, the emotions in canonical order.
    """
    config = SyntheticConfig(
        subjects=subjects, groups=1, size=size, seed=seed + _PROTOTYPE_SEED_OFFSET,
        view=ViewConfig(occluded_share=0.0), pixel_noise=0.005, supersample=3,
        intensity_low=1.0, intensity_high=1.0, au_noise=0.0, au_drop=0.0, model=model,
    )  # fmt: skip
    drawn = [draw_subject(config, number) for number in range(subjects)]
    return [face for subject in drawn for face in subject.faces]
