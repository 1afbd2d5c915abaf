"""Who measures: shares of what the true edit reaches, what stage 2 changed, and edit sets."""

import numpy as np
import pandas as pd
import pytest
from rig_store import CFG, Locator, drawn_store, faces, head

from fer_lib.datasets.edits import COPY_SOURCE, TRUE_EDIT, counterfactual_pairs
from fer_lib.evaluation import rig_measure, rig_pairs
from fer_lib.evaluation.rig_study import STAGE_1, STAGE_2
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec


def rows(metric, by, **values):
    """A score table: for each editor a value per edit, two edits per person."""
    return pd.concat([
        pd.DataFrame({"editor": editor, "source_id": [f"s{k}" for k in range(len(numbers))],
                      "target_emotion": "fear", "subject": [f"p{k // 2}" for k in
                                                            range(len(numbers))],
                      "image": [f"{editor}{k}" for k in range(len(numbers))], "metric": metric,
                      "by": by, "value": np.asarray(numbers, float)})
        for editor, numbers in values.items()
    ])  # fmt: skip


def named(metric, by, true, first, second, read=None):
    editors = {TRUE_EDIT: true, STAGE_1: first, STAGE_2: second}
    editors |= {} if read is None else {f"{STAGE_2} (read codes)": read}
    return rows(metric, by, **editors)


def test_a_share_of_the_true_edit_is_a_ratio_of_sums():
    scores = named("reached_frac", "judge", [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0])
    ratio = rig_measure.reached_ratio(scores, "judge", STAGE_2)
    assert ratio.value == pytest.approx(2 / 3)
    assert (ratio.low, ratio.high, ratio.n) == (0, 1, 4)
    assert rig_measure.reached_ratio(scores, "judge", TRUE_EDIT).low == 1


def test_what_stage_2_changed_is_paired_and_named():
    flat = [0.5, 0.5, 0.5, 0.5]
    scores = pd.concat([
        named("beta_drift_sd", rig_measure.SECOND, flat, [0.8, 0.9] * 2, [0.6, 0.7] * 2),
        named("identity_drift_sd", "net", flat, flat, flat),
        named("reached_frac", "judge", [1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 1, 0]),
    ])  # fmt: skip
    measured = rig_measure.Measured(scores, ["judge"], ["net"], pd.DataFrame())
    told = rig_measure.stage_metrics(scores, measured)
    assert told["beta_drift_change_sd"].value == pytest.approx(-0.2)
    assert told["beta_drift_change_sd"].high < 0
    assert told["identity_drift_change_net_sd"].value == 0
    assert told["target_accuracy_change_frac"].value == pytest.approx(0.25)
    assert told["target_accuracy_ratio"].value == pytest.approx(0.75)
    assert told["target_accuracy_predicted_ratio"].value == pytest.approx(0.25)
    # Nobody measured action units: no number stands for them.
    assert "au_error_change" not in told


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    store = drawn_store()
    pairs = counterfactual_pairs(store.index[store.index["split"] == "test"])
    ids = pd.Index(store.index["sample_id"])
    source, target = (faces(4)[ids.get_indexer(pairs[name]).tolist()]
                      for name in ("source_id", "target_id"))  # fmt: skip
    task = rig_pairs.EditTask.of(store, pairs, CFG.image_size, source, target)
    made = {COPY_SOURCE: task.sources, "mesh warp": task.sources, STAGE_1: task.sources,
            STAGE_2: task.true}  # fmt: skip
    lineage = Lineage(networks=frozenset(["guide"]))
    return rig_measure.write_study(
        tmp_path_factory.mktemp("run"), task, made, store, Locator(), lineage,
        {0.5: task.sources[:2]},
    )  # fmt: skip


def test_the_rig_is_written_apart_from_those_who_learned_nothing(study):
    editors = [list(dict.fromkeys(part.edits["editor"])) for part in study.sets]
    assert editors == [[TRUE_EDIT, COPY_SOURCE], ["mesh warp", rig_measure.TRUE_SMALL],
                       [STAGE_1, STAGE_2], [f"{rig_measure.STRENGTH}0.5"]]  # fmt: skip
    networks = [list(part.lineage.get("networks", [])) for part in study.sets]
    assert networks == [[], [], ["guide"], ["guide"]]


def test_the_second_encoder_sees_no_drift_in_copies(study):
    network = FaceEncoder(FaceEncoderSpec.of(head(), image_size=32, width=4, hidden=8,
                                             mesh_modes=0))  # fmt: skip
    network.calibrate(faces(4))
    people = drawn_store().index["sample_id"].tolist()
    scores = rig_measure.second_opinion(study, drawn_store(), network, people)
    drift = scores[scores["metric"] == "beta_drift_sd"].groupby("editor")["value"].max()
    assert drift[COPY_SOURCE] == 0
    assert drift[STAGE_1] == pytest.approx(0, abs=1e-6)
    error = scores[scores["metric"] == "beta_error_sd"].groupby("editor")["value"].max()
    assert error[TRUE_EDIT] == 0
    assert set(scores["metric"]) >= {"au_error", "au_gap"}


def test_without_judges_and_embedders_the_notes_are_empty(study):
    measured = rig_measure.measure(study, drawn_store(), CFG, {})
    assert (measured.judges, measured.embedders) == ([], [])
    assert measured.notes.empty
    assert measured.scores.empty


def test_lpips_without_networks_is_no_score(study):
    store = drawn_store()
    pairs = counterfactual_pairs(store.index)[:2]
    task = rig_pairs.EditTask.of(store, pairs, CFG.image_size, faces(4)[:2], faces(4)[2:4])
    assert rig_measure.perceptual_scores(task, {"rig": task.true}, []).empty
