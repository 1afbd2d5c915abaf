import json

import pytest
from notebook_samples import write_notebook

from fer_lib import provenance


def test_the_order_of_keys_does_not_matter_and_values_do():
    assert provenance.json_hash({"a": 1, "b": 2}) == provenance.json_hash({"b": 2, "a": 1})
    assert provenance.json_hash({"a": 1}) != provenance.json_hash({"a": 2})


def test_a_changed_file_changes_its_hash(tmp_path):
    file = tmp_path / "input.csv"
    file.write_text("a")
    before = provenance.input_hash(file)
    file.write_text("b")
    assert provenance.input_hash(file) != before


def test_a_store_is_known_by_the_hash_on_its_card(tmp_path):
    card = tmp_path / "card.json"
    card.write_text(json.dumps({"hash": "abc", "made": "today"}))
    assert provenance.input_hash(tmp_path) == "abc"


def test_another_folder_changes_with_any_of_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jpg").write_bytes(b"1")
    before = provenance.input_hash(tmp_path)
    assert provenance.input_hash(tmp_path) == before
    (tmp_path / "deep" / "b.jpg").write_bytes(b"2")
    assert provenance.input_hash(tmp_path) != before


def test_a_missing_input_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected an input at"):
        provenance.input_hash(tmp_path / "none")


def test_source_hash_sees_cells_and_not_outputs(tmp_path):
    path = write_notebook(tmp_path, "05_x", "print(1)")
    before = provenance.source_hash(path)
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["execution_count"] = 7
    notebook["metadata"]["extra"] = True
    path.write_text(json.dumps(notebook))
    assert provenance.source_hash(path) == before
    write_notebook(tmp_path, "05_x", "print(2)")
    assert provenance.source_hash(path) != before
    assert provenance.source_hash(None) != before


def test_versions_name_python_and_torch():
    assert {"python", "torch", "numpy"} <= provenance.package_versions().keys()


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() is None
