"""The HSEmotion judge: the seeds' four models, from published files that are read as data.

The weights were trained on AffectNet, whose licence is for research alone; they are no part of
this project. `fer assets get hsemotion_<name>` fetches a file, once and on demand.

Source: Savchenko 2021 and 2022 (EfficientNet-B0 and -B2 on AffectNet); package hsemotion 0.3.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fer_lib import assets, paths
from fer_lib.evaluation.judge_crops import resize_crops
from fer_lib.evaluation.judge_spec import Answers, JudgeSpec, UnavailableError
from fer_lib.evaluation.judges import Judge
from fer_lib.labels import emotion_order
from fer_lib.networks.checkpoints import Lineage, load_recogniser
from fer_lib.networks.emotion_engine import EmotionEngine
from fer_lib.networks.emotion_net import EmotionNet
from fer_lib.networks.emotion_net_file import (
    load_emotion_net,
    read_published,
    save_emotion_net,
)  # fmt: skip

DEFAULT = "enet_b0_8_best_vgaf"
_LICENCE = "Apache-2.0 (files); trained on AffectNet: research only"


@dataclass(frozen=True)
class HsemotionModel:
    """What one published file holds.

    Attributes:
        backbone: as in `EmotionNet`.
        image_size: side in px to which the face's box is resized, whatever its shape.
        emotions: class names in the order of the head's first columns.
        affect: whether valence and arousal follow them.
    """

    backbone: str = "b0"
    image_size: int = 224
    emotions: tuple[str, ...] = emotion_order("hsemotion8")
    affect: bool = False


MODELS = {
    "enet_b0_8_best_vgaf": HsemotionModel(),
    "enet_b0_8_best_afew": HsemotionModel(),
    "enet_b0_8_va_mtl": HsemotionModel(affect=True),
    "enet_b2_8": HsemotionModel(backbone="b2", image_size=260),
}
"""The models of seed 000's table by the package's names. Their head is one linear layer; in the
files it stands alone or in a ``Sequential``."""


def load_hsemotion(
    name: str = DEFAULT,
    *,
    path: Path | None = None,
    engine: str = "exact",
    device: torch.device | str = "cpu",
) -> Judge:
    """Make a judge of a published model; nothing is downloaded.

    The file is read once and kept as safetensors under ``data/models/hsemotion``.

    Args:
        name: one of ``MODELS``.
        path: the file; None takes the registered one under ``data/raw``.
        engine: ``exact`` (float32) or ``fast`` (bfloat16 where the device has it).
        device: where it answers.

    Raises:
        UnavailableError: the file is not here; the message says how to get it.
        ValueError: the name is unknown, or the file is not what the name says.
    """
    if name not in MODELS:
        raise ValueError(f"expected a model out of {sorted(MODELS)}, got {name!r}")
    network, recorded, digest = _network(name, path or _registered(name))
    model, side = MODELS[name], MODELS[name].image_size
    spec = JudgeSpec(
        f"HSEmotion {name}", side, "box", model.emotions, recorded, _LICENCE,
        # An edit set may name the published file or the network that was made of it.
        Lineage(networks=frozenset([digest])), affect=model.affect,
    )  # fmt: skip

    def prepare(crops: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(resize_crops(crops, side)).permute(0, 3, 1, 2)

    return _judge(spec, network, engine, device, prepare)


def load_own_emotion_judge(
    path: Path, *, engine: str = "exact", device: torch.device | str = "cpu"
) -> Judge:
    """Make a judge of an `EmotionNet` that this project trained (notebook 04).

    It was trained on tight crops of its own size and takes no others.

    Args:
        path: its checkpoint.
        engine: as for ``load_hsemotion``.
        device: where it answers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no `EmotionNet` with emotions.
    """
    found = load_recogniser(path)
    if not isinstance(found.network, EmotionNet) or not found.emotions:
        raise ValueError(f"expected an emotion_net with emotions in {path.name}, found another")
    spec = JudgeSpec(
        "HSEmotion, trained here",
        found.network.config["image_size"], "tight", found.emotions, found.recorded_sha256,
        "that of its training data", found.lineage, affect=found.network.config["affect"],
    )  # fmt: skip
    return _judge(spec, found.network, engine, device)


def _registered(name: str) -> Path:
    asset = f"hsemotion_{name}"
    if not assets.verify(asset):
        raise UnavailableError(
            f"HSEmotion {name} is unavailable, its weights are not under data/raw: run "
            f"`fer assets get {asset}`, or fetch {assets.registry()[asset].url} elsewhere and put "
            f"it at {paths.data_dir() / 'raw' / assets.registry()[asset].filename}"
        )
    return assets.get(asset)


def _network(name: str, path: Path) -> tuple[EmotionNet, str, str]:
    """Give the network, its recorded hash and the file's hash; convert the file the first time."""
    if not path.is_file():
        raise UnavailableError(
            f"HSEmotion {name} is unavailable, there is no file {path}; name the published .pt file"
        )
    model, digest = MODELS[name], assets.file_sha256(path)
    kept = paths.model_dir("hsemotion") / f"{name}_{digest[:16]}.safetensors"
    if not kept.is_file():
        fresh = EmotionNet(model.backbone, len(model.emotions), model.affect, model.image_size)
        save_emotion_net(kept, read_published(path, fresh))
    return *load_emotion_net(kept), digest


def _judge(
    spec: JudgeSpec, network: EmotionNet, engine: str, device: torch.device | str,
    prepare: Callable[[Sequence[np.ndarray]], Tensor] | None = None,
) -> Judge:  # fmt: skip
    running = EmotionEngine(network, engine, device)

    def answer(images: Tensor) -> Answers:
        said = running(images)
        return Answers(said.logits.softmax(dim=1), said.valence_arousal, said.feature)

    named = spec if engine == "exact" else replace(spec, name=f"{spec.name} ({engine})")
    return Judge(named, network, answer, device, prepare)
