"""Faces as seed 001's networks read them, and their answers for a whole set of faces.

Answers are computed in float32 and per sample: the batch size only decides how fast they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from fer_lib.faces.heatmap import draw_heatmaps
from fer_lib.faces.warp import resize_points
from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.branches import BranchOutput, RgbArm
from fer_lib.networks.landmark_fusion import FusionOutput, LandmarkFusion


@dataclass(frozen=True)
class Faces:
    """Faces as the networks read them; a batch of them is a smaller one of the same kind.

    Attributes:
        crops: (N, S, S, 3) uint8 RGB, tight.
        landmarks_px: (N, K, 2) float32 in the crop; NaN where a face has no usable ones.
        labels: (N,) int64.
        samples: (N,) int64, a number that is a face's own wherever it stands.
        subjects: (N,) int64, a number per person; negative where unknown.
    """

    crops: Tensor
    landmarks_px: Tensor
    labels: Tensor
    samples: Tensor
    subjects: Tensor

    @classmethod
    def of(
        cls,
        crops: Tensor | np.ndarray,
        landmarks_px: Tensor | np.ndarray,
        labels: Tensor | np.ndarray,
        valid: Tensor | np.ndarray | None = None,
        samples: Tensor | np.ndarray | None = None,
        subjects: Tensor | np.ndarray | None = None,
    ) -> Self:
        """Put together what belongs together.

        Args:
            crops: (N, S, S, 3) uint8 RGB.
            landmarks_px: (N, K, 2) in the crop, NaN where unknown.
            labels: (N,) integers.
            valid: (N,) bool, False where the landmarks are not to be used.
            samples: (N,) integers that tell faces apart; by default their positions.
            subjects: (N,) integers that tell people apart; by default nobody is known.

        Raises:
            ValueError: lengths differ, or the crops are no uint8 RGB images.
        """
        crops = torch.as_tensor(crops)
        points = torch.as_tensor(landmarks_px, dtype=torch.float32)
        classes = torch.as_tensor(labels, dtype=torch.int64)
        samples = np.arange(len(classes)) if samples is None else samples
        subjects = np.full(len(classes), -1) if subjects is None else subjects
        numbers = [torch.as_tensor(values, dtype=torch.int64) for values in (samples, subjects)]
        lengths = [len(field) for field in (crops, points, classes, *numbers)]
        if len(set(lengths)) != 1:
            raise ValueError(
                "expected as many crops as landmarks, labels, samples and subjects, got "
                f"{lengths}; take them from the same rows"
            )
        if crops.dtype != torch.uint8 or crops.shape[1:] != (crops.shape[1], crops.shape[1], 3):
            raise ValueError(
                f"expected uint8 (N, S, S, 3), got {crops.dtype} {tuple(crops.shape)}; warp them"
            )
        usable = landmarks_known(points)
        usable = usable if valid is None else usable & torch.as_tensor(valid)
        known = torch.where(usable[:, None, None], points, torch.nan)
        return cls(crops, known, classes, *numbers)

    def __len__(self) -> int:
        """Give the number of faces."""
        return len(self.labels)

    def take(self, indices: Tensor | list[int]) -> Self:
        """Give the faces at some positions."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return self._each(lambda field: field[chosen])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Give the same faces on a device."""
        return self._each(lambda field: field.to(device, non_blocking=non_blocking))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(*(change(getattr(self, field.name)) for field in fields(self)))


def landmarks_known(landmarks_px: Tensor) -> Tensor:
    """Tell whether all landmarks of a face are known: (B, K, 2) → (B,) bool."""
    return landmarks_px.isfinite().flatten(1).all(dim=1)


def to_heatmaps(landmarks_px: Tensor, crop_px: int, size: int) -> Tensor:
    """Draw landmarks (B, K, 2) of crops of a side as heat maps (B, 1, size, size)."""
    return draw_heatmaps(resize_points(landmarks_px, crop_px, size), size)


def to_images(crops: Tensor) -> Tensor:
    """Turn (B, S, S, 3) uint8 into (B, 3, S, S) float32 in [0, 1], channels last in memory."""
    return crops.permute(0, 3, 1, 2).float() / 255


def run_rgb(
    network: RgbArm,
    crops: Tensor,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    change: Callable[[Tensor], Tensor] | None = None,
) -> BranchOutput:
    """Run the RGB branch over any number of faces.

    Args:
        network: on ``device`` already.
        crops: (N, S, S, 3) uint8.
        batch_size: faces at a time.
        device: where the network is.
        change: applied to the images (B, 3, S, S) before the network.

    Returns:
        Logits (N, C) and features (N, D) on the CPU.
    """

    def run(part: slice) -> BranchOutput:
        images = to_images(crops[part].to(device))
        return network(images if change is None else change(images))

    network.eval()
    return BranchOutput(*_in_batches(run, len(crops), batch_size))


def run_fusion(
    network: LandmarkFusion,
    faces: Faces,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    rgb: BranchOutput | None = None,
) -> FusionOutput:
    """Run the fused network over any number of faces.

    Args:
        network: on ``device`` already.
        faces: what to recognise; labels are not looked at.
        batch_size: faces at a time.
        device: where the network is.
        rgb: outputs of the RGB branch for these faces, where they are known already.

    Returns:
        All answers, features and weights on the CPU.
    """
    rgb = run_rgb(network.rgb, faces.crops, batch_size, device) if rgb is None else rgb
    size = network.landmark.config["image_size"]

    def run(part: slice) -> FusionOutput:
        points = faces.landmarks_px[part].to(device)
        landmark = network.landmark(to_heatmaps(points, faces.crops.shape[1], size))
        known = BranchOutput(rgb.logits[part].to(device), rgb.feature[part].to(device))
        return network.fuse(known, landmark, landmarks_known(points))

    network.eval()
    return FusionOutput(*_in_batches(run, len(faces), batch_size))


def predict(
    network: RgbArm | LandmarkFusion,
    faces: Faces,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    affinity: SharingAffinity = SharingAffinity.RUNNING,
) -> dict[str, np.ndarray]:
    """Give every recogniser's probabilities.

    Args:
        network: on ``device`` already.
        faces: what to recognise; labels are not looked at.
        batch_size: faces at a time; matters to the answer only with batch affinity.
        device: where the network is.
        affinity: ``running`` answers per sample. ``batch`` with ``batch_size=64`` and faces in
            file order is the published protocol, where neighbours in the list change the answer.

    Returns:
        ``rgb`` and, of a fused network, ``landmark`` and ``fusion``: (N, C) float32.
    """
    with affinity_policy(network, affinity):
        if isinstance(network, RgbArm):
            logits = {"rgb": run_rgb(network, faces.crops, batch_size, device).logits}
        else:
            output = run_fusion(network, faces, batch_size, device)
            logits = {
                "rgb": output.rgb_logits,
                "landmark": output.landmark_logits,
                "fusion": output.logits,
            }
    return {name: values.softmax(dim=1).numpy() for name, values in logits.items()}


@torch.no_grad()
def _in_batches(
    run: Callable[[slice], NamedTuple], count: int, batch_size: int
) -> tuple[Tensor, ...]:
    if count == 0:
        raise ValueError("expected at least one face, got none; check the split")
    parts = [slice(start, start + batch_size) for start in range(0, count, batch_size)]
    outputs = [[field.cpu() for field in run(part)] for part in parts]
    return tuple(torch.cat(fields) for fields in zip(*outputs, strict=True))
