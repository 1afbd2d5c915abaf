import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fer_lib import published
from fer_lib.datasets.balance import class_table
from fer_lib.networks.branches import LandmarkArm
from fer_lib.networks.landmark_fusion import Weighting
from fer_lib.tables import sample_table


def right_by_class(recall):
    """Images that are right behind a row of recalls, one whole number per class."""
    counts = pd.Series(published.RAFDB_COUNTS["test"])
    right = recall[counts.index] * counts
    assert (right - right.round()).abs().max() < 0.07, "no whole number of images gives this recall"
    return right.round().astype(int)


def test_affectnet_counts_sum_to_the_published_total():
    assert sum(published.AFFECTNET_COUNTS.values()) == published.AFFECTNET_TOTAL


def test_rafdb_tables_agree_with_each_other():
    counts = published.RAFDB_COUNTS["test"]
    assert sum(counts.values()) == sum(published.FUSION_RIGHT_WRONG.values()) == 3068
    assert sum(published.RAFDB_COUNTS["train"].values()) == 12271
    recall, overall = published.fusion_recall(), published.fusion_overall()
    for system in recall.index:
        right = sum(round(recall.loc[system, name] * n) for name, n in counts.items())
        assert right / 3068 == pytest.approx(overall.loc[system, "top-1"], abs=5e-5)
        assert recall.loc[system].mean() == pytest.approx(
            overall.loc[system, "average accuracy"], abs=1e-4)


@pytest.mark.parametrize(
    ("system", "right", "top_1", "average"),
    [("RGB baseline", 2824, 0.9205, 0.8635), ("fusion", 2832, 0.9231, 0.8696)],
)
def test_the_fusions_gain_is_eight_images(system, right, top_1, average):
    assert right_by_class(published.fusion_recall().loc[system]).sum() == right
    assert round(right / 3068, 4) == top_1 == published.fusion_overall().loc[system, "top-1"]
    assert published.fusion_overall().loc[system, "average accuracy"] == average
    counts = pd.Series(published.RAFDB_COUNTS["test"])
    share = right_by_class(published.fusion_recall().loc[system]) / counts
    assert share.mean() == pytest.approx(average, abs=6e-5)


def test_right_and_wrong_give_both_networks_accuracies_and_the_oracle():
    table = published.FUSION_RIGHT_WRONG
    assert table["both right"] + table["RGB only"] == 2824
    assert table["both right"] + table["landmarks only"] == 2080
    assert round(2080 / 3068, 3) == 0.678
    assert round((3068 - table["neither"]) / 3068, 4) == 0.9407


@pytest.mark.parametrize(
    ("mode", "right"), [("none", 2822), ("confidence", 2822), ("agreement", 2827), ("both", 2832)]
)
def test_the_ablation_of_the_weighting_agrees_with_itself(mode, right):
    recall = published.weighting_recall().loc[mode]
    overall = published.weighting_overall().loc[mode]
    assert right_by_class(recall).sum() == right
    assert right / 3068 == pytest.approx(overall["top-1"], abs=5.1e-5)
    assert recall.mean() == pytest.approx(overall["average accuracy"], abs=1e-4)
    assert overall["top-1"] < overall["top-2"] < overall["top-3"]


def test_the_full_weighting_is_the_fusion_and_modes_are_named_as_ours():
    recall, overall = published.weighting_recall(), published.weighting_overall()
    assert list(recall.index) == list(overall.index) == [str(mode) for mode in Weighting]
    pd.testing.assert_series_equal(
        recall.loc["both"], published.fusion_recall().loc["fusion"], check_names=False)
    pd.testing.assert_series_equal(
        overall.loc["both"], published.fusion_overall().loc["fusion"], check_names=False)


def test_figure_4_has_the_points_that_are_told():
    gain = published.fusion_weight_gain().set_index("w")["gain_pt"]
    assert gain.to_dict() == {0.6: 0.26, 1.0: -0.07}
    assert gain.idxmax() == published.FUSION_BEST_WEIGHT


def test_published_counts_stand_in_the_layout_of_our_own():
    rows = [{"sample_id": "a", "emotion": "fear", "split": "train"}]
    ours, theirs = class_table(sample_table(rows)), published.rafdb_counts()
    pd.testing.assert_index_equal(ours.index, theirs.index)
    pd.testing.assert_index_equal(ours.columns, theirs.columns)
    assert (theirs - ours).loc["fear", "train"] == 280
    assert theirs.loc["total"].to_dict() == {"train": 12271, "val": 0, "test": 3068, "total": 15339}
    assert theirs.loc["contempt"].sum() == 0


def test_the_landmark_network_has_the_published_shapes():
    table = published.landmark_cnn()
    network = LandmarkArm(7, 224).eval()
    shapes = []
    for part in network.trunk:
        if isinstance(part, nn.Conv2d | nn.MaxPool2d):
            part.register_forward_hook(lambda m, i, output: shapes.append(output.shape[1:]))
    with torch.no_grad():
        network(torch.zeros(1, 1, 224, 224))
    measured = np.array(shapes)[:, [1, 0]]
    np.testing.assert_array_equal(measured, table[["side", "channels"]][1:])
    assert table["kernel"].isna().tolist() == [True] + [False] * 10


def test_table_11_shows_corrected_followed_and_spoilt_samples():
    table = published.fusion_samples()
    right = table[["landmarks", "rgb", "fusion"]].eq(table["true"], axis=0)
    assert right.to_numpy().tolist() == [
        [True, False, True], [True, True, True], [False, False, True], [True, False, False]]


def test_hsemotion_rows_are_distributions_and_anger_loses_to_neutral():
    table = published.hsemotion_probabilities()
    assert table.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    winners = table.idxmax(axis=1)
    assert winners["anger"] == "neutral"
    assert (winners.drop("anger") == winners.drop("anger").index).all()


@pytest.mark.parametrize(("model", "right"), [(1, 7), (2, 4)])
def test_seed_000_names_the_largest_probability_of_each_row(model, right):
    table = published.hsemotion_probabilities(model)
    assert table.sum(axis=1).to_numpy() == pytest.approx(1, abs=2e-6)
    predicted = published.hsemotion_predicted()[f"model {model}"]
    assert table.idxmax(axis=1).to_dict() == predicted.to_dict()
    assert (predicted == predicted.index).sum() == right


def test_seed_002_gives_every_emotion_nearly_one_csim():
    table = published.csim()
    assert table.shape == (8, 2)
    assert np.ptp(table.to_numpy()) == pytest.approx(3.1e-4, abs=1e-5)
    assert table.to_numpy().min() > 0.999


def test_the_neutral_face_of_the_emonet_trial_is_not_neutral_by_its_rule():
    first = published.emonet_demo().iloc[0]
    assert first["emotion"] == "neutral"
    assert np.hypot(first["valence"], first["arousal"]) == pytest.approx(0.349, abs=1e-3)
