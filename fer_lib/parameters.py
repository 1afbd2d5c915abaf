"""Parameters of a notebook: the annotated literals of its tagged cell, and values for them.

The tagged cell is read, never run. ``SIZE: int = 112  # side of a crop`` declares a parameter; the
types are bool, int, float, str, ``list[…]`` of those, and ``… | None``.
"""

from __future__ import annotations

import ast
import difflib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_lib import paths

_PLAIN = ("bool", "int", "float", "str")
_WORDS = {"true": True, "yes": True, "on": True, "1": True}
_WORDS |= {"false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: as in the cell, upper case.
        types: the alternatives of its annotation: ``("int", "None")``, ``("list[str]",)``.
        default: the literal in the cell.
    """

    name: str
    types: tuple[str, ...]
    default: Any

    def check(self, value: Any) -> Any:  # noqa: ANN401 - checked here
        """Give a value as the annotated type; only an int is widened to a float.

        Raises:
            TypeError: the value has another type.
        """
        for kind in self.types:
            if _is(value, kind):
                return value
        for kind in self.types:
            if (widened := _widened(value, kind)) is not None:
                return widened
        raise TypeError(self._expected(value))

    def convert(self, text: str) -> Any:  # noqa: ANN401 - the annotated type
        """Read a value from the command line as the annotated type.

        Args:
            text: ``"false"`` for a bool, ``"1e-4"`` for a float, JSON for a list.

        Raises:
            TypeError: the text is no value of that type.
        """
        for kind in sorted(self.types, key=lambda kind: kind == "str"):
            read, value = _read(text, kind)
            if read:
                return value
        raise TypeError(self._expected(text))

    def _expected(self, value: object) -> str:
        return (
            f"{self.name}: expected {' | '.join(self.types)}, "
            f"got {type(value).__name__} {value!r}; pass a value of that type"
        )


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read what a notebook declares in its cell tagged ``parameters``.

    Args:
        notebook: an ``.ipynb`` file.

    Returns:
        Parameters by name, in the order of the cell; empty where no cell is tagged.

    Raises:
        ValueError: several cells are tagged, or the cell holds anything but annotated literals.
        TypeError: a default has another type than its annotation.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) > 1:
        raise ValueError(f"{notebook.name}: expected one cell tagged parameters, got {len(tagged)}")
    source = "".join(tagged[0]["source"]) if tagged else ""
    declared = [_declared(statement, notebook.name) for statement in ast.parse(source).body]
    return {parameter.name: parameter for parameter in declared}


def notebooks_dir() -> Path:
    """Give the folder of the notebooks: ``FER_NOTEBOOKS`` where set, else ``notebooks``."""
    return Path(os.environ.get("FER_NOTEBOOKS") or paths.root() / "notebooks").resolve()


def find_notebook(name: str) -> Path:
    """Find a notebook by its number or its name.

    Args:
        name: ``"02"``, ``"2"``, ``"02_train_landmark_fusion"``, with or without ``.ipynb``.

    Raises:
        FileNotFoundError: there is no such notebook.
    """
    known = {path.stem: path for path in sorted(notebooks_dir().glob("[0-9][0-9]_*.ipynb"))}
    wanted = Path(name).name.removesuffix(".ipynb")
    number = f"{int(wanted):02d}_" if wanted.isdecimal() else None
    for stem, path in known.items():
        if stem == wanted or (number and stem.startswith(number)):
            return path
    listed = ", ".join(known) or f"none in {notebooks_dir()}"
    raise FileNotFoundError(f"expected a notebook out of {listed}; got {name!r}")


def read_preset(name: str | None) -> dict[str, dict[str, Any]]:
    """Read ``presets/<name>.json``: the parameters of each notebook.

    Args:
        name: the preset; None means the defaults of the notebooks.

    Returns:
        Notebook's name → parameters.

    Raises:
        ValueError: there is no such preset, or it names a notebook that does not exist.
    """
    if name is None:
        return {}
    files = {path.stem: path for path in sorted((notebooks_dir() / "presets").glob("*.json"))}
    if name not in files:
        raise ValueError(f"expected a preset out of {', '.join(files) or 'none'}; got {name!r}")
    preset = json.loads(files[name].read_text(encoding="utf-8"))
    known = [path.stem for path in notebooks_dir().glob("[0-9][0-9]_*.ipynb")]
    for notebook in preset:
        if notebook not in known:
            close = difflib.get_close_matches(notebook, known, n=1)
            raise ValueError(
                f"presets/{name}.json: expected names of notebooks, got {notebook!r}"
                + (f"; did you mean {close[0]}?" if close else "")
            )
    return preset


def settle(
    notebook: str, parameters: Mapping[str, Any] | None = None, preset: str | None = None
) -> tuple[Path, dict[str, Any]]:
    """Find a notebook and give the value of each of its parameters, without running anything.

    Args:
        notebook: number or name.
        parameters: overrides; text is converted to the annotated type.
        preset: name of a preset.

    Returns:
        The notebook's file and its parameters.

    Raises:
        FileNotFoundError, ValueError, TypeError: as ``find_notebook``, ``read_preset`` and
            ``parameters.resolve`` say.
    """
    path = find_notebook(notebook)
    return path, resolve(path, read_preset(preset).get(path.stem, {}), parameters or {})


def resolve(
    notebook: Path, preset: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the value of every parameter: the default, then the preset's, then the override.

    Args:
        notebook: an ``.ipynb`` file.
        preset: typed values, as in a preset's JSON.
        overrides: typed values; text is converted to the annotated type.

    Returns:
        A value for each declared parameter.

    Raises:
        ValueError: a parameter is unknown.
        TypeError: a value has another type than the annotation.
    """
    declared = read_parameters(notebook)
    for name in [*preset, *overrides]:
        if name not in declared:
            raise ValueError(_unknown(name, notebook.stem, list(declared)))
    values = {name: parameter.default for name, parameter in declared.items()}
    values |= {name: declared[name].check(value) for name, value in preset.items()}
    for name, value in overrides.items():
        take = declared[name].convert if isinstance(value, str) else declared[name].check
        values[name] = take(value)
    return values


def _unknown(name: str, notebook: str, declared: list[str]) -> str:
    matches = difflib.get_close_matches(name.upper(), declared, n=3, cutoff=0.5)
    listed = f"did you mean {' or '.join(matches)}?" if matches else f"it has {', '.join(declared)}"
    return f"{notebook} has no parameter {name}; {listed if declared else 'it has none'}"


def _declared(statement: ast.stmt, notebook: str) -> Parameter:
    place = f"{notebook}, parameters cell, line {statement.lineno}"
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as literal):
            types = tuple(_types(statement.annotation, place))
        case _:
            raise ValueError(f"{place}: expected NAME: type = literal, nothing else")
    try:
        default = ast.literal_eval(literal)
    except ValueError as error:
        raise ValueError(f"{place}: expected a literal as the value of {name}") from error
    unchecked = Parameter(name, types, default)
    return Parameter(name, types, unchecked.check(default))


def _types(annotation: ast.expr, place: str) -> list[str]:
    match annotation:
        case ast.Name(id=kind) if kind in _PLAIN:
            return [kind]
        case ast.Constant(value=None):
            return ["None"]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*_types(left, place), *_types(right, place)]
        case ast.Subscript(value=ast.Name(id="list"), slice=ast.Name(id=kind)) if kind in _PLAIN:
            return [f"list[{kind}]"]
    raise ValueError(
        f"{place}: expected bool, int, float, str, list[…] or … | None as the type, "
        f"got {ast.unparse(annotation)}"
    )


def _is(value: object, kind: str) -> bool:
    if kind.startswith("list["):
        return isinstance(value, list) and all(_is(item, kind[5:-1]) for item in value)
    if kind == "float":
        return isinstance(value, float) and math.isfinite(value)
    if kind == "None":
        return value is None
    return type(value).__name__ == kind


def _widened(value: object, kind: str) -> Any:  # noqa: ANN401 - float or list of floats
    if kind == "float" and _is(value, "int"):
        return float(value)
    if kind == "list[float]" and isinstance(value, list):
        items = [item if _is(item, "float") else _widened(item, "float") for item in value]
        return None if None in items else items
    return None


def _read(text: str, kind: str) -> tuple[bool, Any]:
    """Read text as one type: whether it is a value of that type, and the value."""
    word = text.strip().lower()
    if kind == "str":
        return True, text
    if kind == "None":
        return word in {"none", "null"}, None
    if kind == "bool":
        return word in _WORDS, _WORDS.get(word)
    try:
        value = (
            json.loads(text)
            if kind.startswith("list[")
            else {"int": int, "float": float}[kind](text)
        )
    except ValueError:
        return False, None
    widened = _widened(value, kind)
    value = value if widened is None else widened
    return _is(value, kind), value
