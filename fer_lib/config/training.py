"""Settings of the notebooks that prepare data and train networks: 01 to 07."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_lib.config.base import PRECISIONS, SOURCES, Config
from fer_lib.config.checks import above_zero, at_least, check_root, one_of

BALANCES = ("none", "oversample", "weights")
MODELS = ("embedded", "ict")
LANDMARKS = ("auto", "dataset", "mesh", "five")
WEIGHTINGS = ("none", "confidence", "agreement", "both")
AFFINITIES = ("running", "batch", "none")
HEADS = ("features", "log_probabilities")
RGB_TRAININGS = ("frozen", "fine_tuned", "scratch")
RGB_FEATURES = ("in_sample", "out_of_fold")
RIVALS = ("log-probabilities", "out of fold", "fine-tuned", "from scratch")
BACKBONES = ("b0", "b2", "tiny")
MARGINS = ("cosface", "arcface")
_RIG_COUNTS = (
    "code_width", "code_length", "prior_steps", "shape_steps", "checkpoint_steps", "batch_size",
    "train_faces", "sampling_steps", "edit_steps", "test_pairs", "noise_seeds", "encoder_epochs",
)  # fmt: skip


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
        one_of("source", self.source, SOURCES)
        one_of("landmarks", self.landmarks, LANDMARKS)
        one_of("model", self.model, MODELS)
        at_least("size", self.size, 32)
        for name in ("subjects", "groups", "workers"):
            at_least(name, getattr(self, name), 1)
        at_least("check_faces", self.check_faces, 0)
        held_out = self.val_fraction + self.test_fraction
        if not (0 < self.val_fraction and 0 < self.test_fraction and held_out < 1):
            raise ValueError(
                "VAL_FRACTION and TEST_FRACTION: expected two positive numbers with a sum below 1, "
                f"got {self.val_fraction} and {self.test_fraction}"
            )
        check_root(self.source, self.root)

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
        """Refuse sizes networks cannot take, unknown policies, and ones that do not go together."""
        at_least("image_size", self.image_size, 48)
        at_least("trunk_width", self.trunk_width, 4)
        one_of("trunk_stride", self.trunk_stride, (8, 16, 32))
        at_least("landmark_width", self.landmark_width, 1)
        one_of("weighting", self.weighting, WEIGHTINGS)
        one_of("sharing_affinity", self.sharing_affinity, AFFINITIES)
        if not 0 <= self.disagreement_weight <= 1:
            raise ValueError(
                f"DISAGREEMENT_WEIGHT: expected 0 to 1, got {self.disagreement_weight}"
            )
        one_of("head", self.head, HEADS)
        one_of("rgb_training", self.rgb_training, RGB_TRAININGS)
        one_of("rgb_features", self.rgb_features, RGB_FEATURES)
        at_least("folds", self.folds, 2)
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
            at_least(name, getattr(self, name), 1)
        for name in ("rgb_learning_rate", "fusion_learning_rate"):
            above_zero(name, getattr(self, name))
        one_of("balance", self.balance, BALANCES)
        if not 0 <= self.landmark_noise_pct_iod < 100:
            raise ValueError(
                "LANDMARK_NOISE_PCT_IOD: expected 0 or more and below 100, got "
                f"{self.landmark_noise_pct_iod}"
            )
        one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class StudyConfig(Config):
    """Settings of notebook 02: which rivals are trained beside the fusion, and at which noise."""

    rivals: tuple[str, ...]
    noise_pct_iod: tuple[float, ...]

    def check(self) -> None:
        """Refuse rivals that do not exist and noise that is none."""
        for rival in self.rivals:
            one_of("rivals", rival, RIVALS)
        for level in self.noise_pct_iod:
            if not 0 < level < 100:
                raise ValueError(f"NOISE_PCT_IOD: expected above 0 and below 100, got {level}")


@dataclass(frozen=True)
class HseTrainConfig(Config):
    """Settings of notebook 04: the networks and how they learn."""

    store: str
    backbone: str
    image_size: int
    margin: str
    identity_epochs: int
    head_epochs: int
    all_epochs: int
    batch_size: int
    identity_learning_rate: float
    head_learning_rate: float
    all_learning_rate: float
    augment: bool
    precision: str
    seed: int
    device: str

    def check(self) -> None:
        """Refuse networks and trainings that cannot be."""
        one_of("backbone", self.backbone, BACKBONES)
        one_of("margin", self.margin, MARGINS)
        one_of("precision", self.precision, PRECISIONS)
        at_least("image_size", self.image_size, 32)
        at_least("all_epochs", self.all_epochs, 0)
        at_least("batch_size", self.batch_size, 2)
        for name in ("identity_epochs", "head_epochs"):
            at_least(name, getattr(self, name), 1)
        for name in ("identity_learning_rate", "head_learning_rate", "all_learning_rate"):
            above_zero(name, getattr(self, name))


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
        one_of("depth", self.depth, (18, 50))
        at_least("image_size", self.image_size, 32)
        for name in ("width", "hidden", "epochs", "batch_size", "fitted_photographs"):
            at_least(name, getattr(self, name), 1)
        for name in ("mesh_modes", "photo_epochs", "pixel_steps"):
            at_least(name, getattr(self, name), 0)
        above_zero("learning_rate", self.learning_rate)
        one_of("precision", self.precision, PRECISIONS)
        if self.pairs and not Path(self.pairs_root).is_absolute():
            raise ValueError(
                f"PAIRS_ROOT: expected the folder of PAIRS from / on, got {self.pairs_root!r}"
            )


@dataclass(frozen=True)
class RigEditorConfig(Config):
    """Settings of notebook 07: which faces, the networks, their two trainings and the edits."""

    store: str
    second_store: str
    pairs: str
    photographs: str
    image_size: int
    widths: tuple[int, ...]
    depth: int
    code_width: int
    code_length: int
    prior_steps: int
    shape_steps: int
    checkpoint_steps: int
    batch_size: int
    prior_learning_rate: float
    shape_learning_rate: float
    ema: float
    train_faces: int
    read_faces: int
    keeping_weight: float
    sampling_steps: int
    edit_steps: int
    test_pairs: int
    noise_seeds: int
    encoder_epochs: int
    judges: tuple[str, ...]
    embedders: tuple[str, ...]
    lpips: tuple[str, ...]
    precision: str
    seed: int
    device: str

    def check(self) -> None:
        """Refuse networks, trainings and shares that cannot be."""
        one_of("depth", self.depth, (18, 50))
        one_of("precision", self.precision, PRECISIONS)
        at_least("image_size", self.image_size, 16)
        at_least("read_faces", self.read_faces, 0)
        for name in _RIG_COUNTS:
            at_least(name, getattr(self, name), 1)
        for name in ("prior_learning_rate", "shape_learning_rate"):
            above_zero(name, getattr(self, name))
        if not 0 <= self.ema < 1:
            raise ValueError(f"EMA: expected 0 to below 1, got {self.ema}")
        if not self.keeping_weight >= 0:
            raise ValueError(f"KEEPING_WEIGHT: expected 0 or more, got {self.keeping_weight}")
        if not self.widths or self.image_size % 2 ** (len(self.widths) - 1):
            raise ValueError(
                f"WIDTHS: expected so many levels that IMAGE_SIZE {self.image_size} can be halved "
                f"between them, got {self.widths}"
            )
        if any(width % 4 for width in self.widths):
            raise ValueError(f"WIDTHS: expected multiples of 4, got {self.widths}")
