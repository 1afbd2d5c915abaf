import numpy as np
import pandas as pd
import pytest

from fer_lib import labels, tables


def test_absent_columns_become_unknown_and_status_ok():
    table = tables.sample_table([{"sample_id": "a"}, {"sample_id": "b", "emotion": "fear"}])
    assert list(table.columns) == list(tables.SAMPLE_COLUMNS)
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["valence"].isna().all()
    assert pd.isna(table.loc[0, "emotion"])


def test_the_table_survives_a_parquet_file(tmp_path):
    table = tables.sample_table([{"sample_id": "ä b", "frame": 3, "au12": 0.5}])
    table.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(
        tables.sample_table(pd.read_parquet(tmp_path / "t.parquet")), table
    )


@pytest.mark.parametrize("rows", [
    [{"sample_id": "a"}, {"sample_id": "a"}],
    [{"sample_id": None}],
    [{"sample_id": "a", "emotion": "Happy"}],
    [{"sample_id": "a", "split": "dev"}],
    [{"sample_id": "a", "status": "lost"}],
    [{"sample_id": "a", "colour": 1}],
])
def test_rows_outside_the_contract_are_refused(rows):
    with pytest.raises(ValueError, match="expected"):
        tables.sample_table(rows)


def predictions(**changes):
    emotions = labels.emotion_order("rafdb")
    data = pd.DataFrame({"run": "r", "sample_id": ["a", "b"], "split": "test",
                         "protocol": "per-sample", "emotion": "fear"})
    data[tables.probability_columns(emotions)] = 1 / 7
    return data.assign(**changes), emotions


def test_predictions_keep_the_recognisers_order_and_failed_samples():
    data, emotions = predictions()
    data.loc[1, tables.probability_columns(emotions)] = np.nan
    table = tables.prediction_table(data, emotions)
    assert tables.probability_emotions(table) == list(emotions)
    assert table.loc[1, "p_fear"] != table.loc[1, "p_fear"]


@pytest.mark.parametrize("changes", [{"p_fear": 0.9}, {"sample_id": "a"}])
def test_wrong_predictions_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        tables.prediction_table(*predictions(**changes))
