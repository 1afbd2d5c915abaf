"""Checkpoints that run no code: own ones explain themselves, foreign ones are read as data.

An own checkpoint is a safetensors file with a JSON config inside. A foreign one is a pickle of
torch, of which only tensors, containers, scalars and inert records come out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fer_lib.torch_files import read_torch_file
from fer_lib.unpickler import Global, Permits, Record

_CONFIG_KEY = "config"
_MAX_DEPTH = 100
_MAX_PARTS = 100_000
_PERMITTED_MODULES = ("timm.", "torch.nn.modules.")
_PERMITTED = {
    "collections": ("OrderedDict",),
    "builtins": ("set",),
    "__builtin__": ("set",),
    "torch": ("FloatStorage", "HalfStorage", "LongStorage", "Size"),
    "torch._utils": ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"),
}


def save_network(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Path:
    """Write a network's tensors and its config into one safetensors file.

    Args:
        path: file to write; its folder is made.
        state: the state dict.
        config: JSON-serialisable description (architecture, class names, lineage, …).

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    beside = path.with_name(path.name + ".part")
    save_file(tensors, beside, metadata={_CONFIG_KEY: json.dumps(dict(config), sort_keys=True)})
    beside.replace(path)
    return path


def load_network(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_network`` wrote.

    Args:
        path: a safetensors file of this project.

    Returns:
        The state dict on the CPU, and the config.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no safetensors file, or carries no config.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found none; train it first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"expected a safetensors file, got {path.name}: {error}") from error
    return state, _config_of(metadata, path.name)


def _config_of(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    if _CONFIG_KEY not in metadata:
        raise ValueError(f"expected a checkpoint with its config inside, {name} has none")
    try:
        config = json.loads(metadata[_CONFIG_KEY])
    except ValueError as error:
        raise ValueError(f"expected a config in JSON in {name}, got none: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"expected a config of named values in {name}, got another JSON")
    return config


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of a state dict: names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_torch_pickle(path: Path, permits: Permits | None = None) -> object:
    """Read a foreign checkpoint (``.pth``, ``.pt``) without running anything of it.

    Both formats of ``torch.save`` are read, state dicts as well as whole pickled modules, whatever
    library they came from and whether or not it is installed.

    Args:
        path: a file that ``torch.save`` wrote.
        permits: says whether the file may name a class or function at all; the first one that may
            not refuses the file. None lets every name through, inert.

    Returns:
        Nested dicts (ordered dicts too), lists, tuples and sets of tensors (on the CPU, detached),
        scalars and strings. What the file wanted to import is an inert `unpickler.Global`, what it
        wanted to call an inert `unpickler.Record`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such file, is cut short, holds what is not read here, or names
            what is not permitted.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found none; download it first")
    try:
        return read_torch_file(path, permits)
    except ValueError as error:
        raise ValueError(f"expected a file of torch.save, got {path.name}: {error}") from error


def is_part_of_a_network(name: Global) -> bool:
    """Say whether the file of a network of torch or timm may name something: for ``permits``."""
    known = name.name in _PERMITTED.get(name.module, ())
    return known or name.module.startswith(_PERMITTED_MODULES)


def state_dict_of(value: object) -> dict[str, Tensor]:
    """Give the state dict of a part of what ``read_torch_pickle`` read.

    Args:
        value: a state dict, or the record of a whole pickled module, from which parameters and
            persistent buffers are collected in torch's order.

    Returns:
        Names and tensors.

    Raises:
        ValueError: neither of the two; the message names what is in it instead.
    """
    if isinstance(value, Record):
        value = dict(_tensors_of(value))
    if not isinstance(value, dict):
        raise ValueError(f"expected a state dict or a module, got {type(value).__name__}")
    strange = [
        f"{name!r:.60}"
        for name, part in value.items()
        if not (isinstance(name, str) and isinstance(part, Tensor))
    ]
    if strange or not value:
        found = f"other things under {', '.join(strange[:5])}" if strange else "nothing"
        raise ValueError(f"expected a state dict or a module, got {found}")
    return value


def _tensors_of(module: Record) -> Iterator[tuple[str, object]]:
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, part = waiting.pop()
        tensors, children = _parts_of(part)
        seen += 1 + len(tensors) + len(children)
        if seen > _MAX_PARTS or prefix.count(".") > _MAX_DEPTH:
            raise ValueError("expected a module, got one that contains itself or has no end")
        yield from ((prefix + name, tensor) for name, tensor in tensors.items())
        # The last one goes first: what waits is a stack.
        waiting += [(f"{prefix}{name}.", child) for name, child in reversed(children.items())]


def _parts_of(module: object) -> tuple[dict[str, object], dict[str, object]]:
    state = module.state if isinstance(module, Record) else None
    groups = ("_parameters", "_buffers", "_modules")
    if not isinstance(state, dict) or not all(isinstance(state.get(g), dict) for g in groups):
        raise ValueError(f"expected a module of torch, got {module!r:.80}")
    parameters, buffers, modules = (
        {str(name): part for name, part in state[group].items() if part is not None}
        for group in groups
    )
    passing = state.get("_non_persistent_buffers_set")
    passing = passing if isinstance(passing, set) else ()
    kept = {name: buffer for name, buffer in buffers.items() if name not in passing}
    return parameters | kept, modules
