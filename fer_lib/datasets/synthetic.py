"""Labelled synthetic faces with exact landmarks, parameters and counterfactuals.

Every subject is photographed in groups. Within a group only the expression changes: subject, pose,
camera, light, background, occluder and pixel noise are the same, so any two faces of a group are
the exact truth of an edit from one expression to the other.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fer_lib.datasets.backgrounds import sample_background
from fer_lib.datasets.occluders import compose, draw_occluder
from fer_lib.datasets.subjects import (
    Subject,
    ViewConfig,
    occluder_scene,
    sample_occluder,
    sample_subject,
    sample_view,
)
from fer_lib.faces.action_units import action_units
from fer_lib.faces.expression import sample_expression, valence_arousal
from fer_lib.faces.ict.bundle import load_ict
from fer_lib.faces.render import GAMMA, render
from fer_lib.labels import AU_COLUMNS, EMOTIONS
from fer_lib.tables import sample_table

_TEXT = "U16"


@dataclass(frozen=True)
class SyntheticConfig:
    """What is drawn, and how hard it is.

    Attributes:
        subjects: number of people.
        groups: photographs in which each of them shows every emotion; one group shares all but
            the expression.
        size: side of the square crops in pixels.
        seed: another number gives other people.
        emotions: which emotions every group holds.
        view: how far poses, cameras and lights differ, and how much is occluded.
        pixel_noise: standard deviation of the camera's noise, of a range of 1.
        intensity_low: faintest expression; 1 is the prototype.
        intensity_high: strongest expression.
        au_noise: scale of action units that do not belong to the emotion.
        au_drop: probability that an action unit of the emotion is missing.
        supersample: pixels per side averaged into one.
        model: whose heads: ``embedded`` or ``ict``.
    """

    subjects: int = 100
    groups: int = 2
    size: int = 112
    seed: int = 0
    emotions: tuple[str, ...] = EMOTIONS
    view: ViewConfig = field(default_factory=ViewConfig)
    pixel_noise: float = 0.02
    intensity_low: float = 0.5
    intensity_high: float = 1.15
    au_noise: float = 0.10
    au_drop: float = 0.08
    supersample: int = 2
    model: str = "embedded"

    @property
    def faces(self) -> int:
        """Number of faces in all."""
        return self.subjects * self.groups * len(self.emotions)

    def as_dict(self) -> dict[str, Any]:
        """Give all settings as plain values, for the card of a store."""
        return asdict(self)


class SubjectFaces(NamedTuple):
    """All faces of one subject, as ``StoreWriter.write`` takes them.

    Attributes:
        samples: sample table of n rows.
        faces: ``(n, size, size, 3)`` uint8 RGB.
        landmarks: ``(n, 68, 2)`` float32 crop pixels.
        params: ``(n, …)`` arrays: those of ``FaceParams``, ``intensity`` of the expression,
            ``occluder`` by name and the subject's ``groom_…``.
        extras: optional arrays of a store, where somebody looked at the faces.
        fine: ``(n, k·size, k·size, 3)`` uint8, the same pictures before k × k pixels were averaged
            into one (k the supersampling), for somebody who looks at them; None unless asked for.
    """

    samples: pd.DataFrame
    faces: np.ndarray
    landmarks: np.ndarray
    params: dict[str, np.ndarray]
    extras: dict[str, np.ndarray] | None = None
    fine: np.ndarray | None = None


def subject_name(number: int, model: str = "embedded") -> str:
    """Name a subject by its model and number, as the sample table does."""
    return f"{'synthetic' if model == 'embedded' else model}-s{number:04d}"


def generate(
    config: SyntheticConfig, workers: int = 2, *, fine: bool = False
) -> Iterator[SubjectFaces]:
    """Draw all subjects, in order.

    Args:
        config: what is drawn; the faces of a subject depend on it and the subject's number alone.
        workers: processes that draw, 1 or more; the faces are the same for any number of them.
        fine: also give the pictures before they are shrunk.

    Yields:
        One subject after another.

    Raises:
        ValueError: ``workers`` is below one.
        AssetError: the model's files cannot be had.
    """
    if workers < 1:
        raise ValueError(f"expected one worker process or more, got {workers}")
    if config.model == "ict":
        # The first use imports the archive; several workers would all do so.
        load_ict()
    yield from DataLoader(
        _Subjects(config, fine),
        batch_size=None,
        num_workers=workers,
        # Forked workers would inherit the caller's locks and threads.
        multiprocessing_context="spawn",
        worker_init_fn=_end_with_parent,
        collate_fn=_unchanged,
        # A generator of its own keeps the global one untouched.
        generator=torch.Generator().manual_seed(0),
    )


def _end_with_parent(worker: int) -> None:
    """End this worker when its caller is killed: its own queue would keep it waiting for ever."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name=f"parent of worker {worker}", daemon=True).start()


def _unchanged(faces: SubjectFaces) -> SubjectFaces:
    return faces


class _Subjects(Dataset[SubjectFaces]):
    """Subjects by number, drawn when asked for."""

    def __init__(self, config: SyntheticConfig, fine: bool) -> None:
        self._config, self._fine = config, fine

    def __len__(self) -> int:
        return self._config.subjects

    def __getitem__(self, number: int) -> SubjectFaces:
        return draw_subject(self._config, number, fine=self._fine)


@torch.no_grad()
def draw_subject(config: SyntheticConfig, number: int, *, fine: bool = False) -> SubjectFaces:
    """Draw all faces of one subject in this process.

    Args:
        config: what is drawn.
        number: the subject's number, from 0.
        fine: also give the pictures before they are shrunk; a value of the shrunk ones may then
            differ by 1, since it is averaged from these.

    Returns:
        Its faces: group by group, in each the emotions in the order of the configuration.
    """
    subject = sample_subject(_generator(config.seed, number), config.model)
    groups = [
        _draw_group(config, subject, _generator(config.seed, number, 1 + group), fine)
        for group in range(config.groups)
    ]
    params = {name: np.concatenate([g.params[name] for g in groups]) for name in groups[0].params}
    names = subject.model.expression_names
    return SubjectFaces(
        _label(config, number, params, names, _generator(config.seed, number, 0)),
        np.concatenate([group.faces for group in groups]),
        np.concatenate([group.landmarks for group in groups]),
        params,
        fine=np.concatenate([group.fine for group in groups]) if fine else None,
    )


def _generator(*numbers: int) -> torch.Generator:
    """A generator whose stream belongs to these numbers alone."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class _Group(NamedTuple):
    faces: np.ndarray
    landmarks: np.ndarray
    params: dict[str, np.ndarray]
    fine: np.ndarray | None


def _draw_group(
    config: SyntheticConfig, subject: Subject, generator: torch.Generator, fine: bool
) -> _Group:
    view = sample_view(config.view, subject, generator)
    background = sample_background(generator, config.size)
    kind = sample_occluder(config.view, subject, generator)
    layer = draw_occluder(kind, occluder_scene(subject, view, config.size), generator)
    noise = config.pixel_noise * torch.randn(3, config.size, config.size, generator=generator)
    psi, intensity = _sample_expressions(config, subject, generator)
    params = view[[0] * len(psi)].replace(expression=psi)
    own = params.replace(shape=0 * params.shape[:, :1], albedo=params.albedo[:, :0])
    step = config.supersample if fine else 1
    drawn = render(
        subject.own_model,
        own,
        step * config.size,
        config.supersample // step,
        _enlarge(background, step),
    )
    faces = _finish(_shrink(drawn.image, step), layer, noise)
    unshrunk = _finish(drawn.image, _enlarge(layer, step), _enlarge(noise, step)) if fine else None
    same = {f"groom_{name}": value for name, value in subject.groom.items()} | {"occluder": kind}
    extra = {name: _repeat(value, len(psi)) for name, value in same.items()}
    extra["intensity"] = np.array(intensity, np.float32)
    landmarks = drawn.landmarks_px if step == 1 else (drawn.landmarks_px + 0.5) / step - 0.5
    return _Group(faces, landmarks.numpy(), params.numpy() | extra, unshrunk)


def _enlarge(image: Tensor, step: int) -> Tensor:
    """Make ``step`` × ``step`` equal pixels of each."""
    return image.repeat_interleave(step, -1).repeat_interleave(step, -2)


def _shrink(image: Tensor, step: int) -> Tensor:
    """Average ``step`` × ``step`` pixels in linear light, as the renderer does."""
    return image if step == 1 else F.avg_pool2d(image**GAMMA, step) ** (1 / GAMMA)


def _finish(image: Tensor, layer: Tensor, noise: Tensor) -> np.ndarray:
    """Lay the occluder and the noise over images and code them as bytes."""
    seen = (compose(image, layer) + noise).clamp(0, 1)
    return (seen * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _sample_expressions(
    config: SyntheticConfig, subject: Subject, generator: torch.Generator
) -> tuple[Tensor, list[float]]:
    drawn = [
        sample_expression(
            emotion,
            generator,
            subject.model.expression_names,
            noise=config.au_noise,
            intensity_range=(config.intensity_low, config.intensity_high),
            drop=config.au_drop,
        )
        for emotion in config.emotions
    ]
    return torch.stack([psi for psi, _ in drawn]), [intensity for _, intensity in drawn]


def _repeat(value: float | str, count: int) -> np.ndarray:
    return np.full(count, value, dtype=_TEXT if isinstance(value, str) else None)


def _label(
    config: SyntheticConfig,
    number: int,
    params: dict[str, np.ndarray],
    names: Sequence[str],
    generator: torch.Generator,
) -> pd.DataFrame:
    """Give the sample table of one subject from its true parameters."""
    emotions = list(config.emotions) * config.groups
    amounts = params["intensity"].tolist()
    affect = [valence_arousal(*each, generator) for each in zip(emotions, amounts, strict=True)]
    units = action_units(torch.from_numpy(params["expression"]), names)
    name = subject_name(number, config.model)
    pairs = [f"{name}-g{k // len(config.emotions)}" for k in range(len(emotions))]
    columns = dict(zip(AU_COLUMNS, units.numpy().T, strict=True)) | {
        "sample_id": [f"{pair}-{emotion}" for pair, emotion in zip(pairs, emotions, strict=True)],
        "subject": name,
        "pair": pairs,
        "emotion": emotions,
        "valence": [valence for valence, _ in affect],
        "arousal": [arousal for _, arousal in affect],
        "landmark_source": "projected",
        "status": "ok",
    }
    return sample_table(pd.DataFrame(columns))
