"""Judges: named networks that say which emotion a face shows, and say so only when they are fit to.

A judge must pass its self-tests, and it may not have been in touch with what it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from fer_lib.labels import canonical_emotion
from fer_lib.networks.checkpoints import Lineage, load_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.tables import probability_columns
from fer_lib.weights import state_hash

STAND_IN_NAME = "stand-in: RGB net of 02"
_TOLERANCE = 1e-5
_PROBES = 9


@dataclass(frozen=True)
class JudgeSpec:
    """What a judge is.

    Attributes:
        name: as it appears in every table.
        image_size: side of the square input in px.
        crop: name of the crop rule, ``tight`` for the seed's three-point frame.
        emotions: class names in the order of its probabilities.
        weights_sha256: hash of its state dict.
        licence: of its weights.
        lineage: what it has been in touch with.
        stand_in: whether it merely takes the place of a real judge.
    """

    name: str
    image_size: int
    crop: str
    emotions: tuple[str, ...]
    weights_sha256: str
    licence: str
    lineage: Lineage
    stand_in: bool = False

    def __post_init__(self) -> None:
        """Refuse class names that are not canonical, and a stand-in that hides what it is.

        Raises:
            ValueError: one of the two.
        """
        unknown = [name for name in self.emotions if canonical_emotion(name) != name]
        if unknown:
            raise ValueError(f"expected canonical emotions, got {unknown}")
        if self.stand_in and "stand-in" not in self.name:
            raise ValueError(f"expected a stand-in to say so in its name, got {self.name!r}")


class Judge:
    """A network with its specification; it answers with tables.

    Args:
        spec: what it is.
        network: the network, for its weights.
        answer: turns (B, 3, S, S) float RGB in [0, 1] into (B, C) probabilities.
        device: where the network is.
    """

    def __init__(
        self,
        spec: JudgeSpec,
        network: nn.Module,
        answer: Callable[[Tensor], Tensor],
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec, self.network, self.device = spec, network.to(device).eval(), device
        self._answer = answer

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the judge, one sentence each; empty if it is valid.

        Self-tests: the weights are those recorded, answers are finite, sum to one, do not depend on
        the batch, and differ between different images.
        """
        faults = []
        if state_hash(self.network.state_dict()) != self.spec.weights_sha256:
            faults.append("its weights are not the recorded ones")
        try:
            probes = _probe_images(self.spec.image_size)
            faults += self._answer_faults(probes)
        except (RuntimeError, ValueError) as error:
            faults.append(f"it does not answer: {error}")
        return tuple(faults)

    def _answer_faults(self, probes: Tensor) -> list[str]:
        together = self._probabilities(probes, len(probes))
        if together.shape != (len(probes), len(self.spec.emotions)):
            return [f"it gives {together.shape[1:]} answers for {len(self.spec.emotions)} classes"]
        if not np.isfinite(together).all():
            return ["its answers are not finite"]
        alone = self._probabilities(probes, 1)
        checks = {
            "its probabilities do not sum to 1": np.abs(together.sum(axis=1) - 1).max() > 1e-4,
            "its probabilities leave [0, 1]": together.min() < 0 or together.max() > 1 + 1e-6,
            "its answers depend on the batch": np.abs(together - alone).max() > _TOLERANCE,
            "it says the same of every image": np.ptp(together, axis=0).max() < _TOLERANCE,
        }
        return [fault for fault, found in checks.items() if found]

    def judge(
        self,
        crops: np.ndarray,
        sample_ids: Sequence[str],
        *,
        subjects: Iterable[str],
        lineage: Lineage,
        batch_size: int = 64,
    ) -> pd.DataFrame:
        """Say which emotions faces show.

        Args:
            crops: (N, S, S, 3) uint8 RGB, cut by the judge's crop rule.
            sample_ids: N names.
            subjects: the people in the crops, where known.
            lineage: of the edit set or recogniser that the crops come from; empty for photographs
                and renderings that no network made.
            batch_size: faces at a time; does not matter to the answer.

        Returns:
            Columns ``sample_id`` and ``p_<emotion>``.

        Raises:
            ValueError: the judge is not valid, or was in touch with what it judges.
        """
        if self.faults:
            raise ValueError(f"judge {self.spec.name!r} is not valid: {'; '.join(self.faults)}")
        check_independence(self.spec, subjects, lineage)
        side = self.spec.image_size
        if crops.dtype != np.uint8 or crops.shape[1:] != (side, side, 3):
            raise ValueError(
                f"expected uint8 crops (N, {side}, {side}, 3), got {crops.dtype} {crops.shape}"
            )
        images = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255
        answers = self._probabilities(images, batch_size)
        table = pd.DataFrame(answers, columns=probability_columns(self.spec.emotions))
        table.insert(0, "sample_id", list(sample_ids))
        return table

    @torch.no_grad()
    def _probabilities(self, images: Tensor, batch_size: int) -> np.ndarray:
        parts = [self._answer(part.to(self.device)).cpu() for part in images.split(batch_size)]
        return torch.cat(parts).float().numpy()


def check_independence(spec: JudgeSpec, subjects: Iterable[str], lineage: Lineage) -> None:
    """Refuse a judge that was in touch with what it is to judge.

    Args:
        spec: the judge.
        subjects: the people it is to judge.
        lineage: of what it is to judge.

    Raises:
        ValueError: the judge or one of its ancestors made or guided what is judged, or the judge
            learned from people it is to judge.
    """
    ancestors = {spec.weights_sha256, *spec.lineage.networks}
    if ancestors & lineage.networks:
        raise ValueError(
            f"judge {spec.name!r} is in the lineage of what it is to judge; choose another judge"
        )
    known = spec.lineage.subjects & {name for name in subjects if isinstance(name, str)}
    if known:
        raise ValueError(
            f"judge {spec.name!r} learned from {len(known)} of the subjects it is to judge, "
            f"such as {min(known)!r}; judge the test split"
        )


def load_stand_in(path: Path, device: torch.device | str = "cpu") -> Judge:
    """Make a judge of the RGB network that notebook 02 trained, until real judges are there.

    Args:
        path: a checkpoint of the RGB branch or of the fusion, whose RGB branch is then taken.
        device: where it answers.

    Returns:
        The judge, named a stand-in.
    """
    recogniser = load_recogniser(path)
    fused = isinstance(recogniser.network, LandmarkFusion)
    network = recogniser.network.rgb if fused else recogniser.network
    # Of a fusion only the whole was recorded; its RGB branch is identified by its own weights.
    digest = state_hash(network.state_dict()) if fused else recogniser.recorded_sha256
    spec = JudgeSpec(
        name=STAND_IN_NAME,
        image_size=network.config["image_size"],
        crop="tight",
        emotions=recogniser.emotions,
        weights_sha256=digest,
        licence="that of its training data",
        lineage=recogniser.lineage,
        stand_in=True,
    )
    return Judge(spec, network, lambda images: network(images).logits.softmax(dim=1), device)


def _probe_images(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # Coarse colour fields: unlike pixel noise they differ at the scale that networks look at.
    coarse = torch.rand(_PROBES, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear")
