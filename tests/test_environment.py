"""One lock for pip and conda, and it holds what is installed."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def lock() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    entries = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {entry.name.lower().replace("_", "-"): entry for entry in entries}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_line_of_the_lock_is_one_exact_version():
    for entry in lock().values():
        assert re.fullmatch(r"==[^*]+", str(entry.specifier)), str(entry)
        assert entry.url is None


def test_linux_only_wheels_carry_a_marker():
    for name, entry in lock().items():
        if re.match(r"nvidia-|triton|cuda-", name):
            assert entry.marker is not None and not entry.marker.evaluate(
                {"sys_platform": "darwin"})


def test_conda_installs_the_same_lock_and_the_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip_lines = next(item for item in environment["dependencies"] if isinstance(item, dict))["pip"]
    assert pip_lines == ["-r requirements.txt", "-e ."]
    python = next(str(item) for item in environment["dependencies"] if "python" in str(item))
    assert python.split("=")[1] in {"3.11", "3.12", "3.13"}


@pytest.mark.parametrize("group", ["base", "notebooks", "test"])
def test_the_lock_satisfies_every_lower_bound(group):
    wanted = project()["dependencies"] if group == "base" else (
        project()["optional-dependencies"][group])
    locked = lock()
    for line in wanted:
        requirement = Requirement(line)
        version = str(locked[requirement.name.lower()].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), line


def test_lower_bounds_admit_the_gpu_machine():
    bounds = {Requirement(line).name: Requirement(line).specifier
              for line in project()["dependencies"]}
    assert bounds["torch"].contains("2.11.0")
    assert "3.12" in Requirement(f"python{project()['requires-python']}").specifier


def test_what_is_installed_is_what_is_locked():
    installed = {dist.metadata["Name"].lower().replace("_", "-"): dist.version
                 for dist in metadata.distributions()}
    for name, entry in lock().items():
        if entry.marker is None or entry.marker.evaluate():
            assert entry.specifier.contains(installed.get(name, "0"), prereleases=True), name
    assert "opencv-python" not in installed


def test_no_requirement_is_broken():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
