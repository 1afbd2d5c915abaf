"""Checkpoints that explain themselves and run no code: safetensors with a JSON config inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_CONFIG_KEY = "config"


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
    if _CONFIG_KEY not in metadata:
        raise ValueError(f"expected a checkpoint with its config inside, {path.name} has none")
    return state, json.loads(metadata[_CONFIG_KEY])


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 of a state dict: names, types, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
