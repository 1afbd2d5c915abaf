"""Scores of single edits; how they are put together is tested in test_edit_block."""

import numpy as np
import pandas as pd
import pytest

from fer_lib.evaluation.edit_scores import emotion_scores, picture_scores, shape_scores
from fer_lib.tables import probability_columns

CLASSES = ("neutral", "happiness", "fear")


def edits():
    rows = [("ann", "neutral", "happiness"), ("ben", "happiness", "fear")]
    return pd.DataFrame([
        {"editor": "e", "source_id": f"{who}-{source}", "target_emotion": target,
         "image": f"{who}-made", "true_edit": f"{who}-{target}", "subject": who}
        for who, source, target in rows
    ])


def answers(said, **affect):
    table = pd.DataFrame(list(said.values()), columns=probability_columns(CLASSES))
    return table.assign(sample_id=list(said), **affect)


SAID = {
    "ann-neutral": (0.7, 0.2, 0.1), "ann-made": (0.1, 0.6, 0.3), "ann-happiness": (0, 1, 0),
    "ben-happiness": (0.1, 0.8, 0.1), "ben-made": (0.2, 0.5, 0.3), "ben-fear": (0, 0, 1),
}


def values(table, metric):
    return table.loc[table["metric"] == metric, "value"].to_numpy()


def test_emotion_is_scored_against_source_and_next_class():
    table = emotion_scores(edits(), answers(SAID), "judge")
    assert values(table, "reached_frac") == pytest.approx([1, 0])
    assert values(table, "probability_gain") == pytest.approx([0.4, 0.2])
    assert values(table, "margin") == pytest.approx([0.3, -0.2])
    assert set(table["by"]) == {"judge"}


def test_affect_is_scored_against_source_and_true_edit():
    valence = [0.0, 0.5, 0.5, 0.5, 0.0, -0.5]
    table = emotion_scores(edits(), answers(SAID, valence=valence, arousal=[0.0, 0, 0, 0, 0.5, 0]),
                           "judge")  # fmt: skip
    assert values(table, "valence_change") == pytest.approx([0.5, -0.5])
    assert values(table, "arousal_change") == pytest.approx([0, 0.5])
    assert values(table, "circumplex_error_deg") == pytest.approx([0, 90])


def test_a_picture_without_answer_has_not_reached_its_target():
    said = answers(SAID)
    said.loc[said["sample_id"] == "ann-made", probability_columns(CLASSES)] = np.nan
    table = emotion_scores(edits(), said, "judge")
    assert values(table, "reached_frac") == pytest.approx([0, 0])
    assert np.isnan(values(table, "probability_gain")[0])


def test_a_target_that_a_judge_does_not_know_is_not_measured():
    table = emotion_scores(edits().assign(target_emotion=["contempt", "fear"]), answers(SAID), "j")
    assert np.isnan(values(table, "reached_frac")[0])
    assert values(table, "reached_frac")[1] == 0


class Album:
    """Two grey pictures, three brighter ones, and their landmarks."""

    def __init__(self, size=64):
        self.size = size
        face = np.random.default_rng(0).uniform(20, 44, (68, 2)).astype(np.float32)
        self.points = face

    def faces(self, names):
        grey = {"source": 100, "edit": 110, "true": 120, "same": 100}
        noise = np.random.default_rng(1).integers(-9, 9, (self.size, self.size, 3))
        return np.stack([(grey[name] + noise).astype(np.uint8) for name in names])

    def landmarks(self, names):
        moved = {"source": 0, "edit": 1, "true": 2, "same": 0}
        return np.stack([self.points + moved[name] for name in names])


def pairs(*rows):
    return pd.DataFrame([
        {"editor": "e", "source_id": source, "target_emotion": "fear", "subject": "ann",
         "image": image, "true_edit": true}
        for source, image, true in rows
    ])


def test_pictures_are_scored_against_source_outside_and_true_edit_throughout():
    table, notes = picture_scores(pairs(("source", "edit", "true")), Album())
    db = -20 * np.log10(10 / 255)
    assert values(table, "background_psnr_db") == pytest.approx([db], abs=1e-6)
    assert values(table, "true_psnr_db") == pytest.approx([db], abs=1e-6)
    assert 0.9 < values(table, "true_ssim")[0] < 1
    assert not notes


def test_an_unedited_picture_is_identical_and_an_unknown_true_edit_is_not_scored():
    table, _ = picture_scores(pairs(("source", "same", None)), Album())
    assert np.isinf(values(table, "background_psnr_db"))[0]
    assert np.isnan(values(table, "true_psnr_db"))[0]
    assert np.isnan(values(table, "true_mouth_ssim"))[0]


def test_shapes_are_scored_against_source_and_true_edit():
    album = Album()
    across = np.linalg.norm(album.points[36] - album.points[45])
    table = shape_scores(pairs(("source", "edit", "true"), ("source", "edit", None)), album)
    wanted = 100 * np.sqrt(2) / across
    assert values(table, "eyes_drift_pct_iod") == pytest.approx([wanted] * 2, rel=1e-4)
    assert values(table, "true_landmarks_pct_iod")[0] == pytest.approx(wanted, rel=1e-4)
    assert np.isnan(values(table, "true_landmarks_pct_iod")[1])
