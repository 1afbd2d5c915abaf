"""Rig editors on disk: weights, sizes, schedule and lineage in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from fer_lib.editing.rig import RigEditor
from fer_lib.editing.schedule import Schedule
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.denoiser import Denoiser
from fer_lib.networks.global_code import GlobalCode
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import load_network, save_network, state_hash

_KEYS = {"rig_editor", "about", "lineage", "weights_sha256"}


class SavedRig(NamedTuple):
    """A rig editor read from disk.

    Attributes:
        editor: in evaluation mode, on the CPU.
        about: what was said of it when it was saved: the head of its buffers, its stage, ….
        lineage: what it has been in touch with.
        recorded_sha256: hash of its weights as written when it was saved.
    """

    editor: RigEditor
    about: dict[str, Any]
    lineage: Lineage
    recorded_sha256: str


def make_rig(config: Mapping[str, Any]) -> RigEditor:
    """Make a fresh rig editor.

    Args:
        config: ``denoiser``, ``code`` and ``schedule``, the arguments of each by name.

    Raises:
        ValueError: the code's length is not what the denoiser reads, or sizes are refused.
    """
    denoiser, code = Denoiser(config["denoiser"]), GlobalCode(**config["code"])
    wanted = {"length": denoiser.spec.code_length, "size": denoiser.spec.size}
    if wanted.items() - code.config.items():
        raise ValueError(f"expected a code of {wanted} for this denoiser, got {code.config}")
    return RigEditor(denoiser, code, Schedule(**config["schedule"]))


def rig_config(editor: RigEditor) -> dict[str, Any]:
    """Give everything from which ``make_rig`` makes an editor of the same sizes again."""
    return {
        "denoiser": editor.denoiser.config,
        "code": editor.code.config,
        "schedule": asdict(editor.schedule),
    }


def save_rig(
    path: Path, editor: RigEditor, lineage: Lineage, about: Mapping[str, Any] | None = None
) -> str:
    """Write a rig editor with what is needed to use it honestly.

    Args:
        path: the safetensors file to write.
        editor: the editor, as a rule with its averaged weights.
        lineage: what it has been in touch with: stores, people, and the encoders whose codes it
            learned from or that guided it.
        about: plain values that its users must know, such as the head of its buffers.

    Returns:
        SHA-256 of its weights.
    """
    state = editor.state_dict()
    digest = state_hash(state)
    config = {
        "rig_editor": rig_config(editor),
        "about": dict(about or {}),
        "lineage": lineage.as_json(),
        "weights_sha256": digest,
    }
    save_network(path, state, config)
    return digest


def load_rig(path: Path) -> SavedRig:
    """Read what ``save_rig`` wrote, strictly: every tensor has its place and its shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no rig editor's, or its tensors do not fit its config.
    """
    state, config = load_network(path)
    if missing := _KEYS - set(config):
        raise ValueError(
            f"expected a rig editor in {path.name}, its config lacks {sorted(missing)}"
        )
    try:
        editor = make_rig(config["rig_editor"])
    except (TypeError, KeyError) as error:
        raise ValueError(f"expected a rig editor's config in {path.name}, got {error!r}") from error
    check_state(state, editor.state_dict(), path.name, "the rig editor")
    if state_hash(state) != config["weights_sha256"]:
        raise ValueError(f"expected the weights that were saved in {path.name}, got others")
    editor.load_state_dict(state)
    lineage = Lineage.from_json(config["lineage"])
    return SavedRig(editor.eval(), config["about"], lineage, config["weights_sha256"])
