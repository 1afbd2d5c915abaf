import json
import re
from dataclasses import dataclass

import pandas as pd
import pytest
from notebook_samples import make_lab

from fer_lib import provenance, runs


@dataclass(frozen=True)
class Settings:
    size: int = 3
    seed: int = 7


class Drawing:
    """Stands for a figure: it writes itself into a file."""

    def savefig(self, path, **options):
        path.write_bytes(b"picture")


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch):
    return make_lab(workplace, monkeypatch)


def finished_run(notebook="05_count_things", config=None, inputs=None, parameters=None, **more):
    run = runs.start(notebook, config or Settings(), inputs, **more)
    run.close("finished", notebook_parameters=parameters or {"SIZE": 3}, source_hash="s")
    return run


def identical(parameters=None, preset=None, source="s"):
    return runs.find_identical("05_count_things", parameters or {"SIZE": 3}, source, preset)


def test_a_run_writes_its_config_at_once(place):
    file = place / "input.csv"
    file.write_text("x")
    run = runs.start("05_count_things", Settings(), {"table": file}, preset="quick")
    config = json.loads((run.path / "config.json").read_text())
    assert run.path.parent == place / "results" / "05_count_things"
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run.run_id)
    assert config["status"] == "running"
    assert config["parameters"] == {"size": 3, "seed": 7}
    assert config["seed"] == 7
    assert config["preset"] == "quick"
    assert config["inputs"]["table"] == {
        "path": str(file),
        "hash": provenance.input_hash(file),
    }
    assert len(config["source_hash"]) == 64
    assert config["packages"]["torch"]


def test_the_short_hash_follows_parameters_and_inputs(place):
    file = place / "input.csv"
    file.write_text("x")
    digests = {runs.start("05_x", Settings()).run_id.split("-")[1]}
    digests.add(runs.start("05_x", Settings(size=4)).run_id.split("-")[1])
    digests.add(runs.start("05_x", Settings(), {"t": file}).run_id.split("-")[1])
    file.write_text("y")
    digests.add(runs.start("05_x", Settings(), {"t": file}).run_id.split("-")[1])
    assert len(digests) == 4
    assert runs.start("05_x", Settings()).run_id.split("-")[1] in digests


def test_two_runs_of_one_second_have_two_folders():
    assert runs.start("05_x", Settings()).path != runs.start("05_x", Settings()).path


def test_several_settings_are_merged_and_must_agree():
    run = runs.start("05_x", (Settings(), {"store": "toy", "size": 3}))
    assert run.config["parameters"] == {"size": 3, "seed": 7, "store": "toy"}
    with pytest.raises(ValueError, match="expected one value of size"):
        runs.start("05_x", (Settings(), {"size": 4}))


def test_a_preset_of_the_environment_is_recorded(monkeypatch):
    monkeypatch.setenv("FER_PRESET", "evidence")
    assert runs.start("05_x", Settings()).config["preset"] == "evidence"


@pytest.mark.parametrize("name", ["", "../05", "a/b", ".hidden"])
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(ValueError, match="expected a notebook's name"):
        runs.start(name, Settings())
    run = runs.start("05_x", Settings())
    with pytest.raises(ValueError, match="expected a name"):
        run.save_table(pd.DataFrame({"a": [1]}), name)


def test_a_missing_input_is_refused_before_a_folder_is_made(place):
    with pytest.raises(FileNotFoundError, match="expected an input"):
        runs.start("05_x", Settings(), {"table": place / "none.csv"})
    assert not (place / "results").exists()


def test_metrics_are_merged_in_the_order_written():
    run = runs.start("05_x", Settings())
    assert run.metrics == {}
    run.write_metrics({"b_frac": 0.5})
    run.write_metrics({"a_px": {"value": 1.0, "low": 0.5, "high": 2.0, "n": 4}, "c": None})
    assert list(run.metrics) == ["b_frac", "a_px", "c"]
    assert json.loads((run.path / "metrics.json").read_text()) == run.metrics


def test_refused_metrics_leave_the_file_as_it_was():
    run = runs.start("05_x", Settings())
    run.write_metrics({"a": 1})
    with pytest.raises(ValueError, match="finite"):
        run.write_metrics({"b": 1, "c": float("nan")})
    assert run.metrics == {"a": 1}


def test_tables_keep_types_and_names():
    table = pd.DataFrame({"emotion": ["fear", None], 1: [1, 2]}, index=["x", "y"])
    run = runs.start("05_x", Settings())
    path = run.save_table(table, "counts")
    assert path == run.path / "tables" / "counts.parquet"
    pd.testing.assert_frame_equal(run.table("counts"), table.rename(columns=str))
    assert path.with_suffix(".csv").read_text().splitlines()[1] == "x,fear,1"
    with pytest.raises(FileNotFoundError, match="expected a table lost"):
        run.table("lost")


def test_the_headline_figure_comes_first():
    run = runs.start("05_x", Settings())
    for name in ("a", "b", "a"):
        assert run.save_figure(Drawing(), name).read_bytes() == b"picture"
    assert run.config["figures"] == ["b.png", "a.png"]
    run.save_figure(Drawing(), "c", headline=True)
    assert run.config["figures"][0] == "c.png"


def test_checkpoints_have_their_folder():
    path = runs.start("05_x", Settings()).checkpoint_path("rgb")
    assert path.parent.is_dir()
    assert path.parts[-2:] == ("checkpoint", "rgb.safetensors")


def test_finishing_notes_the_time():
    run = runs.start("05_x", Settings())
    run.finish()
    assert run.config["status"] == "finished"
    assert 0 <= run.config["seconds"] < 60


def test_latest_and_finished_filter_by_label_and_file(place):
    store = place / "data" / "processed" / "toy"
    store.mkdir(parents=True)
    (store / "card.json").write_text('{"hash": "h"}')
    first = finished_run(config={"width": 16}, inputs={"store": store})
    second = finished_run(config={"width": 32}, preset="quick", parameters={"SIZE": 4})
    runs.start("05_count_things", {"width": 64})
    second.save_table(pd.DataFrame({"a": [1]}), "predictions")
    assert runs.finished() == [second, first]
    assert runs.finished("05_*", width=16) == [first]
    assert runs.finished(store="toy") == [first]
    assert runs.finished(preset="quick", size=4) == [second]
    assert runs.finished("06_*") == []
    assert runs.latest("05_count_things") == second
    assert runs.latest("05_count_things", having="tables/predictions.parquet") == second
    with pytest.raises(FileNotFoundError, match="width=99, found none; run it first: fer run 05"):
        runs.latest("05_count_things", width=99)


def test_the_preset_in_use_goes_before_the_newest(monkeypatch):
    quick = finished_run("02_train", preset="quick")
    evidence = finished_run("02_train", preset="evidence")
    other = finished_run("01_preprocess", preset="evidence")
    plain = finished_run("02_train")
    assert runs.latest("02_train") == plain
    monkeypatch.setenv("FER_PRESET", "quick")
    assert runs.latest("02_train") == quick
    assert runs.latest_of_each() == [other, quick]
    assert runs.latest_of_each(preset="evidence") == [other, evidence]
    assert runs.finished("02_*") == [plain, evidence, quick]


def test_a_reused_run_is_judged_by_its_own_preset(monkeypatch):
    monkeypatch.setenv("FER_PRESET", "quick")
    finished_run("02_train")
    run = finished_run(inputs={"net": runs.latest("02_train")})
    monkeypatch.delenv("FER_PRESET")
    finished_run("02_train", preset="evidence")
    assert identical(preset="quick") == run
    finished_run("02_train", preset="quick")
    assert identical(preset="quick") is None


def test_an_identical_finished_run_is_found():
    run = finished_run()
    assert identical() == run
    assert identical({"SIZE": 4}) is None
    assert identical(source="t") is None
    assert identical(preset="quick") is None


def test_runs_that_did_not_finish_are_not_reused():
    run = finished_run()
    run.close("failed")
    assert identical() is None


def test_a_changed_or_missing_input_is_not_reused(place):
    file = place / "input.csv"
    file.write_text("x")
    run = finished_run(inputs={"table": file})
    assert identical() == run
    file.write_text("y")
    assert identical() is None
    file.write_text("x")
    assert identical() == run
    file.unlink()
    assert identical() is None


def test_a_changed_output_is_not_reused(place):
    store = place / "store"
    store.mkdir()
    (store / "card.json").write_text('{"hash": "h"}')
    run = finished_run()
    run.add_output("store", store)
    assert identical() == run
    (store / "card.json").write_text('{"hash": "other"}')
    assert identical() is None


def test_a_run_that_read_the_latest_is_not_reused_when_there_is_a_later_one():
    finished_run("02_train", {"width": 16})
    run = finished_run(inputs={"net": runs.latest("02_train", width=16)})
    assert identical() == run
    finished_run("02_train", {"width": 32})
    assert identical() == run
    finished_run("02_train", {"width": 16})
    assert identical() is None


def test_a_run_that_read_all_is_not_reused_when_there_is_another():
    finished_run("02_train")
    run = finished_run(inputs={"predictions": runs.finished("0[1-4]_*")})
    assert identical() == run
    finished_run("03_train")
    assert identical() is None


def test_no_run_is_no_input():
    with pytest.raises(ValueError, match="at least one finished run"):
        runs.start("05_x", Settings(), {"predictions": []})


def test_checkpoints_are_found_by_what_they_judge(place):
    assert runs.checkpoints_in([]) == {}
    found = {}
    for notebook, names in {"02_train": ["rgb", "fusion"], "04_train": ["judge"]}.items():
        for seed in range(2):
            run = runs.start(notebook, {"seed": seed})
            for name in names:
                run.checkpoint_path(name).write_bytes(b"weights")
            found.setdefault(notebook, []).append(run)
    old, new = found["02_train"]
    files = runs.checkpoints_in([new, old, *found["04_train"]])
    assert set(files) == {"stand-in", "fusion", "own"}
    assert files["fusion"] == new.checkpoint_path("fusion")
    new.checkpoint_path("fusion").unlink()
    assert runs.checkpoints_in([new, old])["fusion"] == old.checkpoint_path("fusion")
