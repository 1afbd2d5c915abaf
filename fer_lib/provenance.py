"""Where a result comes from: hashes of source, inputs and settings; packages; git commit."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from fer_lib import paths
from fer_lib.assets import file_sha256

_PACKAGES = (
    "accelerate",
    "av",
    "facenet-pytorch",
    "hsemotion",
    "lpips",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "safetensors",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
# These start notebooks or show what notebooks wrote: a change here changes no result.
_AROUND_NOTEBOOKS = frozenset({"cli", "execute", "pages", "parameters", "report", "report_index"})


def json_hash(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Give the SHA-256 of a JSON value as hex; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def source_hash(notebook: Path | None) -> str:
    """Give one hash over the library's source and one notebook's cells.

    Outputs, execution counts and metadata of the notebook do not count, nor do the modules that
    only start notebooks or show what they wrote.

    Args:
        notebook: an ``.ipynb`` file; None, or a file that is not there, leaves the library alone.

    Returns:
        SHA-256 as hex.
    """
    library = Path(__file__).resolve().parent
    files = sorted(p for p in library.rglob("*.py") if p.stem not in _AROUND_NOTEBOOKS)
    parts = [[path.relative_to(library).as_posix(), file_sha256(path)] for path in files]
    if notebook is not None and notebook.is_file():
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        parts += [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return json_hash(parts)


def input_hash(path: Path) -> str:
    """Give a hash of an input that changes whenever the input does.

    Args:
        path: a store (the hash of its card is taken), a file (SHA-256 of its bytes), or another
            folder (names, sizes and times of its files, as raw data sets are too large to read).

    Returns:
        SHA-256 as hex.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise FileNotFoundError(f"expected an input at {path}, found none; make it first")
    card = path / "card.json"
    if card.is_file():
        return json.loads(card.read_text(encoding="utf-8")).get("hash") or file_sha256(card)
    stats = ((p.relative_to(path).as_posix(), p.stat()) for p in sorted(path.rglob("*")))
    return json_hash([[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats])


def package_versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Give the commit of the checkout, with ``+changes`` when files differ; None without git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=paths.root(),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
