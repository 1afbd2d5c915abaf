"""Edit sets of several editors, judged by everything that is here; what is not here says why.

A judge or embedder is asked once per picture and refused per edit set: whoever guided one editor
may still judge another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from fer_lib.datasets.edit_sets import EditSet
from fer_lib.datasets.edits import PHOTOGRAPH
from fer_lib.datasets.store import Store
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.album import Album
from fer_lib.evaluation.edit_scores import (
    EDIT_KEY,
    emotion_scores,
    identity_scores,
    picture_scores,
    shape_scores,
)
from fer_lib.evaluation.emonet import check_sight, flip_consistency
from fer_lib.evaluation.identity import Embedder
from fer_lib.evaluation.identity_scores import IdentityMetric, measure_identity
from fer_lib.evaluation.intervals import Interval
from fer_lib.evaluation.judge_spec import check_independence
from fer_lib.evaluation.judges import Judge
from fer_lib.evaluation.kappa import kappa_between
from fer_lib.evaluation.perceptual_distance import Lpips
from fer_lib.networks.checkpoints import Lineage

_SAME = ["source_id", "target_emotion"]


@dataclass(frozen=True)
class EditStudy:
    """Edit sets over one store.

    Attributes:
        sets: the edit sets, trivial editors first.
        album: finds their pictures.
    """

    sets: tuple[EditSet, ...]
    album: Album

    @classmethod
    def of(cls, store: Store, sets: Sequence[EditSet]) -> EditStudy:
        """Put edit sets of one store side by side.

        Raises:
            ValueError: two sets name different pictures alike.
        """
        pictures = [part.pictures for part in sets if part.pictures is not None]
        return cls(tuple(sets), Album([store, *pictures]))

    @property
    def edits(self) -> pd.DataFrame:
        """Every edit of every editor."""
        return pd.concat([part.edits for part in self.sets], ignore_index=True)

    @property
    def pictures(self) -> list[str]:
        """Every picture that an edit, a source or a true edit shows, once."""
        names = pd.concat([self.edits[name] for name in ("source_id", "image", "true_edit")])
        return list(dict.fromkeys(names.dropna()))

    def answers(
        self, judges: Sequence[Judge | Absent], batch_size: int = 32
    ) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """Ask every judge about every picture.

        Args:
            judges: who is here, and why others are not.
            batch_size: faces at a time; does not matter to the answers.

        Returns:
            Judge → answers; and a table ``judge``, ``status`` (``valid``, ``not valid``,
            ``refused``, ``unavailable``) and ``reason`` of all of them.

        Raises:
            ValueError: two valid judges have one name.
        """
        answers, rows = {}, []
        for judge in judges:
            name, status, reason = _fitness(judge)
            if name in answers:
                raise ValueError(f"expected judges of different names, {name!r} stands twice")
            if status == "valid":
                try:
                    self._check_sight(judge)
                    answers[name] = self.album.judged(judge, self.pictures, Lineage(), batch_size)
                except ValueError as error:
                    status, reason = "refused", str(error)
            rows.append((name, status, reason))
        return answers, pd.DataFrame(rows, columns=["judge", "status", "reason"])

    def emotions(
        self, judges: Sequence[Judge | Absent], answers: Mapping[str, pd.DataFrame]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Score what the judges see in the edits.

        Args:
            judges: as of ``answers``.
            answers: as from ``answers``.

        Returns:
            A score table; and who was refused for which editors, ``by``, ``editors``, ``reason``.
        """
        parts, refusals = [], []
        for judge in _here(judges, answers):
            for part in self.sets:
                try:
                    check_independence(judge.spec, part.edits["subject"], _lineage(part))
                except ValueError as error:
                    refusals.append((judge.spec.name, _editors(part), str(error)))
                    continue
                name = judge.spec.name
                parts.append(emotion_scores(part.edits, answers[name], name))
        return _joined(parts), pd.DataFrame(refusals, columns=["by", "editors", "reason"])

    def identities(
        self, embedders: Sequence[Embedder | Absent], people: Sequence[str], seed: int = 0
    ) -> tuple[dict[str, IdentityMetric], pd.DataFrame]:
        """Test and calibrate every embedder on faces of known persons.

        Args:
            embedders: who is here, and why others are not.
            people: names of pictures of the source store, of each person several.
            seed: of the tests.

        Returns:
            Embedder → metric, valid or not; and a table as of ``answers``, ``embedder`` first.
        """
        metrics, rows = {}, []
        for embedder in embedders:
            if isinstance(embedder, Absent):
                rows.append((embedder.name, "unavailable", embedder.reason))
                continue
            metric = measure_identity(embedder, self.album.people(people), seed=seed)
            metrics[embedder.spec.name] = metric
            status = "not valid" if metric.faults else "valid"
            rows.append((embedder.spec.name, status, "; ".join(metric.faults)))
        return metrics, pd.DataFrame(rows, columns=["embedder", "status", "reason"])

    def likeness(
        self, metrics: Mapping[str, IdentityMetric]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Score how much of each person is left, by the metrics that are valid.

        Returns:
            A score table, and refusals, as of ``emotions``.
        """
        parts, refusals = [], []
        for name, metric in metrics.items():
            if metric.faults or self._is_photographs:
                continue
            embedded = self.album.embedded(metric.embedder, self.pictures)
            for part in self.sets:
                try:
                    parts.append(identity_scores(part.edits, metric, embedded, _lineage(part)))
                except ValueError as error:
                    refusals.append((name, _editors(part), str(error)))
        return _joined(parts), pd.DataFrame(refusals, columns=["by", "editors", "reason"])

    def looks(self, perceptual: Sequence[Lpips | Absent]) -> tuple[pd.DataFrame, dict[str, str]]:
        """Score pictures and shapes.

        Args:
            perceptual: LPIPS networks, or why there are none.

        Returns:
            A score table; and what must stand beside a metric, or why it is absent.
        """
        if self._is_photographs:
            return _joined([]), {"pictures": "labelled faces are no edits: nothing to compare"}
        parts, notes = [], {}
        for part in self.sets:
            scores, told = picture_scores(part.edits, self.album, tuple(perceptual))
            parts += [scores, shape_scores(part.edits, self.album)]
            notes |= told
        return _joined(parts), notes

    def agreement(self, answers: Mapping[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
        """Give Cohen's kappa of every two judges on all edited pictures.

        Args:
            answers: as from ``answers``.
            seed: of the bootstrap, which draws whole persons.

        Returns:
            ``first``, ``second`` (judges), ``value``, ``low``, ``high``, ``n``.
        """
        images = self.edits["image"].drop_duplicates()
        said = {name: images.to_frame("sample_id").merge(t) for name, t in answers.items()}
        subjects = self.album.subjects(images)
        clusters = None if pd.isna(subjects).any() else subjects
        rows = [
            (one, other, *kappa_between(said[one], said[other], clusters, seed=seed))
            for one, other in combinations(said, 2)
        ]
        return pd.DataFrame(rows, columns=["first", "second", *Interval._fields])

    def mirror_floor(
        self, judges: Sequence[Judge | Absent], name: str, seed: int = 0
    ) -> pd.DataFrame:
        """Compare a judge's answers to the edited pictures with those to their mirror images.

        Args:
            judges: as of ``answers``.
            name: of a valid judge of affect.
            seed: of the bootstrap, which draws whole persons.

        Returns:
            As ``emonet.flip_consistency``: no edit can be held to a finer measure than this.
        """
        (judge,) = _here(judges, [name])
        images = self.edits["image"].unique()
        crops = self.album.cut(judge.spec, images)
        here = [place for place, crop in enumerate(crops) if crop is not None]
        subjects = self.album.subjects(images[here])
        faces = np.stack([crops[place] for place in here])
        return flip_consistency(judge, faces, subjects=subjects, lineage=Lineage(), seed=seed)

    def sheet(self, rows: int, seed: int = 0) -> pd.DataFrame:
        """Choose some edits to look at.

        Args:
            rows: how many, of different targets as far as there are.
            seed: of the choice.

        Returns:
            Names of pictures: a row per edit, named by source and target emotion; columns
            ``source`` and every editor that has made all of them.
        """
        edits = self.edits.drop_duplicates(["editor", *_SAME])
        wide = edits.pivot(index=[*_SAME, "source_emotion"], columns="editor", values="image")
        wide = wide[[name for name in edits["editor"].unique()]].dropna().reset_index()
        mixed = wide.sample(frac=1, random_state=seed)
        turn = mixed.groupby("target_emotion").cumcount()
        chosen = mixed.iloc[np.argsort(turn, kind="stable")[:rows]]
        names = chosen["source_emotion"] + " → " + chosen["target_emotion"]
        sheet = chosen.drop(columns=["target_emotion", "source_emotion"]).set_axis(names)
        return sheet.rename(columns={"source_id": "source"}).rename_axis(index=None, columns=None)

    def _check_sight(self, judge: Judge) -> None:
        """Refuse an EmoNet that does not see the faces, which no other self-test would find."""
        if judge.spec.crop == "emonet":
            sources = self.edits["source_id"].unique()
            check_sight(judge, self.album.faces(sources), self.album.landmarks(sources))

    @property
    def _is_photographs(self) -> bool:
        return set(self.edits["editor"]) == {PHOTOGRAPH}


def _fitness(judge: Judge | Absent) -> tuple[str, str, str]:
    if isinstance(judge, Absent):
        return judge.name, "unavailable", judge.reason
    return judge.spec.name, "not valid" if judge.faults else "valid", "; ".join(judge.faults)


def _here(judges: Sequence[Judge | Absent], names: Collection[str]) -> list[Judge]:
    found = [judge for judge in judges if not isinstance(judge, Absent)]
    return [judge for judge in found if judge.spec.name in names]


def _lineage(part: EditSet) -> Lineage:
    return Lineage.from_json(part.lineage)


def _editors(part: EditSet) -> str:
    return ", ".join(dict.fromkeys(part.edits["editor"]))


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    if parts:
        return pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns=[*EDIT_KEY, "metric", "by", "value"])
