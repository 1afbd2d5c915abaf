"""What notebook 90 times of the fusion: an epoch and a sweep of w, plainly and from a cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fer_lib.faces.align import SEED_FRAME, frame_points
from fer_lib.networks.branches import LandmarkArm, RgbArm
from fer_lib.networks.landmark_fusion import FusionOutput, LandmarkFusion
from fer_lib.training.fusion import RgbViews, cache_rgb_views, fusion_epoch
from fer_lib.training.inference import Faces, landmarks_known, run_fusion, to_heatmaps
from fer_lib.training.plain import plain_fusion_epoch
from fer_lib.training.supervised import TrainingSettings, label_accuracy, losses, paper_optimiser
from fer_lib.training.weighting import SWEEP, sweep_disagreement_weight

_CLASSES = 7
_LANDMARKS = 68
_VIEWS = 2
_STRIDE = 32


@dataclass
class FusionBench:
    """Two equal fusions, faces, and everything that may be cached; every method is one timed way.

    Attributes:
        plain: the fusion that the plain way trains.
        cached: the one that is trained from cached features.
        faces: random pictures with landmarks scattered around a face; speed does not see faces.
        settings: batch size, device; float32.
        views: cached RGB features of ``cached``.
        output: cached outputs of ``cached`` before any training.
        caching_seconds: what computing the views took.
    """

    plain: LandmarkFusion
    cached: LandmarkFusion
    faces: Faces
    settings: TrainingSettings
    views: RgbViews
    output: FusionOutput
    caching_seconds: float

    @classmethod
    def make(
        cls, faces: int, size: int, widths: Sequence[int], device: torch.device, seed: int
    ) -> FusionBench:
        """Make networks and faces, and fill the cache.

        Args:
            faces: how many; one batch.
            size: side of crops and heat maps.
            widths: first layers of the RGB and the landmark network.
            device: where everything runs.
            seed: of faces and weights.
        """
        drawn = _random_faces(faces, size, seed)
        networks = [_network(size, widths, seed).to(device) for _ in range(2)]
        settings = TrainingSettings(batch_size=faces, device=device, seed=seed)
        networks[1].to(memory_format=torch.channels_last)
        start = time.perf_counter()
        views = cache_rgb_views(networks[1].rgb, drawn.crops, _VIEWS, settings)
        seconds = time.perf_counter() - start
        output = run_fusion(networks[1], drawn, device=device)
        return cls(*networks, drawn, settings, views, output, seconds)

    def plain_epoch(self) -> float:
        """One epoch that recomputes the RGB branch; gives the loss."""
        return plain_fusion_epoch(self.plain, self.faces, self.settings)

    def cached_epoch(self) -> float:
        """One epoch on cached RGB features, forward passes in bfloat16; gives the loss."""
        settings = replace(self.settings, precision="bf16")
        return fusion_epoch(self.cached, self.faces, self.views, settings)

    def cached_epoch_fp32(self) -> float:
        """One epoch on cached RGB features in float32; gives the loss."""
        return fusion_epoch(self.cached, self.faces, self.views, self.settings)

    def landmark_floor(self) -> float:
        """One float32 step of the landmark network alone on the same heat maps; gives the loss."""
        network = self.cached.landmark.train()
        optimiser = paper_optimiser(network.parameters())
        points = self.faces.landmarks_px.to(self.settings.device)
        heatmaps = to_heatmaps(points, self.faces.crops.shape[1], network.config["image_size"])
        labels = self.faces.labels.to(self.settings.device)
        loss = losses(network(heatmaps).logits, labels, self.settings).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    def plain_sweep(self) -> list[float]:
        """Accuracy for each w, the whole network run anew for each."""
        kept, accuracies = self.cached.disagreement_weight, []
        for w in SWEEP:
            self.cached.disagreement_weight = w
            accuracies.append(self._accuracy(self._run()))
        self.cached.disagreement_weight = kept
        return accuracies

    def sweep_with_pass(self) -> list[float]:
        """Accuracy for each w from one run of the network."""
        return self._sweep(self._run())

    def cached_sweep(self) -> list[float]:
        """Accuracy for each w from outputs that are there already."""
        return self._sweep(self.output)

    def sweep_difference_pt(self) -> float:
        """Largest difference between the plain and the cached sweep, in percentage points."""
        difference = np.subtract(self.plain_sweep(), self.sweep_with_pass())
        return float(100 * np.abs(difference).max())

    def _run(self) -> FusionOutput:
        return run_fusion(
            self.cached, self.faces, self.settings.batch_size, self.settings.device
        )

    def _accuracy(self, output: FusionOutput) -> float:
        return float(label_accuracy(output.logits, self.faces.labels))

    def _sweep(self, output: FusionOutput) -> list[float]:
        known = landmarks_known(self.faces.landmarks_px)
        table = sweep_disagreement_weight(self.cached, output, known, self.faces.labels)
        return table["accuracy"].tolist()


def _network(size: int, widths: Sequence[int], seed: int) -> LandmarkFusion:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rgb = RgbArm(_CLASSES, image_size=size, width=widths[0], stride=_STRIDE)
        return LandmarkFusion(rgb, LandmarkArm(_CLASSES, image_size=size, width=widths[1]))


def _random_faces(count: int, size: int, seed: int) -> Faces:
    rng = np.random.default_rng(seed)
    centre = frame_points(SEED_FRAME, size).mean(dim=0).numpy()
    points = centre + rng.normal(scale=size / 5, size=(count, _LANDMARKS, 2))
    crops = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return Faces.of(crops, points, np.arange(count) % _CLASSES)
