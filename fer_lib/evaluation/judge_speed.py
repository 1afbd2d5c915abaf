"""What notebook 90 times of the judges: hsemotion, emotiefflib and ours on the same faces.

All have the same random weights, each in its package's own format. The packages unpickle whole
networks; the files they read here are written a moment before.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import nn

from fer_lib.evaluation.hsemotion import DEFAULT, load_hsemotion
from fer_lib.evaluation.judge_crops import as_images, resize_crops
from fer_lib.evaluation.judges import Judge
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.emotion_engine import ENGINES
from fer_lib.networks.emotion_net import EmotionNet

REFERENCE = "hsemotion, one by one"
_AT_ONCE = 16
_HEAD_STD = 0.05

Recogniser = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Turns N crops into their (N, 8) probabilities."""


@dataclass
class JudgeBench:
    """Faces and all that recognise them; every way does the whole work, resizing included.

    Attributes:
        faces: (H, W, 3) uint8 RGB crops of any sizes.
        judges: ours by engine.
        recognisers: by name; a package's two ways are one face at a time and lists of 16.
        absent: package to the reason why it is not timed.
        answers: (N, 8) probabilities of each way when it last ran.
    """

    faces: list[np.ndarray]
    judges: dict[str, Judge]
    recognisers: dict[str, Recogniser]
    absent: dict[str, str]
    answers: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def make(cls, faces: Sequence[np.ndarray], seed: int = 0) -> JudgeBench:
        """Make the network and load it into everything that is installed, on the CPU.

        Args:
            faces: crops; the first of them also set the normalisations of the random network.
            seed: of its weights.
        """
        network, found, absent = calibrated_network(faces[:_AT_ONCE], seed), {}, {}
        with tempfile.TemporaryDirectory() as folder, _at_home_in(folder):
            path = _write(network, Path(folder))
            judges = {name: load_hsemotion(DEFAULT, path=path, engine=name) for name in ENGINES}
            for name, load in _PEERS.items():
                try:
                    found |= load(Path(folder), network)
                except ImportError as error:
                    absent[name] = f"{name} is not timed: {error}"
        ours = {f"ours, {name}": functools.partial(_judged, one) for name, one in judges.items()}
        return cls(list(faces), judges, found | ours, absent)

    def ways(self, faces: int | None = None) -> dict[str, Callable[[], None]]:
        """Give name to work, for ``speed.time_ways``.

        Args:
            faces: how many of them are worked through; None takes all.
        """
        return {name: functools.partial(self._run, name, faces) for name in self.recognisers}

    def differences(self, names: Sequence[str]) -> dict[str, float]:
        """Give the largest difference in any probability from hsemotion's answers.

        Args:
            names: of ways that last ran with all faces; hsemotion's is run if it did not.
        """
        if len(self.answers.get(REFERENCE, ())) != len(self.faces):
            self._run(REFERENCE, None)
        wanted = self.answers[REFERENCE]
        return {name: float(np.abs(self.answers[name] - wanted).max()) for name in names}

    def _run(self, name: str, faces: int | None) -> None:
        with torch.inference_mode():
            self.answers[name] = self.recognisers[name](self.faces[:faces])


def random_crops(images: Sequence[np.ndarray], count: int, seed: int) -> list[np.ndarray]:
    """Cut boxes of 50 to 100 % of a picture's sides at random places.

    Args:
        images: (H, W, 3) uint8, taken in turn.
        count: how many boxes.
        seed: of places and sizes.
    """
    generator, crops = np.random.default_rng(seed), []
    for image in islice(cycle(images), count):
        sides = (generator.uniform(0.5, 1, 2) * image.shape[:2]).astype(int).clip(1)
        top, left = (generator.random(2) * (image.shape[:2] - sides)).astype(int)
        crops.append(image[top : top + sides[0], left : left + sides[1]].copy())
    return crops


def fastest(times: pd.DataFrame, package: str) -> str:
    """Name a package's way with the smallest time of any round of ``speed.time_ways``."""
    own = times[times["way"].str.startswith(package)]
    return own.loc[own["seconds"].idxmin(), "way"]


def memory_growth(judge: Judge, faces: Sequence[np.ndarray], frames: int) -> float:
    """Judge a long clip as a stream and watch the memory.

    Args:
        judge: any.
        faces: its frames, again and again.
        frames: how many.

    Returns:
        By how many MiB the process was larger at its largest than after the first tables; on Linux.
    """
    clip = ((str(number), face.copy()) for number, face in enumerate(islice(cycle(faces), frames)))
    sizes = [_resident_mib() for _ in judge.judge_stream(clip)]
    return max(sizes) - sizes[min(2, len(sizes) - 1)]


def calibrated_network(faces: Sequence[np.ndarray], seed: int) -> EmotionNet:
    """Make a random B0 whose normalisations fit faces, so that its answers differ between them.

    Args:
        faces: (H, W, 3) uint8 RGB crops.
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        network = EmotionNet()
        nn.init.normal_(network.classifier.weight, std=_HEAD_STD)
        # A judge is tested on colour fields, which faces alone would leave far outside.
        fields = torch.rand(_AT_ONCE, 3, 4, 4)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    side = network.config["image_size"]
    fields = nn.functional.interpolate(fields, (side, side), mode="bilinear")
    with torch.no_grad():
        network.train()(torch.cat([as_images(resize_crops(faces, side)), fields]))
    return network.eval()


def _write(network: EmotionNet, folder: Path) -> Path:
    """Write a network as the packages publish theirs, into the folders where they look for it."""
    model = copy.deepcopy(network.trunk)
    model.classifier = copy.deepcopy(network.classifier)
    paths = [folder / f".{name}" / f"{DEFAULT}.pt" for name in _PEERS]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        torch.save(model, path)
    return paths[0]


def _load_hsemotion(folder: Path, network: EmotionNet) -> dict[str, Recogniser]:
    peer = importlib.import_module("hsemotion.facial_emotions").HSEmotionRecognizer(DEFAULT)

    def one_by_one(faces: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([peer.predict_emotions(face, logits=False)[1] for face in faces])

    return {REFERENCE: one_by_one, "hsemotion, lists": _in_lists(peer.predict_multi_emotions)}


def _load_emotiefflib(folder: Path, network: EmotionNet) -> dict[str, Recogniser]:
    package = importlib.import_module("emotiefflib.facial_analysis")
    model = nn.Sequential(network.trunk, network.classifier)
    side = network.config["image_size"]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, torch.rand(1, 3, side, side), folder / ".emotiefflib" / f"{DEFAULT}.onnx",
            dynamo=False, opset_version=17, input_names=["input"], output_names=["output"],
            dynamic_axes={"input": {0: "faces"}, "output": {0: "faces"}},
        )  # fmt: skip
    ways = {}
    for engine in package.get_supported_engines():
        ask = package.EmotiEffLibRecognizer(engine, DEFAULT).predict_emotions
        ways[f"emotiefflib {engine}, one by one"] = _in_lists(ask, 1)
        ways[f"emotiefflib {engine}, lists"] = _in_lists(ask)
    return ways


_PEERS = {"hsemotion": _load_hsemotion, "emotiefflib": _load_emotiefflib}


def _in_lists(ask: Callable, at_once: int = _AT_ONCE) -> Recogniser:
    def answer(faces: Sequence[np.ndarray]) -> np.ndarray:
        starts = range(0, len(faces), at_once)
        return np.concatenate([ask(list(faces[i : i + at_once]), logits=False)[1] for i in starts])

    return answer


def _judged(judge: Judge, faces: Sequence[np.ndarray]) -> np.ndarray:
    table = judge.judge(faces, range(len(faces)), subjects=(), lineage=Lineage())
    return table.filter(regex="^p_").to_numpy()


@contextlib.contextmanager
def _at_home_in(folder: str) -> Iterator[None]:
    """Let packages look for weights in a folder, quietly; they unpickle, as torch once did."""
    trusting = functools.partial(torch.load, weights_only=False)
    homes = {"HOME": folder, "USERPROFILE": folder, "FER_DATA": folder}
    with (
        mock.patch.dict(os.environ, homes),
        mock.patch.object(torch, "load", trusting),
        contextlib.redirect_stdout(None),
    ):
        yield


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
