"""Identity similarity (CSIM): the cosine of two faces' embeddings, with what is needed to read it.

A cosine of 0.999 may mean one person, an unedited picture, or a network that was never loaded. So
`identity_scores` gives no number before the self-tests of `identity_tests` have passed, and every
number with where strangers and other photographs of the same person lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_lib.networks.checkpoints import Lineage

Align = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
# Twice as fast as 64 on a CPU, whose cache holds the features of a few faces.
_BATCH = 16


@dataclass(frozen=True)
class EmbedderSpec:
    """What an embedder is.

    Attributes:
        name: as it appears in every table.
        crop: name of the rule by which its faces are cut.
        weights_sha256: hash of its state dict.
        licence: of its weights.
        lineage: what it has been in touch with.
    """

    name: str
    crop: str
    weights_sha256: str
    licence: str
    lineage: Lineage


@dataclass(frozen=True)
class Faces:
    """Pictures of faces with what is needed to align them.

    Attributes:
        images: (N, H, W, 3) uint8 RGB, not aligned to any template yet.
        five: (N, 5, 2) eyes, nose tip, mouth corners in pixels of the images, NaN unknown.
        subjects: (N,) names of the persons.
    """

    images: np.ndarray
    five: np.ndarray
    subjects: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what cannot be aligned.

        Raises:
            ValueError: there is no face, images are not uint8 RGB, or the lengths differ.
        """
        n = len(self.images)
        if n == 0:
            raise ValueError("expected at least one face, got none")
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise ValueError(
                f"expected uint8 RGB images (N, H, W, 3), got {self.images.dtype} "
                f"{self.images.shape}"
            )
        if self.five.shape != (n, 5, 2) or len(self.subjects) != n:
            raise ValueError(
                f"expected five points and a person for each of {n} images, got points "
                f"{self.five.shape} and {len(self.subjects)} persons"
            )


class Embedder:
    """A network that gives one vector per face.

    Args:
        spec: what it is.
        network: the network, for its weights.
        answer: turns cut (B, 3, H, W) float RGB in [0, 1] into (B, D) features.
        align: cuts faces: images and five points in, crops and which of them are usable out.
        device: where it answers.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        network: nn.Module,
        answer: Callable[[Tensor], Tensor],
        align: Align,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec, self.network, self.device = spec, network.to(device).eval(), device
        self._answer, self._align = answer, align

    def crops(self, faces: Faces, batch_size: int = _BATCH) -> tuple[Tensor, np.ndarray]:
        """Cut faces by the network's own rule.

        Returns:
            (N, 3, H, W) float RGB in [0, 1] on the CPU, and (N,) bool: whose points were
            usable.
        """
        parts = [
            self._align(
                torch.from_numpy(np.array(faces.images[rows])).to(self.device),
                torch.from_numpy(np.array(faces.five[rows])).to(self.device),
            )
            for rows in _slices(len(faces.images), batch_size)
        ]
        crops, valid = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        return crops, valid.numpy()

    @torch.no_grad()
    def embed_crops(self, crops: Tensor, batch_size: int = _BATCH) -> np.ndarray:
        """Embed aligned faces: features of the face and of its mirror image, joined, of length 1.

        Args:
            crops: (N, 3, H, W) float RGB in [0, 1].
            batch_size: faces at a time; does not matter to the answer.

        Returns:
            (N, 2 D) float32.
        """
        parts = []
        for part in crops.split(batch_size):
            images = part.to(self.device)
            both = torch.cat((self._answer(images), self._answer(images.flip(3))), dim=1)
            parts.append(functional.normalize(both.float(), dim=1).cpu())
        return torch.cat(parts).numpy()

    def embed(self, faces: Faces, batch_size: int = _BATCH) -> np.ndarray:
        """Align and embed faces.

        Args:
            faces: pictures and points.
            batch_size: faces at a time; does not matter to the answer.

        Returns:
            (N, 2 D) float32 of length 1; NaN for a face whose points are unusable.
        """
        embeddings = [
            self._embed_rows(faces, rows) for rows in _slices(len(faces.images), batch_size)
        ]
        return np.concatenate(embeddings)

    def _embed_rows(self, faces: Faces, rows: slice) -> np.ndarray:
        part = Faces(faces.images[rows], faces.five[rows], faces.subjects[rows])
        crops, valid = self.crops(part)
        return np.where(valid[:, None], self.embed_crops(crops), np.float32(np.nan))


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Give the cosine of paired embeddings.

    Args:
        first: (N, D).
        second: (N, D).

    Returns:
        (N,) float64 in [-1, 1]; NaN where an embedding is NaN or 0.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected paired embeddings, got {first.shape} and {second.shape}")
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    lengths[lengths == 0] = np.nan
    return np.clip((first * second).sum(axis=1) / lengths, -1, 1)


def _slices(n: int, size: int) -> Iterable[slice]:
    return (slice(start, start + size) for start in range(0, n, size))
