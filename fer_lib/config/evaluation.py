"""Settings of the notebooks that judge, compare and time: 09, 11 and 90."""

from __future__ import annotations

from dataclasses import dataclass

from fer_lib.config.base import SOURCES, Config
from fer_lib.config.checks import at_least, check_root, one_of


@dataclass(frozen=True)
class JudgeConfig(Config):
    """Settings of notebook 09: which edits, and who reads them."""

    store: str
    split: str
    edit_sets: tuple[str, ...]
    trained_on: str
    judges: tuple[str, ...]
    embedders: tuple[str, ...]
    people: int
    lpips: tuple[str, ...]
    batch_size: int
    seed: int
    device: str

    def check(self) -> None:
        """Refuse a split that does not exist, and to go without a judge."""
        one_of("split", self.split, ("train", "val", "test", "all"))
        at_least("batch_size", self.batch_size, 1)
        at_least("people", self.people, 2)
        if not self.judges:
            raise ValueError("JUDGES: expected at least one judge, such as own, got none")


@dataclass(frozen=True)
class ConfusionConfig(Config):
    """Settings of notebook 11: which predictions are compared."""

    store: str
    split: str
    protocol: str
    seed: int

    def check(self) -> None:
        """Refuse a split that does not exist."""
        one_of("split", self.split, ("train", "val", "test"))


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
    judged: int
    edits: int
    seed: int
    device: str

    def check(self) -> None:
        """Refuse sources without a folder, nothing to time and other than two widths."""
        one_of("source", self.source, SOURCES)
        check_root(self.source, self.root)
        for name in ("images", "rounds", "training_rounds", "rendered", "judged", "edits"):
            at_least(name, getattr(self, name), 1)
        at_least("faces", self.faces, 2)
        if len(self.widths) != 2:
            raise ValueError(f"WIDTHS: expected RGB and landmark network, got {self.widths}")
