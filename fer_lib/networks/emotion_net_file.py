"""Weights of HSEmotion: the published files, whole modules pickled under old timm, read as data.

A published file is never unpickled by Python: its tensors are taken out and put into a fresh
network, strictly, and kept as safetensors from then on.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import (
    is_part_of_a_network,
    load_network,
    read_torch_pickle,
    save_network,
    state_dict_of,
    state_hash,
)  # fmt: skip

_HEADS = ("classifier.0.", "classifier.")


def read_published(path: Path, network: EmotionNet) -> EmotionNet:
    """Fill a network with a published file, strictly, and without running anything of the file.

    Args:
        path: a whole module or a state dict of timm's EfficientNet, saved under any timm; its
            head is one linear layer, alone or in a ``Sequential``.
        network: of the same backbone and head; is changed in place.

    Returns:
        The network, in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file wants to import something that no network is made of, is no file of
            torch, or its tensors do not fit the network.
    """
    state = _own_names(state_dict_of(read_torch_pickle(path, permits=is_part_of_a_network)))
    check_state(state, network.state_dict(), path.name, "the network")
    network.load_state_dict(state)
    return network.eval()


def save_emotion_net(path: Path, network: EmotionNet) -> str:
    """Write a network as safetensors with its config; gives the SHA-256 of its weights."""
    state = network.state_dict()
    digest = state_hash(state)
    save_network(path, state, {"architecture": network.config, "weights_sha256": digest})
    return digest


def load_emotion_net(path: Path) -> tuple[EmotionNet, str]:
    """Read an `EmotionNet` from safetensors, strictly.

    Args:
        path: written by ``save_emotion_net``, or as any recogniser of this project.

    Returns:
        The network in evaluation mode, and the SHA-256 of its weights as it was recorded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds another network, or its tensors do not fit its config.
    """
    state, config = load_network(path)
    options = dict(config.get("architecture", {}))
    if options.pop("network", None) != "emotion_net" or "weights_sha256" not in config:
        raise ValueError(f"expected an emotion_net with its hash in {path.name}, found another")
    network = EmotionNet(**options)
    check_state(state, network.state_dict(), path.name, "the network")
    network.load_state_dict(state)
    return network.eval(), config["weights_sha256"]


def _own_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        head = next((prefix for prefix in _HEADS if name.startswith(prefix)), None)
        own = f"classifier.{name.removeprefix(head)}" if head else f"trunk.{name}"
        renamed[own] = tensor
    return renamed
