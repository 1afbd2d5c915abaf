"""Seed 001: an RGB branch and a landmark branch, the latter weighted by trust, under one head.

Source: Kanamori et al., seed 001, Eq. 1–2.

Letters: p is the landmark branch's confidence (Eq. 1), w the weight of a landmark branch that
disagrees with the RGB branch, and F' = p·w·F the weighted landmark feature (Eq. 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from fer_lib.networks.branches import BranchOutput, LandmarkArm, RgbArm


class Weighting(StrEnum):
    """What the landmark feature is multiplied by (seed 001, Table 7)."""

    NONE = "none"
    CONFIDENCE = "confidence"
    AGREEMENT = "agreement"
    BOTH = "both"


class Head(StrEnum):
    """What the fused head sees of the RGB branch, beside the weighted landmark feature.

    ``FEATURES``: its ARM feature, as published. ``LOG_PROBABILITIES``: what its own head says, in
    class space, which networks trained on other faces share; their feature spaces they do not.
    """

    FEATURES = "features"
    LOG_PROBABILITIES = "log_probabilities"


class FusionOutput(NamedTuple):
    """What the fused network says, and what it rests on.

    ``logits``, ``rgb_logits`` and ``landmark_logits`` are (B, C), the features (B, D) unweighted,
    ``weight`` is (B,) in [0, 1]: the factor p·w of Eq. 2.
    """

    logits: Tensor
    rgb_logits: Tensor
    landmark_logits: Tensor
    rgb_feature: Tensor
    landmark_feature: Tensor
    weight: Tensor


class LandmarkFusion(nn.Module):
    """Both branches, the landmark feature weighted by trust, and a linear head over the two.

    A frozen RGB branch is taken over as it is and never changes again: no gradient, and always in
    evaluation mode, so that neither batch norm nor ARM's running affinity moves.

    Args:
        rgb: a trained RGB branch.
        landmark: the landmark branch, to be trained.
        weighting: which of p and w multiply the landmark feature.
        disagreement_weight: w for samples where the two branches' own labels differ.
        detach_confidence: whether to keep the gradient from flowing through p.
        head: what the fused head sees of the RGB branch.
        rgb_frozen: whether the RGB branch stays as it is (published) or learns with the rest.
    """

    def __init__(
        self,
        rgb: RgbArm,
        landmark: LandmarkArm,
        weighting: Weighting = Weighting.BOTH,
        disagreement_weight: float = 0.6,
        detach_confidence: bool = False,
        head: Head = Head.FEATURES,
        rgb_frozen: bool = True,
    ) -> None:
        super().__init__()
        self.config = {
            "network": "landmark_fusion", "rgb": rgb.config, "landmark": landmark.config,
            "weighting": str(weighting), "disagreement_weight": disagreement_weight,
            "detach_confidence": detach_confidence, "head": str(head), "rgb_frozen": rgb_frozen,
        }  # fmt: skip
        self.rgb = rgb.requires_grad_(not rgb_frozen).train(not rgb_frozen)
        self.landmark = landmark
        self.weighting = Weighting(weighting)
        self.disagreement_weight = disagreement_weight
        self.detach_confidence = detach_confidence
        self.head = Head(head)
        self.rgb_frozen = rgb_frozen
        classes = rgb.config["classes"]
        self.rgb_length = rgb.arm.feature_length if self.head is Head.FEATURES else classes
        self.fc = nn.Linear(self.rgb_length + landmark.arm.feature_length, classes)

    def train(self, mode: bool = True) -> Self:
        """Switch what learns to training; a frozen RGB branch stays in evaluation mode."""
        super().train(mode)
        self.rgb.train(mode and not self.rgb_frozen)
        return self

    @torch.no_grad()
    def warm_start(self) -> None:
        """Set the head so that training starts from the RGB branch's exact probabilities.

        Over features it becomes the RGB branch's own head (equal logits), over log-probabilities
        the identity; what it makes of landmarks is zero.
        """
        features = self.head is Head.FEATURES
        own = self.rgb.fc.weight if features else torch.eye(self.rgb_length)
        self.fc.weight.zero_()
        self.fc.weight[:, : self.rgb_length] = own.to(self.fc.weight)
        self.fc.bias.copy_(self.rgb.fc.bias if features else torch.zeros(self.rgb_length))

    def forward(self, images: Tensor, heatmaps: Tensor, valid: Tensor) -> FusionOutput:
        """Recognise faces with their landmarks.

        Args:
            images: (B, 3, S, S) float RGB in [0, 1].
            heatmaps: (B, 1, H, H) float in [0, 1].
            valid: (B,) bool, False where the landmarks are unknown.

        Returns:
            All three answers, features and weights.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.rgb_frozen):
            rgb = self.rgb(images)
        return self.fuse(rgb, self.landmark(heatmaps), valid)

    def fuse(self, rgb: BranchOutput, landmark: BranchOutput, valid: Tensor) -> FusionOutput:
        """Join the two branches' outputs, which may come from a cache.

        Args:
            rgb: output of the RGB branch.
            landmark: output of the landmark branch for the same samples.
            valid: (B,) bool, False where the landmarks are unknown.

        Returns:
            All three answers, features and weights.
        """
        weight = landmark_weight(
            landmark.logits, rgb.logits, valid,
            self.weighting, self.disagreement_weight, self.detach_confidence,
        )  # fmt: skip
        joined = torch.cat([self.rgb_part(rgb), weight[:, None] * landmark.feature], dim=1)
        return FusionOutput(
            self.fc(joined), rgb.logits, landmark.logits, rgb.feature, landmark.feature, weight
        )

    def rgb_part(self, rgb: BranchOutput) -> Tensor:
        """Give what the fused head sees of the RGB branch: (B, D) features or (B, C) log p."""
        return rgb.feature if self.head is Head.FEATURES else rgb.logits.float().log_softmax(dim=1)


def landmark_weight(
    landmark_logits: Tensor,
    rgb_logits: Tensor,
    valid: Tensor,
    weighting: Weighting = Weighting.BOTH,
    disagreement_weight: float = 0.6,
    detach_confidence: bool = False,
) -> Tensor:
    """Weigh the landmark feature by its confidence and its agreement with the RGB branch.

    Args:
        landmark_logits: (B, C) of the landmark branch's own head.
        rgb_logits: (B, C) of the RGB branch's own head.
        valid: (B,) bool; where False the weight is 0, whatever the weighting.
        weighting: which factors count.
        disagreement_weight: w where the two labels differ; it is 1 where they agree.
        detach_confidence: whether to keep the gradient from flowing through p.

    Returns:
        (B,) float32: p·w in [0, 1].

    Source: seed 001, Eq. 1 and 2.
    """
    weight = valid.float()
    if weighting in (Weighting.CONFIDENCE, Weighting.BOTH):
        confidence = landmark_logits.float().softmax(dim=1).amax(dim=1)
        weight = weight * (confidence.detach() if detach_confidence else confidence)
    if weighting in (Weighting.AGREEMENT, Weighting.BOTH):
        agree = landmark_logits.argmax(dim=1) == rgb_logits.argmax(dim=1)
        weight = weight * torch.where(agree, 1.0, disagreement_weight)
    return weight


def build(config: Mapping[str, Any]) -> RgbArm | LandmarkArm | LandmarkFusion:
    """Make a network of this module again from the config it carries, with fresh weights.

    Args:
        config: the ``config`` of a network, as stored in its checkpoint.

    Returns:
        The network.

    Raises:
        ValueError: the config names no network of this module.
    """
    options = {key: value for key, value in config.items() if key != "network"}
    kind = config.get("network")
    if kind == "landmark_fusion":
        branches = {name: build(options.pop(name)) for name in ("rgb", "landmark")}
        return LandmarkFusion(**branches, **options)
    if kind not in ("rgb_arm", "landmark_arm"):
        raise ValueError(f"expected rgb_arm, landmark_arm or landmark_fusion, got {kind!r}")
    return (RgbArm if kind == "rgb_arm" else LandmarkArm)(**options)
