"""Who measures the edits of notebook 07: judges, embedders, the second encoder, LPIPS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fer_lib.config import RigEditorConfig, resolve_device
from fer_lib.datasets.edit_sets import EditSet
from fer_lib.datasets.edits import COPY_SOURCE, TRUE_EDIT
from fer_lib.datasets.pairs import some_people
from fer_lib.datasets.store import Store
from fer_lib.evaluation.code_drift import au_scores, between_person_sd, drift_scores
from fer_lib.evaluation.edit_block import difference
from fer_lib.evaluation.edit_gain import score_rows
from fer_lib.evaluation.edit_study import EditStudy
from fer_lib.evaluation.embedders import find_embedder
from fer_lib.evaluation.identity_scores import IdentityMetric
from fer_lib.evaluation.image_quality import measure_quality
from fer_lib.evaluation.intervals import Interval, bootstrap_interval
from fer_lib.evaluation.judge_names import find_judge
from fer_lib.evaluation.perceptual_distance import find_lpips_networks
from fer_lib.evaluation.rig_codes import read_pictures
from fer_lib.evaluation.rig_pairs import EditTask, write_edits
from fer_lib.evaluation.rig_study import READ, STAGE_1, STAGE_2
from fer_lib.evaluation.scoreboard import metric_name
from fer_lib.faces.locate import FaceLocator
from fer_lib.labels import AU_COLUMNS
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder

SECOND = "second encoder"
"""Who reads β and action units, in score tables."""
TRUE_SMALL = f"{TRUE_EDIT}, at the editor's size"
STRENGTH = f"{STAGE_2}, strength "
_PEOPLE = (80, 4)  # persons and pictures of each that tell how persons differ


class Measured(NamedTuple):
    """What everybody says of a study.

    Attributes:
        scores: a score table.
        judges: those that judged the rig, the leading one first.
        embedders: those that are valid.
        notes: ``by``, ``status`` and ``reason`` of all judges and embedders that were asked.
    """

    scores: pd.DataFrame
    judges: list[str]
    embedders: list[str]
    notes: pd.DataFrame


def write_study(
    folder: Path,
    task: EditTask,
    made: Mapping[str, np.ndarray],
    store: Store,
    locator: FaceLocator,
    lineage: Lineage,
    strengths: Mapping[float, np.ndarray] | None = None,
) -> EditStudy:
    """Write the pictures of all editors as edit sets and put them beside source and true edit.

    Args:
        folder: of the run; ``edit_set`` in it holds the rig's edits, for notebook 09.
        task: N edits.
        made: (N,s,s,3) uint8 by editor; the names of the rig's begin with ``STAGE_2``.
        store: of the sources.
        locator: finds the faces in the edits.
        lineage: of the rig; the others learned nothing.
        strengths: the rig's edits of the first pairs, by strength.

    Returns:
        The study.
    """
    learned = {name: images for name, images in made.items() if name.startswith(STAGE_2)}
    others = {name: images for name, images in made.items() if name not in {*learned, COPY_SOURCE}}
    true, copies = task.edits(TRUE_EDIT), task.edits(COPY_SOURCE)
    trivial = [true.assign(image=true["true_edit"]), copies.assign(image=copies["source_id"])]
    parts = [
        ("rivals", task, others | {TRUE_SMALL: task.true}, Lineage()),
        ("edit_set", task, learned, lineage),
    ]
    if strengths:
        few = task[slice(len(next(iter(strengths.values()))))]
        named = {f"{STRENGTH}{share:g}": images for share, images in strengths.items()}
        parts.append(("strengths", few, named, lineage))
    sets = [EditSet(pd.concat(trivial, ignore_index=True))]
    for name, some, images, own in parts:
        sets.append(write_edits(folder / name, some, images, store, locator, own))
    return EditStudy.of(store, sets)


def measure(
    study: EditStudy,
    store: Store,
    cfg: RigEditorConfig,
    trained: Mapping[str, Path],
    second: FaceEncoder | None = None,
) -> Measured:
    """Ask all judges and embedders that are named, and the second encoder.

    Args:
        study: the edits.
        store: of the sources.
        cfg: settings.
        trained: networks of notebooks 02 and 04, as ``runs.checkpoints_in`` finds them.
        second: reads β and action units of drawn faces.
    """
    people = _unseen_people(store.index)
    device = str(resolve_device(cfg.device))
    judges = [find_judge(name, device, trained=trained) for name in cfg.judges]
    answers, fitness = study.answers(judges)
    emotion, refused = study.emotions(judges, answers)
    embedders = [find_embedder(name, device, trained=trained) for name in cfg.embedders]
    metrics, fit = study.identities(embedders, people, cfg.seed)
    likeness, also = study.likeness(metrics)
    valid = {name: metric for name, metric in metrics.items() if not metric.faults}
    scores = [emotion, likeness, identity_drift(study, valid, people)]
    scores += [second_opinion(study, store, second, people)] if second else []
    notes = [table.set_axis(["by", "status", "reason"], axis=1) for table in
             (fitness, fit, refused, also)]  # fmt: skip
    heard = {by for editor, by in zip(emotion["editor"], emotion["by"], strict=True)
             if editor.startswith(STAGE_2)}  # fmt: skip
    return Measured(
        pd.concat(scores, ignore_index=True), [name for name in answers if name in heard],
        list(valid), pd.concat(notes, ignore_index=True),
    )  # fmt: skip


def second_opinion(
    study: EditStudy, store: Store, network: FaceEncoder, people: Sequence[str]
) -> pd.DataFrame:
    """Let the second encoder read all pictures of a study of drawn faces.

    Args:
        study: the edits.
        store: of the sources.
        network: the second encoder.
        people: names of pictures of the store, which tell how persons differ.

    Returns:
        A score table: drift of β and errors of the action units, by ``SECOND``.
    """
    stores = [store, *(part.pictures for part in study.sets if part.pictures is not None)]
    beta, units = read_pictures(network, stores, [*study.pictures, *people])
    spread = between_person_sd(beta.loc[people], study.album.subjects(people))
    wanted = store.index.set_index("sample_id")[[*AU_COLUMNS]]
    parts = [drift_scores(study.edits, beta, spread, SECOND),
             au_scores(study.edits, units, wanted, SECOND)]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def identity_drift(
    study: EditStudy, metrics: Mapping[str, IdentityMetric], people: Sequence[str]
) -> pd.DataFrame:
    """Score how far embeddings moved, in the units of ``second_opinion``.

    Args:
        study: the edits.
        metrics: valid ones by name.
        people: as for ``second_opinion``.

    Returns:
        A score table with ``identity_drift_sd`` and ``identity_error_sd``.
    """
    parts = [pd.DataFrame()]
    for name, metric in metrics.items():
        codes = study.album.embedded(metric.embedder, [*study.pictures, *people])
        spread = between_person_sd(codes.loc[people], study.album.subjects(people))
        parts.append(drift_scores(study.edits, codes, spread, name, "identity"))
    return pd.concat(parts, ignore_index=True)


def perceptual_scores(
    task: EditTask, made: Mapping[str, np.ndarray], nets: Sequence[str]
) -> pd.DataFrame:
    """Score edits by LPIPS to the true edit, at the editor's size: ``edit_lpips_<net>``.

    Networks that are not here are left out; notebook 09 says why.
    """
    networks = find_lpips_networks(nets)
    parts = [pd.DataFrame()]
    for editor, images in made.items():
        found = measure_quality(images, task.true, perceptual=networks)
        scores = {f"edit_{net}": found.values[net].to_numpy(float) for net in found.notes}
        parts += [score_rows(task.edits(editor), scores)] if scores else []
    return pd.concat(parts, ignore_index=True)


def reached_ratio(
    scores: pd.DataFrame, by: str, editor: str, reference: str = TRUE_EDIT, seed: int = 0
) -> Interval:
    """Say how often an editor reaches its target, as a share of how often another one does.

    Args:
        scores: score tables with ``reached_frac``.
        by: the judge.
        editor: whose share.
        reference: the editor that it is compared with.
        seed: of the bootstrap, which draws whole persons.
    """
    own = scores[(scores["metric"] == "reached_frac") & (scores["by"] == by)]
    wide = own.pivot_table("value", ["source_id", "target_emotion", "subject"], "editor")
    both = wide.reindex(columns=[editor, reference]).dropna()
    people = both.index.get_level_values("subject")

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)

    return bootstrap_interval(both.to_numpy(), ratio, people, seed=seed)


def stage_metrics(scores: pd.DataFrame, measured: Measured, seed: int = 0) -> dict[str, Interval]:
    """Name what stage 2 changed, and what it reaches, as ``metrics.json`` wants them.

    Args:
        scores: everybody's score table.
        measured: who was heard.
        seed: of the bootstraps, which draw whole persons.

    Returns:
        Stage 2 minus stage 1, paired: ``beta_drift_change_sd``, ``beta_error_change_sd`` by the
        second encoder (``beta_drift_over_mesh_warp_sd`` says how much of that is left beside
        carrying the photograph), ``identity_drift_change_<embedder>_sd``, ``au_error_change``, and
        by the leading judge ``target_accuracy_change_frac``; beside it ``target_accuracy_ratio``,
        the share of what the true edits reach, with true and with read codes, and
        ``…_same_size_ratio`` to the true edits that went through the editor's size. What has no
        finite interval is left out.
    """

    def change(metric: str, by: str, other: str = STAGE_1) -> Interval:
        return difference(scores, metric, by, STAGE_2, other, seed=seed)

    told = {
        "beta_drift_change_sd": change("beta_drift_sd", SECOND),
        "beta_drift_over_mesh_warp_sd": change("beta_drift_sd", SECOND, "mesh warp"),
        "beta_error_change_sd": change("beta_error_sd", SECOND),
        "au_error_change": change("au_error", SECOND),
    }
    for name in measured.embedders:
        told[metric_name("identity_drift_change", name, "sd")] = change("identity_drift_sd", name)
    for lead in measured.judges[:1]:
        told["target_accuracy_change_frac"] = change("reached_frac", lead)
        told["target_accuracy_ratio"] = reached_ratio(scores, lead, STAGE_2, seed=seed)
        told["target_accuracy_same_size_ratio"] = reached_ratio(
            scores, lead, STAGE_2, TRUE_SMALL, seed=seed
        )
        told["target_accuracy_predicted_ratio"] = reached_ratio(
            scores, lead, STAGE_2 + READ, seed=seed
        )
    return {name: one for name, one in told.items() if np.isfinite(one[:3]).all()}


def _unseen_people(index: pd.DataFrame) -> list[str]:
    """Pictures of people that no network learned from; of a tiny store, of everybody."""
    unseen = index[index["split"] == "test"]
    return some_people(unseen if unseen["subject"].nunique() > 1 else index, *_PEOPLE)
