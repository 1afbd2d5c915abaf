"""Gains over the source: 0 for the source itself, most for the true edit, and paired by person."""

import numpy as np
import pandas as pd
import pytest
import torch

from fer_lib.datasets.edits import COPY_SOURCE, TRUE_EDIT
from fer_lib.evaluation import edit_gain

SIDE = 16


def pictures(n=6):
    generator = np.random.default_rng(0)
    sources = generator.integers(60, 190, (n, SIDE, SIDE, 3), dtype=np.uint8)
    true = sources.copy()
    true[:, 4:12, 4:12] += 40
    faces = torch.zeros(n, SIDE, SIDE)
    faces[:, 4:12, 4:12] = 1
    return sources, true, faces


def edits(editor, n=6):
    return pd.DataFrame({
        "editor": editor, "source_id": [f"s{k}" for k in range(n)], "target_emotion": "happiness",
        "subject": [f"p{k // 2}" for k in range(n)], "image": [f"{editor}-{k}" for k in range(n)],
    })


def scored():
    sources, true, faces = pictures()
    half = ((sources.astype(int) + true) // 2).astype(np.uint8)
    made = {COPY_SOURCE: sources, "half": half, TRUE_EDIT: true}
    return pd.concat([edit_gain.gain_scores(edits(name), images, sources, true, faces)
                      for name, images in made.items()])  # fmt: skip


def mean(table, editor, metric):
    return table[(table["editor"] == editor) & (table["metric"] == metric)]["value"].mean()


def test_psnr_is_the_closed_form_and_bytes_are_known_to_their_rounding():
    sources, true, faces = pictures()
    assert edit_gain.psnr_db(sources, true, faces) == pytest.approx(20 * np.log10(255 / 40))
    share = 64 / SIDE**2
    whole = 20 * np.log10(255 / 40) - 10 * np.log10(share)
    assert edit_gain.psnr_db(sources, true) == pytest.approx(whole)
    assert edit_gain.psnr_db(true, true) == pytest.approx(58.92, abs=0.01)
    assert np.isnan(edit_gain.psnr_db(sources, true, 0 * faces)).all()


def test_copying_gains_nothing_and_half_the_way_gains_six_db():
    table = scored()
    for metric in ("edit_gain_db", "edit_gain_face_db"):
        assert mean(table, COPY_SOURCE, metric) == 0
        assert mean(table, "half", metric) == pytest.approx(20 * np.log10(2), abs=0.01)
        assert mean(table, TRUE_EDIT, metric) > 25
    assert mean(table, COPY_SOURCE, "change_psnr_db") == pytest.approx(58.92, abs=0.01)


def test_the_table_says_who_is_above_the_reference():
    table = edit_gain.gain_table(scored())
    assert list(table.index) == ["half", TRUE_EDIT]
    assert (table["verdict"] == "above").all()
    assert (table["n"] == 6).all()
    turned = edit_gain.gain_table(scored(), reference=TRUE_EDIT)
    assert (turned["verdict"] == "below").all()


def test_gains_are_named_for_the_metrics():
    gains = edit_gain.edit_gains(scored(), TRUE_EDIT, ["half"], suffix="predicted")
    assert set(gains) == {"edit_gain_predicted_db", "edit_gain_face_predicted_db",
                          "edit_gain_face_predicted_over_half_db"}  # fmt: skip
    over_copy = gains["edit_gain_face_predicted_db"].value
    over_half = gains["edit_gain_face_predicted_over_half_db"].value
    assert over_copy - over_half == pytest.approx(20 * np.log10(2), abs=0.01)
    assert all(gain.low <= gain.value <= gain.high for gain in gains.values())
