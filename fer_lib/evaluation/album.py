"""The pictures that edit sets speak of, found by name in the stores that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from fer_lib.datasets.store import Store
from fer_lib.evaluation.crop_rules import cut_store_faces
from fer_lib.evaluation.identity import Embedder, Faces
from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.evaluation.judges import Judge
from fer_lib.networks.checkpoints import Lineage


class Album:
    """Pictures of one or more stores of one size, by name.

    Args:
        stores: the source store first, then the pictures of edit sets.

    Raises:
        ValueError: stores differ in size, or two hold pictures of one name.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        names = [store.index["sample_id"] for store in stores]
        self._places = pd.concat(
            [
                pd.DataFrame({"store": k, "row": range(len(ids))}, index=pd.Index(ids))
                for k, ids in enumerate(names)
            ]
        )
        if len({store.size for store in stores}) != 1 or self._places.index.duplicated().any():
            sizes = [store.size for store in stores]
            raise ValueError(
                f"expected stores of one size that share no picture's name, got sizes {sizes}; "
                "name edited pictures anew"
            )
        self._stores = list(stores)

    def faces(self, names: Sequence[str]) -> np.ndarray:
        """Give (N, S, S, 3) uint8 RGB pictures."""
        return self._gather(names, lambda store: store.faces)

    def landmarks(self, names: Sequence[str]) -> np.ndarray:
        """Give (N, 68, 2) float32 landmarks in px; NaN where a store has others or none."""

        def points(store: Store) -> np.ndarray:
            if store.landmarks.shape[1] == 68:
                return store.landmarks
            return np.full((len(store), 68, 2), np.nan, np.float32)

        return self._gather(names, points)

    def people(self, names: Sequence[str]) -> Faces:
        """Give pictures with their five points and persons, as embedders want them."""
        five = self._gather(names, lambda store: store.five)
        return Faces(self.faces(names), five, self.subjects(names))

    def subjects(self, names: Sequence[str]) -> np.ndarray:
        """Give (N,) persons, None or NaN where unknown."""
        return self._gather(names, lambda store: store.index["subject"].to_numpy(object))

    def judged(
        self, judge: Judge, names: Iterable[str], lineage: Lineage, batch_size: int = 32
    ) -> pd.DataFrame:
        """Let a judge answer, each picture once, cut by the judge's own rule.

        Args:
            judge: who answers.
            names: of the pictures; a name that stands twice is judged once.
            lineage: of the edit set that the pictures come from.
            batch_size: faces at a time; does not matter to the answer.

        Returns:
            As ``Judge.judge``; a picture in which no face was found has a row of NaN.

        Raises:
            ValueError: the judge is not valid, or was in touch with what it judges.
        """
        unique = list(dict.fromkeys(names))
        return judge.judge(
            self.cut(judge.spec, unique),
            unique,
            subjects=self.subjects(unique),
            lineage=lineage,
            batch_size=batch_size,
        )

    def cut(self, spec: JudgeSpec, names: Sequence[str]) -> list[np.ndarray | None]:
        """Cut pictures as a judge wants them, None where no face was found."""
        places = self._find(names).reset_index(names="name")
        crops: list[np.ndarray | None] = [None] * len(places)
        for number, rows in places.groupby("store"):
            cut = cut_store_faces(self._stores[number], rows["row"].to_numpy(), spec)
            for place, crop in zip(rows.index, cut, strict=True):
                crops[place] = crop
        return crops

    def embedded(self, embedder: Embedder, names: Iterable[str]) -> pd.DataFrame:
        """Embed pictures, each once: rows are names, NaN where a face cannot be aligned."""
        unique = list(dict.fromkeys(names))
        return pd.DataFrame(embedder.embed(self.people(unique)), index=unique)

    def _find(self, names: Sequence[str]) -> pd.DataFrame:
        unknown = pd.Index(names).difference(self._places.index)
        if len(unknown):
            raise ValueError(
                f"expected pictures of these stores, {len(unknown)} are unknown, such as "
                f"{unknown[0]!r}; open the edit set that holds them"
            )
        return self._places.loc[list(names)]

    def _gather(self, names: Sequence[str], part: Callable[[Store], np.ndarray]) -> np.ndarray:
        places = self._find(names)
        arrays = [part(store) for store in self._stores]
        out = np.empty((len(places), *arrays[0].shape[1:]), arrays[0].dtype)
        for number, array in enumerate(arrays):
            chosen = np.flatnonzero(places["store"] == number)
            if len(chosen):
                out[chosen] = array[places["row"].to_numpy()[chosen]]
        return out
