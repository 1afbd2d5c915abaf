"""CSIM of edits: by an embedder that was tested and calibrated, never a bare cosine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_lib.evaluation.identity import Embedder, Faces, cosine
from fer_lib.evaluation.identity_calibration import Calibration, calibrate
from fer_lib.evaluation.identity_tests import Check, answer_checks, pair_checks
from fer_lib.evaluation.judge_spec import check_independence
from fer_lib.networks.checkpoints import Lineage

UNCHANGED = 0.999
"""A cosine from here on says that the picture is the same, not that the person is."""
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True)
class IdentityMetric:
    """An embedder that was tested and calibrated on faces like those it is to compare.

    Attributes:
        embedder: what embeds.
        checks: the self-tests.
        calibration: None where there were not enough pairs.
        unusable: faces of the calibration set that could not be aligned.
    """

    embedder: Embedder
    checks: tuple[Check, ...]
    calibration: Calibration | None
    unusable: int

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the metric, one sentence each; empty if it is valid."""
        return tuple(
            f"{check.name} is {check.value:.3f}, expected {check.bound}"
            for check in self.checks
            if not check.passed
        )

    def compare(
        self,
        sources: np.ndarray,
        edits: np.ndarray,
        sample_ids: Sequence[str],
        *,
        subjects: Iterable[str],
        lineage: Lineage,
    ) -> pd.DataFrame:
        """Say how much of the person is left in edited faces.

        Args:
            sources: (N, D) embeddings of the sources, from this embedder.
            edits: (N, D) embeddings of their edits, in the same order.
            sample_ids: N names.
            subjects: the persons, where known.
            lineage: of the edit set; empty for photographs and renderings that no network made.

        Returns:
            ``sample_id``, ``csim``, ``csim_normalised`` (0 a stranger, 1 another picture of the
            person), ``same_person`` (from the EER threshold on), ``unchanged`` (from ``UNCHANGED``
            on). A face that could not be aligned has NaN, and is not the same person.

        Raises:
            ValueError: the metric is not valid, the embedder guided what it is to judge, or the
                embeddings are not those of single faces.
        """
        spec = self.embedder.spec
        if self.faults:
            raise ValueError(
                f"identity metric {spec.name!r} is not valid: {'; '.join(self.faults)}"
            )
        check_independence(spec, subjects, lineage)
        _check_single(sources)
        _check_single(edits)
        csim = cosine(sources, edits)
        threshold = self.calibration.statistics["eer_threshold"].value
        return pd.DataFrame(
            {
                "sample_id": list(sample_ids),
                "csim": csim,
                "csim_normalised": self.calibration.normalise(csim),
                "same_person": csim >= threshold,
                "unchanged": csim >= UNCHANGED,
            }
        )


def measure_identity(
    embedder: Embedder, faces: Faces, *, draws: int = 1000, seed: int = 0
) -> IdentityMetric:
    """Test an embedder and calibrate it on faces of known persons.

    Args:
        embedder: what to test.
        faces: up to a few thousand pictures, of every person several that differ as edits do.
        draws: resamples of the intervals.
        seed: of the noise, of the choice of strangers and of the resampling.

    Returns:
        The metric; ``faults`` says whether it is valid.

    Raises:
        ValueError: a person is unknown.
    """
    if pd.isna(pd.Series(faces.subjects)).any():
        raise ValueError("expected the person of every face, some are unknown; leave them out")
    crops, usable = embedder.crops(faces)
    crops, subjects = crops[usable], faces.subjects[usable]
    embeddings = embedder.embed_crops(crops)
    checks = answer_checks(embedder, crops, embeddings, subjects, seed)
    calibration = None
    if len(subjects) > len(set(subjects)) > 1 and np.isfinite(embeddings).all():
        calibration = calibrate(embeddings, subjects, draws=draws, seed=seed)
    checks += pair_checks(calibration)
    return IdentityMetric(embedder, tuple(checks), calibration, int((~usable).sum()))


def _check_single(embeddings: np.ndarray) -> None:
    """Refuse means of embeddings: the noise of persons cancels out, and any two means are alike."""
    lengths = np.linalg.norm(embeddings, axis=1)
    if (np.abs(lengths - 1) > _LENGTH_TOLERANCE).any():
        raise ValueError(
            f"expected embeddings of single faces, of length 1, got lengths from "
            f"{np.nanmin(lengths):.2f}; average the cosines and not the embeddings"
        )


def copy_fault(scores: pd.DataFrame) -> str | None:
    """Say whether a set of edits is its sources again, so that its CSIM says nothing.

    Args:
        scores: from ``IdentityMetric.compare``.

    Returns:
        A sentence where at least half of the edits are unchanged, else None.
    """
    count = int(scores["unchanged"].sum())
    if 2 * count < max(len(scores), 1):
        return None
    return (
        f"{count} of {len(scores)} edits have a CSIM of at least {UNCHANGED} with their source: "
        "they are copies, and say nothing about an editor keeping the person"
    )
