import json
import subprocess
import sys

import pytest
from notebook_samples import make_lab, run_cells_here, write_notebook

from fer_lib import assets, cli, execute, runs
from fer_lib.run_folder import Run

CHAIN = """\
from fer_lib import runs
run = runs.start("{name}", {{"store": STORE}})
if STORE == "{bad}":
    raise ValueError("no faces")
run.write_metrics({{"n_faces": 3}})"""
FIRST = 'SOURCE: str = "synthetic"\nROOT: str = ""\nSTORE: str = "synthetic"'


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch):
    notebooks = make_lab(workplace, monkeypatch) / "notebooks"
    for name, bad, cell in (
        ("01_preprocess", "bad01", FIRST),
        ("02_train", "bad02", 'STORE: str = "synthetic"'),
    ):
        source = CHAIN.format(name=name, bad=bad)
        write_notebook(notebooks, name, source, parameters=cell)
    chain = {"02_train": {}, "01_preprocess": {}}
    (notebooks / "presets" / "quick.json").write_text(json.dumps(chain))
    return workplace


@pytest.fixture
def quick_kernel(monkeypatch):
    return run_cells_here(monkeypatch)


def test_run_prints_the_folder_and_writes_the_page(quick_kernel, capsys):
    assert cli.main(["run", "05", "-p", "SIZE=4", "-p", "FLAG=false"]) == 0
    shown = capsys.readouterr()
    (run,) = runs.every()
    assert shown.out == f"{run.path}\n"
    assert run.config["notebook_parameters"]["FLAG"] is False
    assert (run.path / "report.html").is_file()
    assert cli.main(["run", "05", "-p", "SIZE=4", "-p", "FLAG=no"]) == 0
    assert "reusing" in capsys.readouterr().err
    assert cli.main(["run", "05", "-p", "SIZE=4", "-p", "FLAG=no", "--force"]) == 0
    assert len(runs.every()) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "05", "-p", "SIZ=4"], "did you mean SIZE"),
        (["run", "05", "-p", "SIZE=big"], "SIZE: expected int"),
        (["run", "77"], "expected a notebook out of 01_preprocess"),
        (["run", "05", "--preset", "slow"], "expected a preset out of quick"),
        (["run", "05", "--grid", "none.json"], "none.json"),
        (["report", "--preset", "slow"], "expected a preset"),
        (["assets", "get", "nothing"], "expected an asset"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_1(arguments, sentence, capsys):
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


def test_traceback_is_shown_on_request(capsys):
    assert cli.main(["run", "77", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["walk"], ["run"], ["run", "05", "-p", "SIZE"], ["run", "05", "-p", "=3"], ["assets"]],
)
def test_a_request_that_cannot_be_read_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: fer" in capsys.readouterr().err


def test_a_failing_notebook_is_exit_code_1(monkeypatch, capsys):
    def fail(*arguments, **options):
        run = runs.start("05_count_things", {})
        run.close("failed", error="in cell In [3] with ValueError: x")
        raise execute.NotebookFailed("05_count_things failed in cell In [3]", run.path)

    monkeypatch.setattr(execute, "run", fail)
    assert cli.main(["run", "05"]) == 1
    assert "05_count_things failed in cell In [3]" in capsys.readouterr().err


def test_a_grid_prints_its_table_and_fails_when_a_point_does(
    quick_kernel,
    place,
    capsys,
):
    grid = place / "g.json"
    grid.write_text('{"SIZE": [1, 2]}')
    assert cli.main(["run", "05", "--grid", str(grid)]) == 0
    assert capsys.readouterr().out.strip().endswith(".csv")
    grid.write_text('{"SIZE": [1, 13]}')
    assert cli.main(["run", "05", "--grid", str(grid)]) == 1
    assert "thirteen" in capsys.readouterr().err
    assert len(runs.every()) == 3
    assert all((run.path / "report.html").is_file() for run in runs.every())


def test_report_runs_the_chain_in_order_and_prints_the_page(
    quick_kernel,
    place,
    capsys,
):
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out == f"{place / 'results' / 'report' / 'index.html'}\n"
    assert [run.notebook for run in reversed(runs.every())] == ["01_preprocess", "02_train"]
    assert cli.main(["report"]) == 0
    assert len(quick_kernel) == 2


def test_report_leads_each_notebook_to_the_source(
    quick_kernel,
    place,
    monkeypatch,
):
    monkeypatch.chdir(place)
    assert cli.main(["report", "--source", "photographs", "--root", "raw"]) == 0
    assert quick_kernel == [
        {"SOURCE": "photographs", "ROOT": str(place / "raw"), "STORE": "photographs"},
        {"STORE": "photographs"},
    ]


def test_report_takes_the_notebooks_it_is_given(quick_kernel):
    assert cli.main(["report", "--notebooks", "05", "01", "--source", "", "--root", ""]) == 0
    assert [run.notebook for run in reversed(runs.every())] == ["01_preprocess", "05_count_things"]


def test_a_notebook_about_drawn_faces_is_left_out_for_photographs(quick_kernel, place):
    source = 'from fer_lib import runs\nrun = runs.start("06_draw", {"width": WIDTH})'
    write_notebook(place / "notebooks", "06_draw", source, parameters="WIDTH: int = 4")
    given = ["report", "--notebooks", "06", "01", "--root", ""]
    assert cli.main([*given, "--source", "photographs"]) == 0
    assert [run.notebook for run in runs.every()] == ["01_preprocess"]
    assert cli.main([*given, "--source", "synthetic"]) == 0
    assert "06_draw" in {run.notebook for run in runs.every()}


def test_a_failure_stops_the_chain_and_the_page_is_written(place, monkeypatch, capsys):
    def run_notebook(notebook, *arguments, **options):
        run = runs.start(notebook, {"store": "toy"})
        reason = "in cell In [3] with ValueError: no faces"
        run.close("failed", error=reason)
        raise execute.NotebookFailed(f"{notebook} failed {reason}", run.path)

    monkeypatch.setattr(execute, "run", run_notebook)
    assert cli.main(["report"]) == 1
    assert [run.notebook for run in runs.every()] == ["01_preprocess"]
    assert "no faces" in (place / "results" / "report" / "index.html").read_text()
    assert "01_preprocess failed" in capsys.readouterr().err


def test_page_only_runs_nothing_and_renews_pages(quick_kernel):
    cli.main(["report"])
    (page, *_) = [run.path / "report.html" for run in runs.every()]
    page.write_text("old")
    assert cli.main(["report", "--page-only"]) == 0
    assert page.read_text() != "old"
    assert len(quick_kernel) == 2


def test_assets_are_listed_and_checked(capsys, monkeypatch):
    assert cli.main(["assets", "list"]) == 0
    shown = capsys.readouterr().out
    for asset in assets.registry().values():
        assert asset.url in shown
        assert asset.licence in shown
    assert cli.main(["assets", "verify"]) == 0
    assert "not downloaded" in capsys.readouterr().out

    def wrong(name):
        raise assets.AssetError("expected other bytes")

    monkeypatch.setattr(assets, "verify", wrong)
    assert cli.main(["assets", "verify"]) == 1
    assert "expected other bytes" in capsys.readouterr().err


def test_an_interruption_is_exit_code_130(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run", interrupt)
    assert cli.main(["run", "05"]) == 130
    assert capsys.readouterr().err == "fer: interrupted\n"


def test_a_real_kernel_fails_with_a_sentence_and_exit_code(place):
    command = "import sys; from fer_lib.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "report", "--source", "bad01"],
        capture_output=True,
        text=True,
        cwd=place,
    )
    assert done.returncode == 1, done.stderr
    assert "01_preprocess failed in cell In [3] with ValueError: no faces" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = runs.every()
    assert isinstance(run, Run)
    assert done.stdout.strip().endswith("index.html")
