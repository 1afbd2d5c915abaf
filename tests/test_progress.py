import pytest

from fer_lib import progress


@pytest.mark.parametrize("mode", ["text", ""])
def test_items_pass_unchanged_and_short_work_stays_silent(monkeypatch, capsys, mode):
    monkeypatch.setenv("FER_PROGRESS", mode)
    assert list(progress.track(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert "letters" not in capsys.readouterr().err


def test_long_work_shows_its_name_and_time_left(monkeypatch, capsys):
    monkeypatch.setenv("FER_PROGRESS", "text")
    monkeypatch.setattr(progress, "_SILENT_S", 0.0)
    list(progress.track([1, 2], "numbers"))
    assert "numbers: 100%" in capsys.readouterr().err
