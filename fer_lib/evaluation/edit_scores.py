"""What each edit is worth: emotion, identity, image and shape, one score per row.

A score table has a row per edit and score: the edit's ``EDIT_KEY``, ``metric`` (the unit is its
suffix), ``by`` (the judge, the embedder or the network that says so, else ``""``) and ``value``,
NaN where it could not be measured. Tables of all kinds are put one below the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from fer_lib.evaluation.album import Album
from fer_lib.evaluation.circumplex import circumplex_errors
from fer_lib.evaluation.identity_scores import IdentityMetric
from fer_lib.evaluation.image_quality import ImageQuality, measure_quality
from fer_lib.evaluation.landmark_drift import landmark_drift_pct_iod, landmark_error_pct_iod
from fer_lib.evaluation.perceptual_distance import Absent, Lpips
from fer_lib.faces.regions import join_regions, region_masks
from fer_lib.networks.checkpoints import Lineage
from fer_lib.tables import probability_columns, probability_emotions

EDIT_KEY = ("editor", "source_id", "target_emotion", "subject", "image")
_AFFECT = ["valence", "arousal"]


def emotion_scores(edits: pd.DataFrame, answers: pd.DataFrame, by: str) -> pd.DataFrame:
    """Score how far a judge sees the emotion that was aimed at.

    Args:
        edits: an edit set.
        answers: the judge's, of all pictures that the edits name.
        by: the judge's name.

    Returns:
        ``reached_frac`` (1 where the target is the most probable; a picture without an answer has
        not reached it), ``probability_gain`` (of the target, over the source's), ``margin`` (of
        the target over the best other class), and of a judge of affect ``valence_change``,
        ``arousal_change`` (edit minus source) and ``circumplex_error_deg`` (against the judge's
        own answer to the true edit). NaN throughout for a target that the judge has no class for.
    """
    edited, sources = (_answers(answers, edits[name]) for name in ("image", "source_id"))
    classes = probability_emotions(answers)
    known = edits["target_emotion"].isin(classes).to_numpy()
    cells, before = (
        part[probability_columns(classes)].to_numpy(float) for part in (edited, sources)
    )
    place = edits["target_emotion"].map({name: k for k, name in enumerate(classes)})
    place, rows = place.fillna(0).astype(int).to_numpy(), np.arange(len(edits))
    own, others = cells[rows, place], cells.copy()
    others[rows, place] = -np.inf
    margin = own - others.max(axis=1)
    scores = {
        "reached_frac": np.nan_to_num(margin, nan=-1) > 0,
        "probability_gain": own - before[rows, place],
        "margin": margin,
    }
    scores = {name: np.where(known, values, np.nan) for name, values in scores.items()}
    if {*_AFFECT} <= set(answers):
        felt, was = (part[_AFFECT].to_numpy(float) for part in (edited, sources))
        # Where there is no true edit, its name is NaN and so is its answer.
        wanted = _answers(answers, edits["true_edit"])[_AFFECT].to_numpy(float)
        scores |= {f"{name}_change": (felt - was)[:, k] for k, name in enumerate(_AFFECT)}
        scores["circumplex_error_deg"] = circumplex_errors(wanted, felt)["angle_deg"].to_numpy()
    return _long(edits, scores, by)


def identity_scores(
    edits: pd.DataFrame, metric: IdentityMetric, embeddings: pd.DataFrame, lineage: Lineage
) -> pd.DataFrame:
    """Score how much of the person is left.

    Args:
        edits: an edit set.
        metric: tested and calibrated.
        embeddings: of all pictures that the edits name, from ``Album.embedded``.
        lineage: of the edit set.

    Returns:
        ``csim``, ``csim_normalised`` (0 a stranger, 1 another picture of the person),
        ``same_person_frac`` and ``unchanged_frac``.

    Raises:
        ValueError: the metric is not valid, or its network guided the editor.
    """
    sources, edited = (embeddings.loc[edits[name]].to_numpy() for name in ("source_id", "image"))
    found = metric.compare(
        sources, edited, edits["image"], subjects=edits["subject"], lineage=lineage
    )
    shares = {"same_person": "same_person_frac", "unchanged": "unchanged_frac"}
    scores = found.drop(columns="sample_id").rename(columns=shares).astype(float)
    return _long(edits, scores, metric.embedder.spec.name)


def picture_scores(
    edits: pd.DataFrame, album: Album, perceptual: tuple[Lpips | Absent, ...] = ()
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score the picture: against the source what must stay, against the true edit all of it.

    Args:
        edits: an edit set.
        album: holds its pictures.
        perceptual: LPIPS networks, or why there are none.

    Returns:
        ``background_psnr_db`` (outside of both faces, against the source), ``lpips_<net>`` (against
        the source), and where there is a true edit ``true_psnr_db``, ``true_mse`` (of [0, 1]
        values), ``true_ssim``, ``true_lpips_<net>``, ``true_mouth_ssim``, ``true_eyes_ssim``;
        infinite dB stand for identical pixels. Beside it notes and reasons of absent metrics, by
        metric.
    """
    regions = _joined_regions(edits, album)
    to_source = _quality(edits, album, "source_id", {"outside": regions["outside"]}, perceptual)
    to_true = _quality(edits, album, "true_edit", regions, perceptual)
    known = edits["true_edit"].notna().to_numpy()
    nets = [*to_source.notes]
    scores = {"background_psnr_db": _column(to_source, "psnr_db", "outside")}
    scores |= {net: _column(to_source, net) for net in nets}
    true = {name: _column(to_true, name) for name in ("psnr_db", "mse", "ssim")}
    true |= {net: _column(to_true, net) for net in nets}
    true |= {f"{part}_ssim": _column(to_true, "ssim", part) for part in ("mouth", "eyes")}
    scores |= {f"true_{name}": np.where(known, values, np.nan) for name, values in true.items()}
    return _long(edits, scores, ""), to_source.notes | to_source.absent


def shape_scores(edits: pd.DataFrame, album: Album) -> pd.DataFrame:
    """Score how far the face was moved by the edit, and how far its shape is from the true edit's.

    Args:
        edits: an edit set.
        album: holds its pictures.

    Returns:
        What ``landmark_drift_pct_iod`` gives, against the source, and ``true_landmarks_pct_iod``.
    """
    edited, sources, true = (
        album.landmarks(_named(edits, name)) for name in ("image", "source_id", "true_edit")
    )
    error = landmark_error_pct_iod(edited, true)
    wanted = np.where(edits["true_edit"].notna(), error, np.nan)
    drift = landmark_drift_pct_iod(edited, sources)
    return _long(edits, {**drift, "true_landmarks_pct_iod": wanted}, "")


def _answers(answers: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    return answers.set_index("sample_id").reindex(names)


def _named(edits: pd.DataFrame, name: str) -> pd.Series:
    """The pictures of a column; where there is no true edit, the edit stands in to be voided."""
    return edits[name].fillna(edits["image"])


def _long(
    edits: pd.DataFrame, scores: Mapping[str, np.ndarray | pd.Series], by: str
) -> pd.DataFrame:
    key = edits[[*EDIT_KEY]].reset_index(drop=True)
    parts = [
        key.assign(metric=name, by=by, value=np.asarray(values, float))
        for name, values in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _joined_regions(edits: pd.DataFrame, album: Album) -> dict[str, torch.Tensor]:
    size = album.faces(edits["image"].iloc[:1]).shape[1]
    both = [
        region_masks(torch.from_numpy(album.landmarks(edits[name])), size)
        for name in ("image", "source_id")
    ]
    return join_regions(*both)


def _quality(
    edits: pd.DataFrame, album: Album, reference: str, masks: dict[str, torch.Tensor],
    perceptual: tuple[Lpips | Absent, ...],
) -> ImageQuality:  # fmt: skip
    return measure_quality(
        album.faces(edits["image"]), album.faces(_named(edits, reference)), masks,
        perceptual=perceptual,
    )


def _column(quality: ImageQuality, metric: str, region: str = "full") -> np.ndarray:
    rows = quality.values[quality.values["region"] == region]
    return rows[metric].to_numpy(float)
