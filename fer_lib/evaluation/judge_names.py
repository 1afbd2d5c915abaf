"""Judges by name: published ones, small ones, and those that this project trained.

What was trained here is found by whoever knows the runs; its checkpoints are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch

from fer_lib.assets import AssetError
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.emonet import emonet_file, load_emonet_judge
from fer_lib.evaluation.hsemotion import MODELS, load_hsemotion, load_own_emotion_judge
from fer_lib.evaluation.judge_spec import UnavailableError
from fer_lib.evaluation.judges import Judge
from fer_lib.evaluation.small_judges import SMALL_NETS, load_small_judge
from fer_lib.evaluation.stand_in import load_stand_in
from fer_lib.networks.checkpoints import load_recogniser
from fer_lib.networks.emonet import CLASS_COUNTS
from fer_lib.networks.emotion_net import EmotionNet

Device = torch.device | str

TRAINED = {"own": "04", "stand-in": "02"}
"""Judges that notebooks train, by name: the notebook's number."""

_NONE: Mapping[str, Path] = MappingProxyType({})


def judge_names() -> list[str]:
    """Give every name that ``find_judge`` knows; it takes paths of checkpoints too."""
    return [*TRAINED, *_loaders()]


def find_judge(
    name: str, device: Device = "cpu", *, trained: Mapping[str, Path] = _NONE
) -> Judge | Absent:
    """Give a judge, or say why it cannot be had here.

    Args:
        name: one of ``judge_names``, or the path of a checkpoint of this project: an emotion net,
            an RGB net, or a landmark fusion, whose RGB branch is then the judge.
        device: where it answers.
        trained: checkpoints by the names in ``TRAINED``, as far as there are any.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: the name is unknown, or a file is not what it should be.
    """
    if name in TRAINED and name not in trained:
        number = TRAINED[name]
        reason = f"no finished run of notebook {number} has one: run it first (fer run {number})"
        return Absent(name, reason)
    if name in TRAINED:
        return _load_checkpoint(trained[name], device)
    if name in _loaders():
        try:
            return _loaders()[name](device=device)
        except (UnavailableError, AssetError) as error:
            return Absent(name, str(error))
    if Path(name).suffix == ".safetensors":
        return _load_checkpoint(Path(name), device)
    raise ValueError(
        f"expected a judge out of {', '.join(judge_names())}, or a .safetensors checkpoint, got "
        f"{name!r}"
    )


def _loaders() -> dict[str, Callable[..., Judge]]:
    hsemotion = {f"hsemotion:{model}": partial(load_hsemotion, model) for model in MODELS}
    emonet = {f"emonet:{count}": partial(_load_emonet, count) for count in reversed(CLASS_COUNTS)}
    return hsemotion | emonet | {name: partial(load_small_judge, name) for name in SMALL_NETS}


def _load_emonet(classes: int, device: Device) -> Judge:
    return load_emonet_judge(emonet_file(classes), device)


def _load_checkpoint(path: Path, device: Device) -> Judge:
    if isinstance(load_recogniser(path).network, EmotionNet):
        return load_own_emotion_judge(path, device=device)
    return load_stand_in(path, device)
