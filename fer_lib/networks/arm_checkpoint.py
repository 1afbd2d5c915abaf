"""The released ARM checkpoint as an `RgbArm`: strictly, by name, and with classes by name.

Source: Shi & Zhu 2021, files ``epoch{N}_acc{A}.pth``: a dict with ``iter``, ``model_state_dict``
and ``optimizer_state_dict``; trained on RAF-DB at 224 px.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from fer_lib.labels import EMOTIONS, emotion_order, permutation
from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import read_torch_pickle, state_dict_of

ARM_EMOTIONS: tuple[str, ...] = tuple(name for name in EMOTIONS if name in emotion_order("rafdb"))
"""Class names of a loaded checkpoint, in the order of its logits."""

_RELEASED_MODEL = "model_state_dict"
_RELEASED_PREFIXES = {
    "trunk.conv1.": "features.0.",
    "trunk.bn1.": "features.1.",
    **{f"trunk.layer{number}.": f"features.{number + 3}." for number in range(1, 5)},
}
# The released module keeps no mean over batches: see calibrate_affinity.
_NOT_RELEASED = ("arm.affinity_mean", "arm.affinity_batches")


def load_arm_checkpoint(path: Path, affinity: SharingAffinity = SharingAffinity.RUNNING) -> RgbArm:
    """Read a released checkpoint; nothing of it is executed, and every tensor has its place.

    The released network knows no running affinity: with ``RUNNING`` it shares nothing (as with
    ``NONE``) until ``calibrate_affinity`` has seen the training images.

    Args:
        path: the ``.pth`` file.
        affinity: what ARM shares between samples; ``BATCH`` is what the release does.

    Returns:
        The published network (224 px) in evaluation mode, on the CPU. Its logits are in the order
        of ``ARM_EMOTIONS``, not in that of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no released checkpoint; the message lists the names that are
            missing, not expected, or of another shape.
    """
    content = read_torch_pickle(path)
    if not isinstance(content, dict) or _RELEASED_MODEL not in content:
        raise ValueError(
            f"expected a released ARM checkpoint with {_RELEASED_MODEL}, got {path.name} without it"
        )
    try:
        released = state_dict_of(content[_RELEASED_MODEL])
    except ValueError as error:
        raise ValueError(f"cannot use {_RELEASED_MODEL} of {path.name}: {error}") from error
    network = RgbArm(len(ARM_EMOTIONS), affinity=affinity)
    check_state(released, _released_state(network), path.name, "the released ARM")
    network.load_state_dict(_renamed(released, network))
    return network.eval()


def calibrate_affinity(network: RgbArm | LandmarkArm, batches: Iterable[Tensor]) -> int:
    """Give a network the running affinity that released checkpoints lack.

    It becomes the exact mean of the own ARM maps of all images, whatever the batches' sizes, with
    everything else as in evaluation. Give it *training* images: from any others it would leak.

    Args:
        network: is changed in place; its mode stays as it is.
        batches: the inputs of ``forward``, (B, C, S, S) each, on the network's device.

    Returns:
        Number of images seen.

    Raises:
        ValueError: no image came, or the maps are not finite.
    """
    total, images, count = 0.0, 0, 0
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        with torch.no_grad(), affinity_policy(network, SharingAffinity.NONE):
            for batch in batches:
                total = total + network(batch).feature.cpu().double().sum(dim=0)
                images, count = images + len(batch), count + 1
    finally:
        for part, training in modes.items():
            part.training = training
    _set_affinity(network, total, images, count)
    return images


def _set_affinity(
    network: RgbArm | LandmarkArm, total: Tensor | float, images: int, batches: int
) -> None:
    if not images:
        raise ValueError("expected training images to calibrate the affinity with, got none")
    mean = total / images
    if not mean.isfinite().all():
        raise ValueError("expected finite ARM maps, got others; check the images and the weights")
    arm = network.arm
    arm.affinity_mean.copy_(mean.reshape(arm.affinity_mean.shape))
    # Training that goes on from here weighs its first batches as if it had seen these.
    arm.affinity_batches.fill_(batches)


def _released_name(name: str) -> str:
    for own, released in _RELEASED_PREFIXES.items():
        if name.startswith(own):
            return released + name.removeprefix(own)
    return name


def _released_state(network: RgbArm) -> dict[str, Tensor]:
    state = network.state_dict()
    return {_released_name(n): tensor for n, tensor in state.items() if n not in _NOT_RELEASED}


def _renamed(released: dict[str, Tensor], network: RgbArm) -> dict[str, Tensor]:
    order = permutation(emotion_order("rafdb"), ARM_EMOTIONS)
    own = network.state_dict()
    state = {n: own[n] if n in _NOT_RELEASED else released[_released_name(n)] for n in own}
    return state | {name: state[name][order] for name in ("fc.weight", "fc.bias")}
