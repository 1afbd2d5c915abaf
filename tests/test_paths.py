import pytest

from fer_lib import paths


def test_folders_follow_the_environment(workplace, monkeypatch):
    assert paths.data_dir() == workplace / "data"
    assert paths.results_dir() == workplace / "results"
    assert paths.store_dir("synthetic") == workplace / "data" / "processed" / "synthetic"
    assert paths.model_dir("ict") == workplace / "data" / "models" / "ict"
    monkeypatch.setenv("FER_SHARED", str(workplace))
    assert paths.shared_dir() == workplace.resolve()
    monkeypatch.setenv("FER_SHARED", str(workplace / "absent"))
    assert paths.shared_dir() is None


def test_without_an_environment_folders_are_the_projects_own(monkeypatch):
    for name in ("FER_DATA", "FER_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    assert (paths.root() / "fer_lib").is_dir()
    assert paths.data_dir() == paths.root() / "data"
    assert paths.results_dir() == paths.root() / "results"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/abs"])
def test_a_store_name_never_leaves_its_folder(name):
    with pytest.raises(ValueError, match="store name"):
        paths.store_dir(name)
