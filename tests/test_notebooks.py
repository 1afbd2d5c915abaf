"""Every notebook keeps the contract, and runs from end to end on a small synthetic store."""

import ast
import json
import math
import re
import subprocess
import sys

import nbformat
import pytest

from fer_lib import assets, execute, paths, run_folder
from fer_lib.weights import load_network

NOTEBOOKS = sorted((paths.root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PRESETS = sorted((paths.root() / "notebooks" / "presets").glob("*.json"))
FORBIDDEN = (r"sys\.path", r"^\s*[!%]", r"(?<![\w.])/(?:home|root|tmp|work|Users)/", r"https?://",
             r"os\.environ", r"\.\./", r"torch\.load\(")
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook):
    return [cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", [])]


def parameters(path):
    (cell,) = tagged(read(path))
    return {node.target.id: node for node in ast.parse(cell.source).body}


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] >= ["01", "02", "04", "06", "07", "09", "11"]


@every_notebook
def test_it_is_valid_and_holds_no_output(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"


@every_notebook
def test_it_begins_with_a_question_and_ends_with_what_was_learned(path):
    cells = read(path).cells
    first, last = cells[0], cells[-1]
    assert first.cell_type == last.cell_type == "markdown"
    assert first.source.startswith(f"# {path.stem[:2]} ")
    for word in ("**Question.**", "**Reads.**", "**Writes.**", "**Time.**"):
        assert word in first.source, word
    assert last.source.startswith("## What we learned")
    assert re.search(r"\d", last.source), "what we learned has numbers"


@every_notebook
def test_its_parameters_are_annotated_literals_with_a_comment(path):
    (cell,) = tagged(read(path))
    for node in ast.parse(cell.source).body:
        assert isinstance(node, ast.AnnAssign), ast.unparse(node)
        ast.literal_eval(node.value)
        assert node.target.id.isupper()
    for line in cell.source.splitlines():
        assert "#" in line, f"say what it is: {line}"


@every_notebook
def test_it_calls_and_does_not_carry_code(path):
    cells = code(read(path))
    lengths = [len(cell.source.splitlines()) for cell in cells]
    assert max(lengths) <= 30
    assert sorted(lengths)[len(lengths) // 2] <= 8
    assert sum(lengths) <= 180
    tree = ast.parse("\n".join(cell.source for cell in cells))
    assert sum(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree)) <= 1
    for pattern in FORBIDDEN:
        for cell in cells:
            assert not re.search(pattern, cell.source, re.MULTILINE), pattern


@every_notebook
def test_imports_stand_in_the_first_code_cell(path):
    first, *others = code(read(path))
    assert "import" in first.source
    for cell in others:
        assert not re.search(r"^(from|import) ", cell.source, re.MULTILINE)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_names_notebooks_and_parameters_that_exist(path):
    known = {notebook.stem: parameters(notebook) for notebook in NOTEBOOKS}
    for name, values in json.loads(path.read_text()).items():
        assert name in known
        assert set(values) <= set(known[name]), name


def test_quick_and_evidence_presets_exist():
    assert {path.stem for path in PRESETS} >= {"quick", "evidence", "lab", "paper"}


SMALL = {
    "01_preprocess": {"SUBJECTS": 6, "GROUPS": 1, "SIZE": 64, "CHECK_FACES": 2, "WORKERS": 1},
    "02_train_landmark_fusion": {
        "IMAGE_SIZE": 48, "TRUNK_WIDTH": 8, "HEATMAP_SIZE": 144, "LANDMARK_WIDTH": 2,
        "RGB_EPOCHS": 1, "FUSION_EPOCHS": 1, "BATCH_SIZE": 16, "FOLDS": 2,
        "RIVALS": ["out of fold"], "NOISE_PCT_IOD": [4.5],
    },
    "04_train_hsemotion": {
        "IMAGE_SIZE": 32, "IDENTITY_EPOCHS": 1, "HEAD_EPOCHS": 1, "ALL_EPOCHS": 1, "BATCH_SIZE": 16,
    },
    "06_fit_face_encoder": {
        "WIDTH": 4, "IMAGE_SIZE": 32, "HIDDEN": 32, "EPOCHS": 1, "BATCH_SIZE": 8,
    },
    "07_train_diffusion_editor": {
        "IMAGE_SIZE": 32, "WIDTHS": [8, 8], "CODE_WIDTH": 4, "CODE_LENGTH": 8, "PRIOR_STEPS": 4,
        "SHAPE_STEPS": 2, "CHECKPOINT_STEPS": 2, "BATCH_SIZE": 4, "EMA": 0.5, "TRAIN_FACES": 16,
        "READ_FACES": 8, "SAMPLING_STEPS": 2, "EDIT_STEPS": 1, "TEST_PAIRS": 4, "NOISE_SEEDS": 2,
        "ENCODER_EPOCHS": 1,
    },
    "09_evaluate_hsemotion": {"PEOPLE": 2, "LPIPS": ["squeeze"]},
    "11_confusion_matrices": {},
    "90_benchmarks": {
        "IMAGES": 2, "ROUNDS": 1, "FACES": 4, "FACE_PX": 192, "WIDTHS": [8, 2],
        "TRAINING_ROUNDS": 1, "RENDERED": 2, "JUDGED": 3, "EDITS": 2,
    },
}


NEED_ASSETS = {"90_benchmarks"}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Every notebook run once through papermill, one after another, on a few small faces."""
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_DATA", str(folder / "data"))
        patch.setenv("FER_RESULTS", str(folder / "results"))
        yield {
            path.stem: run_folder.Run(execute.run(path.stem, SMALL[path.stem]))
            for path in NOTEBOOKS
            if path.stem not in NEED_ASSETS or all(map(assets.verify, ("face_landmarker", "ict")))
        }


@pytest.mark.smoke
@every_notebook
def test_it_runs_from_top_to_bottom(smoke, path):
    if path.stem not in smoke:
        pytest.skip("mesh bundle or ICT-FaceKit are neither under data/raw nor under FER_SHARED")
    run = smoke[path.stem]
    assert run.config["status"] == "finished"
    assert run.metrics
    for name, entry in run.metrics.items():
        assert math.isfinite(entry["value"] if isinstance(entry, dict) else entry), name
    assert list((run.path / "figures").glob("*.png"))
    assert list((run.path / "tables").glob("*.parquet"))
    assert (run.path / "executed.ipynb").is_file()


@pytest.mark.smoke
def test_predictions_keep_every_test_sample_in_both_protocols(smoke):
    predictions = smoke["02_train_landmark_fusion"].table("predictions")
    counts = predictions.groupby(["run", "protocol"])["sample_id"].nunique()
    assert counts.nunique() == 1
    assert (counts.index.get_level_values("protocol") == "paper").sum() == 3
    assert len(counts) == 3 + 4 + 3 + 3 + 1
    lineage = load_network(smoke["02_train_landmark_fusion"].checkpoint_path("rgb"))[1]["lineage"]
    assert lineage["subjects"]
    assert not set(lineage["subjects"]) & {name.rsplit("-g", 1)[0] for name in
                                           predictions["sample_id"]}


@pytest.mark.smoke
def test_a_later_notebook_reads_what_an_earlier_one_wrote(smoke):
    inputs = smoke["11_confusion_matrices"].config["inputs"]
    assert smoke["02_train_landmark_fusion"].run_id in str(inputs["predictions"])
    assert smoke["02_train_landmark_fusion"].run_id in str(
        smoke["09_evaluate_hsemotion"].config["inputs"]["trained"])


@pytest.mark.smoke
def test_a_finished_identical_run_is_reused(smoke):
    again = execute.run("01_preprocess", SMALL["01_preprocess"])
    assert again == smoke["01_preprocess"].path


@pytest.mark.smoke
def test_plain_papermill_runs_a_notebook_from_any_folder(smoke, tmp_path):
    (path,) = (path for path in NOTEBOOKS if path.stem.startswith("11_"))
    command = [sys.executable, "-m", "papermill", path, "out.ipynb", "-p", "SEED", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.ipynb").is_file()


def test_the_readme_lists_every_notebook():
    text = (paths.root() / "README.md").read_text()
    for path in NOTEBOOKS:
        assert path.stem in text
