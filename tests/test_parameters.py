import json

import pytest
from notebook_samples import make_lab, write_notebook

from fer_lib.parameters import find_notebook, read_parameters, read_preset, resolve, settle

CONVERSIONS = [
    ("FLAG", "false", False),
    ("FLAG", "True", True),
    ("FLAG", "0", False),
    ("SIZE", "12", 12),
    ("SIZE", "-3", -3),
    ("RATE", "1e-4", 1e-4),
    ("RATE", "2", 2.0),
    ("STORE", "007", "007"),
    ("STORE", "", ""),
    ("STORE", "true", "true"),
    ("NAMES", '["x", "1"]', ["x", "1"]),
    ("NAMES", "[]", []),
    ("RATES", "[1, 1e-3]", [1.0, 1e-3]),
    ("LIMIT", "none", None),
    ("LIMIT", "4", 4),
]
WRONG = [
    ("FLAG", "falsch"),
    ("FLAG", "2"),
    ("SIZE", "1.5"),
    ("SIZE", "true"),
    ("SIZE", ""),
    ("RATE", "nan"),
    ("RATE", "1e999"),
    ("RATE", "fast"),
    ("NAMES", "x"),
    ("NAMES", "[1]"),
    ("NAMES", '{"x": 1}'),
    ("RATES", '["1"]'),
    ("RATES", "[true]"),
    ("LIMIT", "four"),
    ("FLAG", 1),
    ("SIZE", True),
    ("SIZE", 2.0),
    ("SIZE", None),
    ("RATE", float("inf")),
    ("STORE", 7),
    ("NAMES", ("x",)),
]


@pytest.fixture
def lab(workplace, monkeypatch):
    return make_lab(workplace, monkeypatch)


def same(left, right):
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(("name", "text", "value"), CONVERSIONS)
def test_text_arrives_with_the_annotated_type(lab, name, text, value):
    settled = settle("05", {name: text})[1]
    assert same(settled[name], value)
    if isinstance(value, list):
        assert all(map(same, settled[name], value))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_of_another_type_is_refused_in_a_sentence(lab, name, value):
    with pytest.raises(TypeError, match=f"{name}: expected .*, got "):
        settle("05", {name: value})


def test_default_gives_way_to_preset_and_preset_to_override(lab):
    assert settle("05")[1]["SIZE"] == 3
    assert settle("05", preset="quick")[1]["SIZE"] == 5
    assert settle("05", {"SIZE": 7}, "quick")[1]["SIZE"] == 7


def test_an_unknown_parameter_is_refused_and_close_ones_are_named(lab):
    with pytest.raises(ValueError, match="no parameter SIZ; did you mean SIZE"):
        settle("05", {"SIZ": 1})
    with pytest.raises(ValueError, match="no parameter size; did you mean SIZE"):
        settle("05", {"size": "1"})
    with pytest.raises(ValueError, match="it has STORE, SIZE"):
        settle("05", {"QQQQQ": 1})


def test_a_preset_is_held_to_the_same_rules(lab):
    presets = lab / "notebooks" / "presets"
    (presets / "odd.json").write_text(json.dumps({"05_count_things": {"SIZES": 1}}))
    (presets / "typed.json").write_text(json.dumps({"05_count_things": {"SIZE": "1"}}))
    (presets / "lost.json").write_text(json.dumps({"05_count_thing": {}}))
    with pytest.raises(ValueError, match="did you mean SIZE"):
        settle("05", preset="odd")
    with pytest.raises(TypeError, match="SIZE: expected int"):
        settle("05", preset="typed")
    with pytest.raises(ValueError, match="did you mean 05_count_things"):
        read_preset("lost")
    with pytest.raises(ValueError, match="expected a preset out of lost, odd, quick, typed"):
        read_preset("slow")


@pytest.mark.parametrize(
    "cell",
    [
        "SIZE = 3",
        "SIZE: int = 1 + 2",
        "SIZE: int = len('abc')",
        "SIZE: int",
        "import os",
        "SIZE: numpy.ndarray = 3",
        "SIZE: dict = {}",
        "SIZE: 'int' = 3",
    ],
)
def test_a_parameters_cell_holds_annotated_literals_only(tmp_path, cell):
    path = write_notebook(tmp_path, "06_odd", parameters=cell)
    with pytest.raises(ValueError, match=r"06_odd\.ipynb, parameters cell, line 1: expected"):
        read_parameters(path)


def test_a_default_has_the_type_of_its_annotation(tmp_path):
    path = write_notebook(tmp_path, "06_odd", parameters="SIZE: int = 'big'")
    with pytest.raises(TypeError, match="SIZE: expected int"):
        read_parameters(path)


def test_the_cell_is_read_and_never_run(tmp_path):
    marker = tmp_path / "ran"
    cell = f"SIZE: int = 3\nopen({str(marker)!r}, 'w')"
    path = write_notebook(tmp_path, "06_odd", parameters=cell)
    with pytest.raises(ValueError, match="line 2"):
        read_parameters(path)
    assert not marker.exists()


def test_a_notebook_without_the_cell_takes_no_parameter(tmp_path):
    path = write_notebook(tmp_path, "06_odd", parameters="")
    assert resolve(path, {}, {}) == {}
    with pytest.raises(ValueError, match="it has none"):
        resolve(path, {}, {"SIZE": 1})


@pytest.mark.parametrize("name", ["05", "5", "05_count_things", "05_count_things.ipynb"])
def test_a_notebook_is_found_by_number_or_name(lab, name):
    assert find_notebook(name).stem == "05_count_things"


@pytest.mark.parametrize("name", ["06", "0", "05_count", "", "../05_count_thing"])
def test_an_unknown_notebook_is_refused_and_the_known_are_named(lab, name):
    with pytest.raises(FileNotFoundError, match="05_count_things"):
        find_notebook(name)
