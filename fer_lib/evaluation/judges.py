"""Judges: named networks that say which emotion a face shows, and say so only when they are fit to.

A judge must pass its self-tests, and it may not have been in touch with what it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fer_lib.evaluation.judge_crops import exact_crops
from fer_lib.evaluation.judge_spec import Answers, JudgeSpec, check_independence
from fer_lib.evaluation.judge_tests import judge_faults
from fer_lib.networks.checkpoints import Lineage
from fer_lib.tables import probability_columns


class Judge:
    """A network with its specification; it answers with tables.

    Args:
        spec: what it is.
        network: the network, for its weights.
        answer: turns (B, 3, S, S) float RGB in [0, 1] into `Answers`, or (B, C) probabilities.
        device: where the network is.
        prepare: turns (H, W, 3) uint8 crops into (B, 3, S, S) RGB, float in [0, 1] or, where
            ``answer`` takes it, uint8; None takes crops that have the judge's size.
    """

    def __init__(
        self,
        spec: JudgeSpec,
        network: nn.Module,
        answer: Callable[[Tensor], Answers | Tensor],
        device: torch.device | str = "cpu",
        prepare: Callable[[Sequence[np.ndarray]], Tensor] | None = None,
    ) -> None:
        self.spec, self.network, self.device = spec, network.to(device).eval(), device
        self._answer = answer
        self._prepare = prepare or partial(exact_crops, side=spec.image_size)

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the judge, one clause each (`judge_faults`), as of its first use."""
        return judge_faults(self.spec, self.network, self._ask)

    def judge(
        self,
        crops: np.ndarray | Sequence[np.ndarray | None],
        sample_ids: Sequence[str],
        *,
        subjects: Iterable[str],
        lineage: Lineage,
        batch_size: int = 64,
    ) -> pd.DataFrame:
        """Say which emotions faces show.

        Args:
            crops: N arrays (H, W, 3) uint8 RGB, cut by the judge's crop rule; None is a face that
                was not found and gets a row of NaN.
            sample_ids: N names; rows keep the crops' order, so names may repeat.
            subjects: the people in the crops, where known.
            lineage: of the edit set or recogniser that the crops come from; empty for photographs
                and renderings that no network made.
            batch_size: faces at a time; does not matter to the answer.

        Returns:
            Columns ``sample_id``, ``p_<emotion>``, ``label`` (missing without a crop) and, of a
            judge of affect, ``valence`` and ``arousal`` in [-1, 1].

        Raises:
            ValueError: the judge is not valid, or was in touch with what it judges; or a crop is
                no image of the judge's kind, or its answer is not finite.
        """
        if not isinstance(crops, np.ndarray | Sequence):
            raise ValueError(f"expected an array or a list of crops, got {type(crops).__name__}")
        if len(crops) != len(sample_ids):
            raise ValueError(
                f"expected a name for each crop, got {len(sample_ids)} names, {len(crops)} crops"
            )
        named = zip(sample_ids, crops, strict=True)
        options = {"subjects": subjects, "lineage": lineage, "batch_size": batch_size}
        tables = list(self.judge_stream(named, **options))
        return pd.concat(tables, ignore_index=True) if tables else self._table([], [])

    def judge_stream(
        self,
        faces: Iterable[tuple[str, np.ndarray | None]],
        *,
        subjects: Iterable[str] = (),
        lineage: Lineage | None = None,
        batch_size: int = 16,
    ) -> Iterator[pd.DataFrame]:
        """Judge faces as they come, such as those of a long video, a batch in memory at a time.

        Args:
            faces: names and crops; else as ``judge``.
            subjects: as for ``judge``.
            lineage: as for ``judge``; None is empty.
            batch_size: rows per table.

        Returns:
            An iterator of tables as from ``judge``.

        Raises:
            ValueError: as ``judge``; an unfit judge at once, an unfit crop when it comes.
        """
        self._check_fitness(batch_size)
        check_independence(self.spec, subjects, lineage or Lineage())
        return self._tables(iter(faces), batch_size)

    def features(self, crops: Sequence[np.ndarray], batch_size: int = 16) -> np.ndarray:
        """Give the (N, F) float32 features of N crops.

        Raises:
            ValueError: the judge is not valid or has no features, or a crop is not of its kind.
        """
        self._check_fitness(batch_size)
        parts = []
        for start in range(0, len(crops), batch_size):
            features = self._ask(self._prepare(crops[start : start + batch_size])).features
            if features is None:
                raise ValueError(f"judge {self.spec.name!r} has no features to give")
            parts.append(features.numpy())
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _check_fitness(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"expected a batch of 1 face or more, got {batch_size}")
        if self.faults:
            raise ValueError(f"judge {self.spec.name!r} is not valid: {'; '.join(self.faults)}")

    def _tables(
        self, faces: Iterator[tuple[str, np.ndarray | None]], batch_size: int
    ) -> Iterator[pd.DataFrame]:
        while batch := list(islice(faces, batch_size)):
            table = self._table(*zip(*batch, strict=True))
            # While the next faces are read, these are gone.
            del batch
            yield table

    def _table(self, names: Sequence[str], crops: Sequence[np.ndarray | None]) -> pd.DataFrame:
        classes = list(self.spec.emotions)
        columns = [*probability_columns(classes), *(("valence", "arousal") * self.spec.affect)]
        cells = np.full((len(names), len(columns)), np.nan, np.float32)
        found = [row for row, crop in enumerate(crops) if crop is not None]
        if found:
            answers = self._ask(self._prepare([crops[row] for row in found]))
            parts = [part for part in answers[:2] if part is not None]
            cells[found] = torch.cat(parts, dim=1).numpy()
            self._check_finite(cells[found], [names[row] for row in found])
        table = pd.DataFrame(cells, columns=columns)
        labels = np.full(len(names), None, object)
        labels[found] = np.array(classes, object)[cells[found, : len(classes)].argmax(axis=1)]
        table.insert(len(classes), "label", pd.Series(labels, dtype="str"))
        table.insert(0, "sample_id", list(names))
        return table

    def _check_finite(self, answers: np.ndarray, names: Sequence[str]) -> None:
        wrong = np.flatnonzero(~np.isfinite(answers).all(axis=1))
        if len(wrong):
            raise ValueError(
                f"judge {self.spec.name!r} gives no finite answer to {len(wrong)} faces, such as "
                f"{names[wrong[0]]!r}; try the exact engine, else leave them out"
            )

    @torch.inference_mode()
    def _ask(self, images: Tensor) -> Answers:
        given = self._answer(images.to(self.device))
        answers = given if isinstance(given, Answers) else Answers(given)
        moved = Answers(*(None if part is None else part.float().cpu() for part in answers))
        affect = moved.valence_arousal
        return moved._replace(valence_arousal=None if affect is None else affect.clamp(-1, 1))
