"""Settings of the notebooks as frozen dataclasses that refuse wrong types and impossible values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch

BALANCES = ("none", "oversample", "weights")
MODELS = ("embedded", "ict")
SOURCES = ("synthetic", "facial_expressions", "london", "rafdb")
LANDMARKS = ("auto", "dataset", "mesh", "five")
WEIGHTINGS = ("none", "confidence", "agreement", "both")
AFFINITIES = ("running", "batch", "none")
HEADS = ("features", "log_probabilities")
RGB_TRAININGS = ("frozen", "fine_tuned", "scratch")
RGB_FEATURES = ("in_sample", "out_of_fold")
RIVALS = ("log-probabilities", "out of fold", "fine-tuned", "from scratch")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Config:
    """Base of all settings: every value has exactly the type its field is annotated with."""

    def __post_init__(self) -> None:
        """Check types, then the values.

        Raises:
            TypeError: a value has another type than its field (``"false"`` is not a bool).
            ValueError: a value is outside what the field allows.
        """
        for name, wanted in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not _has_type(value, wanted):
                raise TypeError(
                    f"{name.upper()}: expected {_type_name(wanted)}, got {type(value).__name__} "
                    f"{value!r}; pass a value of that type"
                )
        self.check()

    def check(self) -> None:
        """Check the values; settings with limits override this."""

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class PreprocessConfig(Config):
    """Settings of notebook 01: from a source to a store."""

    source: str
    root: str
    store: str
    model: str
    size: int
    subjects: int
    groups: int
    landmarks: str
    check_faces: int
    val_fraction: float
    test_fraction: float
    workers: int
    seed: int
    device: str

    def check(self) -> None:
        """Refuse unknown sources, empty sizes and splits that leave nothing to train on."""
        _one_of("source", self.source, SOURCES)
        _one_of("landmarks", self.landmarks, LANDMARKS)
        _one_of("model", self.model, MODELS)
        _at_least("size", self.size, 32)
        for name in ("subjects", "groups", "workers"):
            _at_least(name, getattr(self, name), 1)
        _at_least("check_faces", self.check_faces, 0)
        held_out = self.val_fraction + self.test_fraction
        if not (0 < self.val_fraction and 0 < self.test_fraction and held_out < 1):
            raise ValueError(
                "VAL_FRACTION and TEST_FRACTION: expected two positive numbers with a sum below 1, "
                f"got {self.val_fraction} and {self.test_fraction}"
            )
        _check_root(self.source, self.root)

    @property
    def data_name(self) -> str:
        """What the faces are called in metrics: their source, or the model that drew them."""
        drawn_by_another = self.source == "synthetic" and self.model != "embedded"
        return self.model if drawn_by_another else self.source


@dataclass(frozen=True)
class FusionConfig(Config):
    """Settings of notebook 02: the networks."""

    image_size: int
    trunk_width: int
    trunk_stride: int
    heatmap_size: int
    landmark_width: int
    weighting: str
    disagreement_weight: float
    sharing_affinity: str
    head: str
    rgb_training: str
    rgb_features: str
    folds: int

    def check(self) -> None:
        """Refuse sizes the networks cannot take, unknown policies and ones that do not go together.

        Raises:
            ValueError: a value is refused; the sentence names it.
        """
        _at_least("image_size", self.image_size, 48)
        _at_least("trunk_width", self.trunk_width, 4)
        _one_of("trunk_stride", self.trunk_stride, (8, 16, 32))
        _at_least("landmark_width", self.landmark_width, 1)
        _one_of("weighting", self.weighting, WEIGHTINGS)
        _one_of("sharing_affinity", self.sharing_affinity, AFFINITIES)
        if not 0 <= self.disagreement_weight <= 1:
            raise ValueError(
                f"DISAGREEMENT_WEIGHT: expected 0 to 1, got {self.disagreement_weight}"
            )
        _one_of("head", self.head, HEADS)
        _one_of("rgb_training", self.rgb_training, RGB_TRAININGS)
        _one_of("rgb_features", self.rgb_features, RGB_FEATURES)
        _at_least("folds", self.folds, 2)
        out_of_fold = self.rgb_features == "out_of_fold"
        if out_of_fold and (self.head, self.rgb_training) != ("log_probabilities", "frozen"):
            raise ValueError(
                "RGB_FEATURES: expected HEAD log_probabilities and RGB_TRAINING frozen with "
                f"out_of_fold, got {self.head} and {self.rgb_training}"
            )


@dataclass(frozen=True)
class TrainConfig(Config):
    """Settings of notebook 02: the training."""

    rgb_epochs: int
    fusion_epochs: int
    batch_size: int
    rgb_learning_rate: float
    fusion_learning_rate: float
    balance: str
    landmark_noise_pct_iod: float
    precision: str
    seed: int
    device: str

    def check(self) -> None:
        """Refuse trainings that cannot be."""
        for name in ("rgb_epochs", "fusion_epochs", "batch_size"):
            _at_least(name, getattr(self, name), 1)
        for name in ("rgb_learning_rate", "fusion_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.upper()}: expected above 0, got {getattr(self, name)}")
        _one_of("balance", self.balance, BALANCES)
        if not 0 <= self.landmark_noise_pct_iod < 100:
            raise ValueError(
                "LANDMARK_NOISE_PCT_IOD: expected 0 or more and below 100, got "
                f"{self.landmark_noise_pct_iod}"
            )
        _one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class StudyConfig(Config):
    """Settings of notebook 02: which rivals are trained beside the fusion, and at which noise."""

    rivals: tuple[str, ...]
    noise_pct_iod: tuple[float, ...]

    def check(self) -> None:
        """Refuse rivals that do not exist and noise that is none."""
        for rival in self.rivals:
            _one_of("rivals", rival, RIVALS)
        for level in self.noise_pct_iod:
            if not 0 < level < 100:
                raise ValueError(f"NOISE_PCT_IOD: expected above 0 and below 100, got {level}")


@dataclass(frozen=True)
class FaceEncoderConfig(Config):
    """Settings of notebook 06: which faces, the encoder, its training and the fits."""

    store: str
    other_store: str
    photographs: str
    pairs: str
    pairs_root: str
    depth: int
    width: int
    image_size: int
    hidden: int
    mesh_modes: int
    epochs: int
    photo_epochs: int
    batch_size: int
    learning_rate: float
    pixel_steps: int
    fitted_photographs: int
    precision: str
    seed: int
    device: str

    def check(self) -> None:
        """Refuse networks that cannot be and pairs without their hand-set points."""
        _one_of("depth", self.depth, (18, 50))
        _at_least("image_size", self.image_size, 32)
        for name in ("width", "hidden", "epochs", "batch_size", "fitted_photographs"):
            _at_least(name, getattr(self, name), 1)
        for name in ("mesh_modes", "photo_epochs", "pixel_steps"):
            _at_least(name, getattr(self, name), 0)
        if not self.learning_rate > 0:
            raise ValueError(f"LEARNING_RATE: expected above 0, got {self.learning_rate}")
        _one_of("precision", self.precision, PRECISIONS)
        if self.pairs and not Path(self.pairs_root).is_absolute():
            raise ValueError(
                f"PAIRS_ROOT: expected the folder of PAIRS from / on, got {self.pairs_root!r}"
            )


@dataclass(frozen=True)
class JudgeConfig(Config):
    """Settings of notebook 09: edits and the judge that reads them."""

    store: str
    judge_run: str
    split: str
    batch_size: int
    seed: int
    device: str

    def check(self) -> None:
        """Refuse a split that does not exist."""
        _one_of("split", self.split, ("train", "val", "test"))
        _at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class ConfusionConfig(Config):
    """Settings of notebook 11: which predictions are compared."""

    store: str
    split: str
    protocol: str
    seed: int

    def check(self) -> None:
        """Refuse a split that does not exist."""
        _one_of("split", self.split, ("train", "val", "test"))


@dataclass(frozen=True)
class BenchmarkConfig(Config):
    """Settings of notebook 90: what is timed, and how often."""

    source: str
    root: str
    images: int
    rounds: int
    faces: int
    face_px: int
    widths: tuple[int, ...]
    training_rounds: int
    rendered: int
    seed: int
    device: str

    def check(self) -> None:
        """Refuse sources without a folder, nothing to time and other than two widths."""
        _one_of("source", self.source, SOURCES)
        _check_root(self.source, self.root)
        for name in ("images", "rounds", "training_rounds", "rendered"):
            _at_least(name, getattr(self, name), 1)
        _at_least("faces", self.faces, 2)
        if len(self.widths) != 2:
            raise ValueError(f"WIDTHS: expected RGB and landmark network, got {self.widths}")


def resolve_device(name: str) -> torch.device:
    """Turn a DEVICE setting into a device.

    Args:
        name: ``"auto"`` (a GPU where there is one, else the CPU), ``"cpu"``, ``"cuda"``, …

    Returns:
        The device.

    Raises:
        ValueError: the device is unknown or not there.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"DEVICE: expected auto, cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"DEVICE: expected a device that is here, got {name!r}; pass cpu or auto")
    return device


def _type_name(wanted: type) -> str:
    return str(wanted) if get_origin(wanted) else wanted.__name__


def _has_type(value: object, wanted: type) -> bool:
    if get_origin(wanted) is tuple:
        item, _ = get_args(wanted)
        return isinstance(value, tuple) and all(_has_type(one, item) for one in value)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _check_root(source: str, root: str) -> None:
    if source != "synthetic" and not root:
        raise ValueError(f"ROOT: expected the folder of {source}, got none; pass ROOT=…")
    if root and not Path(root).is_absolute():
        raise ValueError(f"ROOT: expected a folder from / on, got {root!r}")


def _one_of(name: str, value: str | int, known: Sequence[str | int]) -> None:
    if value not in known:
        listed = ", ".join(map(str, known))
        raise ValueError(f"{name.upper()}: expected one of {listed}, got {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name.upper()}: expected at least {least}, got {value}")
