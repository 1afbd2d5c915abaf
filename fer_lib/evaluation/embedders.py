"""Embedders by name: the known identity networks, and those that this project trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fer_lib import assets, paths
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.identity import Embedder, EmbedderSpec
from fer_lib.faces.align import align_faces, seed_affine, usable_points
from fer_lib.faces.warp import warp
from fer_lib.networks.checkpoints import Lineage, load_recogniser
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.identity import IDENTITY_NETS, load_identity_net
from fer_lib.weights import state_hash

OWN = "own embedder"
"""The one that notebook 04 trains."""
_NONE: Mapping[str, Path] = MappingProxyType({})


def find_embedder(
    name: str, device: torch.device | str = "cpu", *, trained: Mapping[str, Path] = _NONE
) -> Embedder | Absent:
    """Give an embedder, or say why it cannot be had here; nothing is downloaded.

    Args:
        name: key in ``IDENTITY_NETS``, or ``OWN``. The weights are those of the registry; a network
            that has none there is read from ``data/raw/<name>.pt``.
        device: where it answers.
        trained: the checkpoint of ``OWN``, if there is one; other names are not looked at.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in {*IDENTITY_NETS, OWN}:
        known = ", ".join([*IDENTITY_NETS, OWN])
        raise ValueError(f"expected an embedder out of {known}, got {name!r}")
    if name == OWN and OWN not in trained:
        return Absent(OWN, "no finished run of notebook 04 has one: run it first (fer run 04)")
    try:
        if name == OWN:
            return load_own_embedder(trained[OWN], device)
        return load_embedder(name, _weights_file(name), device)
    except (assets.AssetError, FileNotFoundError, ValueError) as error:
        return Absent(name, str(error))


def load_embedder(name: str, path: Path, device: torch.device | str = "cpu") -> Embedder:
    """Make an embedder of a known identity network.

    Args:
        name: key in ``IDENTITY_NETS``.
        path: its weights.
        device: where it answers.

    Returns:
        The embedder; not yet known to be valid, see `identity_scores.measure_identity`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not fill the network exactly.
    """
    return make_embedder(name, load_identity_net(name, path), device)


def make_embedder(name: str, network: nn.Module, device: torch.device | str = "cpu") -> Embedder:
    """Make an embedder of an identity network with whatever weights it has.

    Args:
        name: key in ``IDENTITY_NETS``.
        network: of that architecture.
        device: where it answers.
    """
    net = IDENTITY_NETS[name]
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (net.mean, net.std)
    )
    spec = EmbedderSpec(
        name, "five points", state_hash(network.state_dict()), net.licence, Lineage()
    )
    align = partial(align_faces, template=net.template)
    return Embedder(spec, network, lambda crops: network((crops - mean) / std), align, device)


def load_own_embedder(path: Path, device: torch.device | str = "cpu") -> Embedder:
    """Make an embedder of an `EmotionNet` that this project taught people (notebook 04).

    It sees the seed's tight crop, as in training.

    Args:
        path: its checkpoint, which names no emotions.
        device: where it answers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds another network, or one that was taught emotions.
    """
    found = load_recogniser(path)
    if not isinstance(found.network, EmotionNet) or found.emotions:
        raise ValueError(
            f"expected an emotion_net without emotions in {path.name}, found another; name the "
            "identity embedder's checkpoint"
        )
    spec = EmbedderSpec(
        OWN, "tight", found.recorded_sha256, "that of its training data", found.lineage
    )
    align = partial(_tight_crops, size=found.network.config["image_size"])
    return Embedder(spec, found.network, found.network.feature, align, device)


def _weights_file(name: str) -> Path:
    if name not in assets.registry():
        return paths.data_dir() / "raw" / f"{name}.pt"
    return assets.require(name)


def _tight_crops(images: Tensor, five: Tensor, size: int) -> tuple[Tensor, Tensor]:
    matrices, _ = seed_affine(five, size)
    return warp(images, matrices, size), usable_points(five)
