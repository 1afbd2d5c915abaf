import json

import nbformat
import papermill
import pytest
from notebook_samples import WORK, make_lab, run_cells_here, write_notebook

from fer_lib import execute, runs
from fer_lib.run_folder import Run


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch):
    return make_lab(workplace, monkeypatch)


@pytest.fixture
def no_kernel(monkeypatch):
    """Make any start of a kernel an error."""

    def refuse(*arguments, **options):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)


@pytest.fixture
def quick_kernel(monkeypatch):
    return run_cells_here(monkeypatch)


@pytest.mark.parametrize(
    ("parameters", "error"), [({"SIZ": 1}, ValueError), ({"FLAG": "falsch"}, TypeError)]
)
def test_a_wrong_request_is_refused_before_a_kernel_starts(no_kernel, place, parameters, error):
    with pytest.raises(error, match=r"did you mean SIZE|FLAG: expected bool"):
        execute.run("05", parameters)
    assert not (place / "results").exists()


def test_papermill_runs_in_a_kernel_of_this_python(place, capfd):
    sources = (
        "import os, sys\nfrom pathlib import Path\nfrom fer_lib import runs",
        WORK + "\nprint(type(FLAG).__name__, FLAG, LIMIT)\n"
        "print(sys.executable, file=sys.stderr)\n"
        "print(run.config['preset'], os.environ['FER_PROGRESS'], Path.cwd().name)",
    )
    write_notebook(place / "notebooks", "05_count_things", *sources)
    said = []
    folder = execute.run("05", {"FLAG": "false", "RATE": 0.25}, "quick", say=said.append)
    run = Run(folder)
    assert run.config["status"] == "finished"
    assert run.config["notebook_parameters"] == {
        "STORE": "toy",
        "SIZE": 5,
        "RATE": 0.25,
        "FLAG": False,
        "NAMES": ["a"],
        "RATES": [0.1],
        "LIMIT": None,
    }
    assert run.metrics["size_px"] == 5
    shown = capfd.readouterr().err
    assert "bool False None" in shown
    assert "quick text notebooks" in shown
    assert execute.sys.executable in shown
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert execute.run("05", {"RATE": "0.25", "FLAG": False}, "quick", say=said.append) == folder
    assert "reusing the identical finished run" in said[-1]


def test_a_failing_notebook_leaves_its_executed_copy(place):
    with pytest.raises(execute.NotebookFailed) as caught:
        execute.run("05", {"SIZE": 13})
    sentence, run = str(caught.value), Run(caught.value.run_path)
    for part in ("05_count_things", "In [4]", "ValueError: thirteen <b>is</b> unlucky"):
        assert part in sentence
    assert str(run.path / "executed.ipynb") in sentence
    assert run.config["status"] == "failed"
    assert "ValueError: thirteen" in run.config["error"]
    assert run.metrics["size_px"] == 13
    executed = nbformat.read(run.path / "executed.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert [output.ename for output in outputs if output.output_type == "error"] == ["ValueError"]


def test_a_dead_kernel_is_a_failure_with_a_run_folder(place):
    write_notebook(place / "notebooks", "06_die", "import os\nos._exit(1)")
    with pytest.raises(execute.NotebookFailed, match="its kernel died") as caught:
        execute.run("06")
    assert Run(caught.value.run_path).config["status"] == "failed"
    assert (caught.value.run_path / "executed.ipynb").is_file()


def test_a_finished_run_is_reused_unless_forced(quick_kernel):
    first = execute.run("05", {"SIZE": 4})
    assert execute.run("05", {"SIZE": 4}) == first
    assert len(quick_kernel) == 1
    assert execute.run("05", {"SIZE": 4}, force=True) != first
    assert execute.run("05", {"SIZE": 6}) != first
    assert len(quick_kernel) == 3


def test_a_changed_notebook_is_run_again(quick_kernel, place):
    first = execute.run("05")
    write_notebook(
        place / "notebooks", "05_count_things", "from fer_lib import runs", WORK, "changed = 1"
    )
    assert execute.run("05") != first


def test_a_changed_input_is_run_again(quick_kernel, place):
    (place / "input.csv").write_text("x")
    sources = f"""\
from pathlib import Path
from fer_lib import runs
run = runs.start("06_read", {{}}, {{"table": Path({str(place / "input.csv")!r})}})
run.finish()"""
    write_notebook(place / "notebooks", "06_read", sources)
    first = execute.run("06")
    assert execute.run("06") == first
    (place / "input.csv").write_text("y")
    assert execute.run("06") != first


def test_a_notebook_that_starts_no_run_has_a_folder_all_the_same(quick_kernel, place):
    write_notebook(place / "notebooks", "06_plain", "x = SIZE")
    run = Run(execute.run("06"))
    assert run.config["status"] == "finished"
    assert run.config["parameters"]["SIZE"] == 3


def test_an_interruption_is_recorded_and_passed_on(monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupt)
    with pytest.raises(KeyboardInterrupt):
        execute.run("05")
    (run,) = runs.every()
    assert (run.config["status"], run.config["error"]) == ("failed", "because it was interrupted")


def write_grid(place, grid):
    path = place / "grid.json"
    path.write_text(grid if isinstance(grid, str) else json.dumps(grid))
    return path


def test_a_grid_is_a_product_or_a_list(place):
    product = execute.read_grid(write_grid(place, {"SIZE": [1, 2], "FLAG": [True, False]}))
    assert len(product) == 4
    assert product[1] == {"SIZE": 1, "FLAG": False}
    assert execute.read_grid(write_grid(place, product)) == product


@pytest.mark.parametrize("grid", [{}, [], {"SIZE": []}, {"SIZE": 1}, [1], 3, "{not json"])
def test_a_grid_without_points_is_refused(place, grid):
    with pytest.raises(ValueError, match=r"grid.json: expected"):
        execute.read_grid(write_grid(place, grid))


def test_a_grid_resumes_and_writes_a_table(quick_kernel, place):
    points = [{"SIZE": 1}, {"SIZE": 13}, {"SIZE": 2}]
    execute.run("05", {"SIZE": 2})
    result = execute.run_grid("05", points)
    assert [call["SIZE"] for call in quick_kernel] == [2, 1, 13]
    assert len(set(result.run_paths)) == 3
    assert len(result.failures) == 1
    rows = json.loads(result.table_path.with_suffix(".json").read_text())
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert [row["size_px"] for row in rows] == [1, 13, 2]
    assert rows[0]["doubled_frac"] == 0.5
    assert rows[0]["doubled_frac_n"] == 9
    assert result.table_path.read_text().startswith("run_id,status,SIZE,size_px,doubled_frac")
    again = execute.run_grid("05", points)
    assert [call["SIZE"] for call in quick_kernel] == [2, 1, 13, 13]
    assert again.table_path == result.table_path


def test_a_grid_is_checked_whole_before_its_first_point_runs(no_kernel):
    with pytest.raises(ValueError, match="did you mean SIZE"):
        execute.run_grid("05", [{"SIZE": 1}, {"SIZES": 2}])
