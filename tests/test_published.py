import pytest

from fer_lib import published


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


def test_hsemotion_rows_are_distributions_and_anger_loses_to_neutral():
    table = published.hsemotion_probabilities()
    assert table.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    winners = table.idxmax(axis=1)
    assert winners["anger"] == "neutral"
    assert (winners.drop("anger") == winners.drop("anger").index).all()
