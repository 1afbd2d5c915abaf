"""Why a fused network answers as it does, face by face.

What the weight w of a disagreeing landmark branch does not change – both branches and where they
look – is computed once; another w then costs one product with the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fer_lib.datasets.crops import cut_tight_crops
from fer_lib.datasets.store import Store
from fer_lib.evaluation.saliency import Saliency, branch_saliency
from fer_lib.networks.arm import SharingAffinity, affinity_policy
from fer_lib.networks.branches import BranchOutput
from fer_lib.networks.landmark_fusion import FusionOutput, LandmarkFusion, Weighting
from fer_lib.plots.saliency import FaceExplanation
from fer_lib.training.inference import Faces, landmarks_known, run_fusion, to_heatmaps, to_images

RECOGNISERS = ("rgb", "landmarks", "fusion")


@dataclass(frozen=True)
class FaceReading:
    """Everything about one face that w does not change.

    Attributes:
        network: the fused network that read it.
        emotions: class names in the order of its logits.
        name: of the sample or the file.
        emotion: the true one, None where it is unknown.
        face: (S, S, 3) uint8 RGB, the tight crop.
        heatmap: (H, H) float32 in [0, 1].
        known: (1,) bool, whether there are landmarks.
        rgb: logits and feature of the RGB branch, one row.
        landmark: the same of the landmark branch.
        maps: where the RGB branch and the landmark branch look; None where there is nothing.
    """

    network: LandmarkFusion
    emotions: tuple[str, ...]
    name: str
    emotion: str | None
    face: np.ndarray
    heatmap: np.ndarray
    known: Tensor
    rgb: BranchOutput
    landmark: BranchOutput
    maps: tuple[np.ndarray | None, np.ndarray | None]

    def explain(self, w: float | None = None) -> FaceExplanation:
        """Fuse both branches with a weight w; the network keeps its own.

        Args:
            w: weight in [0, 1] of a landmark branch that disagrees; None takes the network's.

        Returns:
            The explanation.

        Raises:
            ValueError: w is outside [0, 1].
        """
        w = self.network.disagreement_weight if w is None else w
        if not 0 <= w <= 1:
            raise ValueError(f"expected w from 0 to 1, got {w}")
        # A shallow copy shares the weights but has a setting of its own.
        fused = copy(self.network)
        fused.disagreement_weight = w
        with torch.inference_mode():
            output = fused.fuse(self.rgb, self.landmark, self.known)
        return FaceExplanation(
            self.name, self.emotion, self.face, self.heatmap,
            _probabilities(output, self.emotions), *self.maps,
            landmark_weight=float(output.weight),
            disagreement_weight=w if uses_disagreement(self.network) else None,
            landmarks_known=bool(self.known),
        )  # fmt: skip


def uses_disagreement(network: LandmarkFusion) -> bool:
    """Tell whether a network weighs the landmark branch by its agreement, so that w matters."""
    return network.weighting in (Weighting.AGREEMENT, Weighting.BOTH)


def read_face(
    network: LandmarkFusion,
    crop: np.ndarray | Tensor,
    landmarks_px: np.ndarray | Tensor,
    emotions: Sequence[str],
    *,
    name: str = "face",
    emotion: str | None = None,
) -> FaceReading:
    """Run both branches over one face and see where each looks for its own answer.

    The answer is per sample: a network with batch affinity is read with the running one.

    Args:
        network: the fused network, on any device.
        crop: (S, S, 3) uint8 RGB, S the side that the RGB branch takes.
        landmarks_px: (K, 2) pixels of the crop; NaN unknown.
        emotions: class names in the order of the network's logits.
        name: of the sample or the file.
        emotion: the true one, where it is known.

    Returns:
        The reading.

    Raises:
        ValueError: crop or names do not fit the network.
    """
    classes, side = network.rgb.config["classes"], network.rgb.config["image_size"]
    if len(emotions) != classes or tuple(crop.shape) != (side, side, 3):
        raise ValueError(
            f"expected {classes} emotions and a crop of {(side, side, 3)}, got {len(emotions)} and "
            f"{tuple(crop.shape)}; take both from where the network was trained"
        )
    device = next(network.parameters()).device
    faces = Faces.of(torch.as_tensor(crop)[None], torch.as_tensor(landmarks_px)[None], [0])
    heatmaps = to_heatmaps(faces.landmarks_px, side, network.landmark.config["image_size"])
    known = landmarks_known(faces.landmarks_px)
    with affinity_policy(network, per_sample_affinity(network)):
        output = run_fusion(network, faces, 1, device)
        looks = branch_saliency(
            network, to_images(faces.crops).to(device), heatmaps.to(device), known.to(device)
        )
    return FaceReading(
        network, tuple(emotions), name, emotion,
        face=faces.crops[0].numpy(),
        heatmap=heatmaps[0, 0].numpy(),
        known=known.to(device),
        rgb=BranchOutput(output.rgb_logits.to(device), output.rgb_feature.to(device)),
        landmark=BranchOutput(
            output.landmark_logits.to(device), output.landmark_feature.to(device)
        ),
        maps=(_map(looks.rgb), _map(looks.landmark)),
    )  # fmt: skip


def explain_face(
    network: LandmarkFusion,
    crop: np.ndarray | Tensor,
    landmarks_px: np.ndarray | Tensor,
    emotions: Sequence[str],
    w: float | None = None,
) -> FaceExplanation:
    """Explain the answers for one face: ``read_face``, then ``FaceReading.explain``."""
    return read_face(network, crop, landmarks_px, emotions).explain(w)


def read_sample(
    network: LandmarkFusion, store: Store, position: int, emotions: Sequence[str]
) -> FaceReading:
    """Read one face of a store; arguments as for ``read_face``, ``position`` is its row."""
    row = store.index.iloc[position]
    crops = cut_tight_crops(store, [position], network.rgb.config["image_size"])
    emotion = None if pd.isna(row["emotion"]) else str(row["emotion"])
    return read_face(
        network, crops.faces[0], crops.landmarks[0], emotions,
        name=str(row["sample_id"]), emotion=emotion,
    )  # fmt: skip


def per_sample_affinity(network: LandmarkFusion) -> SharingAffinity:
    """Give the affinity by which a network answers per sample: its own, but never the batch's."""
    own = SharingAffinity(network.rgb.config["affinity"])
    return SharingAffinity.RUNNING if own is SharingAffinity.BATCH else own


def _probabilities(output: FusionOutput, emotions: tuple[str, ...]) -> pd.DataFrame:
    logits = (output.rgb_logits, output.landmark_logits, output.logits)
    columns = [values.float().softmax(dim=1)[0].cpu().numpy() for values in logits]
    return pd.DataFrame(dict(zip(RECOGNISERS, columns, strict=True)), index=list(emotions))


def _map(saliency: Saliency) -> np.ndarray | None:
    return saliency.maps[0].cpu().numpy() if bool(saliency.found[0]) else None
