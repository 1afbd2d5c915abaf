"""Judges from small, freely licensed expression networks of seven emotions.

They show whether a measurement points in the right direction, with weights that anybody may have.
They are weak, and no evidence of their own: mini-Xception takes three of four neutral press
photographs for something else.

Each cuts faces by its own square. The two squares were chosen once, out of 17 and 11 (side, drop),
by accuracy on 380 photographs of facial_expressions' training split; no other data had a say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_lib import assets
from fer_lib.evaluation.judge_spec import Answers, JudgeSpec, UnavailableError
from fer_lib.evaluation.judges import Judge
from fer_lib.labels import emotion_order
from fer_lib.networks import faceapi_net, mini_xception
from fer_lib.networks.checkpoints import Lineage
from fer_lib.weights import state_hash

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class SmallNet:
    """What one published network is and wants.

    Attributes:
        title: as it appears in tables.
        assets: its files in the registry; the first is the weights, others lie beside it.
        image_size: side of its input in px.
        crop: name of its rule in ``crop_rules.CUTS``.
        source: of its class order in ``labels``.
        load: reads its files.
        prepare: turns (B, 3, S, S) RGB in [0, 1] into what the network takes.
    """

    title: str
    assets: tuple[str, ...]
    image_size: int
    crop: str
    source: str
    load: Callable[..., nn.Module]
    prepare: Callable[[Tensor], Tensor]


def load_small_judge(
    name: str, path: Path | None = None, device: torch.device | str = "cpu"
) -> Judge:
    """Make a judge of a small network; nothing is downloaded.

    Args:
        name: one of ``SMALL_NETS``.
        path: its weights, other files beside them; None takes the registered ones.
        device: where it answers.

    Raises:
        UnavailableError: a file is not here; the message says what to do.
        ValueError: the name is unknown, or the files are not the network's.
    """
    if name not in SMALL_NETS:
        raise ValueError(f"expected a small judge out of {sorted(SMALL_NETS)}, got {name!r}")
    small = SMALL_NETS[name]
    try:
        files = _registered(small) if path is None else _beside(path, small)
        network = small.load(*files)
    except (assets.AssetError, FileNotFoundError, ModuleNotFoundError) as error:
        raise UnavailableError(f"{small.title} is unavailable: {error}") from error
    spec = JudgeSpec(
        name=small.title,
        image_size=small.image_size,
        crop=small.crop,
        emotions=emotion_order(small.source),
        weights_sha256=state_hash(network.state_dict()),
        licence=assets.registry()[name].licence,
        # An edit set may name the published file or the network that was made of it.
        lineage=Lineage(networks=frozenset([assets.file_sha256(files[0])])),
    )

    def answer(images: Tensor) -> Answers:
        return Answers(network(small.prepare(images)).softmax(dim=1))

    return Judge(spec, network, answer, device)


def grey_from_rgb(images: Tensor) -> Tensor:
    """Turn (B, 3, S, S) RGB in [0, 1] into (B, 1, S, S) luma in [-1, 1], as mini-Xception takes it.

    Source: ITU-R BT.601 for the weights; the published demonstration for the range.
    """
    weights = images.new_tensor(_LUMA)[:, None, None]
    return (images * weights).sum(dim=1, keepdim=True) * 2 - 1


def centre_rgb(images: Tensor) -> Tensor:
    """Subtract face-api's mean colour from (B, 3, S, S) RGB in [0, 1]."""
    return images - images.new_tensor(faceapi_net.MEAN_RGB)[:, None, None] / 255


SMALL_NETS = {
    "mini_xception": SmallNet(
        "mini-Xception (FER2013)", ("mini_xception",), mini_xception.IMAGE_SIZE, "square",
        "fer2013", mini_xception.load_mini_xception, grey_from_rgb,
    ),
    "faceapi": SmallNet(
        "face-api expression net", ("faceapi", "faceapi_manifest"), faceapi_net.IMAGE_SIZE,
        "wide_square", "faceapi", faceapi_net.load_faceapi_net, centre_rgb,
    ),
}  # fmt: skip
"""The networks by name."""


def _registered(small: SmallNet) -> list[Path]:
    return [assets.require(asset) for asset in small.assets]


def _beside(path: Path, small: SmallNet) -> list[Path]:
    others = (path.with_name(assets.registry()[asset].filename) for asset in small.assets[1:])
    return [path, *others]
