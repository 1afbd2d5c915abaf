"""The house holds: imports point down, third parties stay behind their fences, doors are few."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "fer_lib"
LAYERS = (
    ("labels", "config", "paths", "assets", "asset_entries", "weights", "tables",
     "published", "progress", "parameters", "measurements", "provenance", "torch_files",
     "unpickler"),
    ("media", "faces"),
    ("datasets",),
    ("networks",),
    ("training", "editing"),
    ("evaluation",),
    ("plots", "runs", "run_folder", "pages"),
    ("execute", "report", "report_index", "predict", "explore", "study"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FENCES = {
    "matplotlib": ("plots",),
    "seaborn": ("plots",),
    "papermill": ("execute",),
    "dask": ("execute",),
    "nbconvert": ("report",),
    "ipywidgets": ("explore", "study"),
    "diffusers": ("editing", "networks"),
    "facenet_pytorch": ("faces", "networks"),
    "cv2": ("faces",),
    "av": ("media",),
    "hsemotion": ("evaluation",),
    "lpips": ("evaluation",),
    "pytorch_metric_learning": ("training",),
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc"}


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def imports(source: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("relative import")
    return names


def violations(room: str, source: str) -> list[str]:
    found = []
    for name in imports(source):
        parts = name.split(".")
        if name == "relative import":
            found.append("relative import")
        elif parts[0] == "fer_lib" and len(parts) > 1 and parts[1] in LEVEL:
            if parts[1] != room and LEVEL[parts[1]] >= LEVEL[room] and not sideways(room, parts[1]):
                found.append(f"{room} imports {parts[1]}")
        elif room not in FENCES.get(parts[0], (room,)):
            found.append(f"{room} imports {parts[0]}")
    return found


def sideways(room: str, other: str) -> bool:
    """Modules of one layer may meet when both are single files (runs and plots, say)."""
    return LEVEL[room] == LEVEL[other] and not any((ROOT / name).is_dir() for name in (room, other))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_has_a_layer_and_imports_only_from_below(path):
    room = room_of(path)
    assert room in LEVEL, f"{room} has no layer: add it to the table"
    assert not violations(room, path.read_text())


def test_a_wrong_import_is_caught():
    assert violations("datasets", "from fer_lib.training.loop import fit")
    assert violations("media", "from fer_lib.faces import align")
    assert violations("datasets", "import matplotlib.pyplot as plt")
    assert violations("cli", "import papermill")
    assert not violations("datasets", "from fer_lib.faces.align import warp")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_can_be_read_in_one_sitting(path):
    assert path.stem not in FORBIDDEN_NAMES
    lines = len(path.read_text().splitlines())
    assert lines <= 350, f"{lines} lines: two rooms share a door"
    assert ast.get_docstring(ast.parse(path.read_text())), "a module says what it is for"


def test_modules_of_one_package_have_no_import_cycle():
    graph = {}
    for path in modules():
        name = "fer_lib." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[name.removesuffix(".__init__")] = imports(path.read_text())
    targets = {m: {n for n in graph if any(i == n or i.startswith(n + ".") for i in names)} - {m}
               for m, names in graph.items()}
    packages = {m for m in graph if any(other.startswith(m + ".") for other in graph)}
    done, active = set(), []

    def visit(module):
        assert module not in active, f"cycle: {[*active, module]}"
        if module in done or module in packages:
            return
        active.append(module)
        for target in sorted(targets[module]):
            visit(target)
        done.add(active.pop())

    for module in sorted(graph):
        visit(module)


STATE_PROBE = """
import os, random, warnings
import numpy as np, torch
def state():
    return (torch.initial_seed(), torch.get_rng_state().sum().item(), torch.get_num_threads(),
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark, torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(), random.getstate(),
            np.random.get_state()[1].tobytes(), str(np.geterr()))
def outside():
    return (dict(os.environ), list(warnings.filters), os.getcwd())
before, around = state(), outside()
import importlib, pkgutil, fer_lib
third = ("timm torchvision diffusers.models.unets.unet_2d accelerate pandas scipy.stats seaborn "
         "papermill nbconvert facenet_pytorch safetensors.torch tqdm.auto PIL.Image "
         "pyarrow").split()
for name in third:
    importlib.import_module(name)
around = outside()
for module in pkgutil.walk_packages(fer_lib.__path__, "fer_lib."):
    importlib.import_module(module.name)
assert state() == before, "random or torch state changed"
assert outside() == around, "environment, warnings or folder changed"
"""


def test_importing_everything_changes_no_global_state():
    done = subprocess.run([sys.executable, "-c", STATE_PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
