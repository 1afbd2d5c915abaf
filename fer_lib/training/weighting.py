"""How to weigh landmarks, studied on outputs that are there already: w, and the four modes.

Nothing here runs a branch again: logits follow from cached features through the fused head alone.
Source: seed 001, Figure 4 (w) and Tables 7 and 8 (modes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from fer_lib.networks.branches import BranchOutput
from fer_lib.networks.landmark_fusion import (
    FusionOutput,
    LandmarkFusion,
    Weighting,
    landmark_weight,
)
from fer_lib.training.inference import Faces, landmarks_known
from fer_lib.training.supervised import TrainingSettings, fit_best, index_loader, losses

SWEEP = tuple(step / 10 for step in range(11))
"""The eleven values of w in seed 001, Figure 4."""
_PUBLISHED_W = 0.6


@torch.no_grad()
def sweep_disagreement_weight(
    network: LandmarkFusion,
    output: FusionOutput,
    valid: Tensor,
    labels: Tensor,
    weights: Iterable[float] = SWEEP,
) -> pd.DataFrame:
    """Count how many faces a trained fusion recognises with other values of w.

    The head stays as it was trained; only the factor of disagreeing landmarks changes. A weighting
    without agreement does not know w and gives the same accuracy throughout.

    Args:
        network: the fusion that gave the output.
        output: of ``run_fusion``, on the CPU.
        valid: (N,) bool, where the landmarks are known.
        labels: (N,) int64.
        weights: values of w in 0 to 1.

    Returns:
        One row per value: ``w``, ``accuracy``, ``correct`` and ``n``.
    """
    matrix = network.fc.weight.detach().cpu()
    pixels = functional.linear(
        network.rgb_part(_rgb(output)), matrix[:, : network.rgb_length], network.fc.bias.cpu()
    )
    landmarks = functional.linear(output.landmark_feature, matrix[:, network.rgb_length :])
    rows = []
    for w in weights:
        factor = landmark_weight(
            output.landmark_logits, output.rgb_logits, valid, network.weighting, w
        )
        answers = (pixels + factor[:, None] * landmarks).argmax(dim=1)
        rows.append((w, int((answers == labels).sum()), len(labels)))
    table = pd.DataFrame(rows, columns=["w", "correct", "n"])
    return table.assign(accuracy=table["correct"] / table["n"])[["w", "accuracy", "correct", "n"]]


def choose_weight(val_table: pd.DataFrame) -> float:
    """Choose w by a sweep over validation faces; of equals the one nearest to the published 0.6.

    Args:
        val_table: of ``sweep_disagreement_weight``, on validation faces, never on test faces.

    Returns:
        w.
    """
    best = val_table.loc[val_table["correct"] == val_table["correct"].max(), "w"]
    return float(min(best, key=lambda w: (abs(w - _PUBLISHED_W), w)))


def weighting_ablation(
    network: LandmarkFusion,
    train: Faces,
    val: Faces,
    train_output: FusionOutput,
    val_output: FusionOutput,
    settings: TrainingSettings,
    modes: Sequence[Weighting] = tuple(Weighting),
) -> dict[str, LandmarkFusion]:
    """Train one fused head per weighting mode on the cached outputs of the trained branches.

    An approximation of Tables 7 and 8: in the published design the fused loss also reaches the
    landmark branch, so each mode has a landmark branch of its own. Here all share the one that was
    trained with ``network``, and the heads alone differ; a full retraining is ``train_fusion`` of a
    fusion with another ``weighting``.

    Args:
        network: the trained fusion; left as it is.
        train: faces to learn from.
        val: faces to choose each head's epoch by.
        train_output: of ``run_fusion`` on the training faces, with the RGB outputs that the head is
            to learn from (the branch's own, or the first view out of fold).
        val_output: of ``run_fusion`` on the validation faces.
        settings: how; augmentation does not apply.
        modes: which.

    Returns:
        By mode, a fusion that shares its branches with ``network``; ``fuse_again`` gives its
        answers from cached outputs.
    """
    variants = {str(mode): _with_mode(network, Weighting(mode)) for mode in modes}
    for name, variant in variants.items():
        _train_head(variant, (train, train_output), (val, val_output), settings, name)
    return variants


def refit_rgb_head(
    network: LandmarkFusion,
    train: Faces,
    val: Faces,
    train_output: FusionOutput,
    val_output: FusionOutput,
    settings: TrainingSettings,
) -> LandmarkFusion:
    """Train the fused head on the cached RGB outputs alone: what refitting does without landmarks.

    The control of every fused head: it starts from the same answers and is trained in the same
    way, but every landmark feature is weighted by 0. What a fusion gains over this it owes to
    landmarks.

    Args:
        network: the trained fusion; left as it is.
        train: faces to learn from.
        val: faces to choose the epoch by.
        train_output: of ``run_fusion`` on the training faces.
        val_output: of ``run_fusion`` on the validation faces.
        settings: how; augmentation does not apply.

    Returns:
        A fusion whose answers ``fuse_again`` gives with ``valid`` all False.
    """
    variant = _with_mode(network, network.weighting)
    blind_train, blind_val = _without_landmarks(train), _without_landmarks(val)
    faces = (blind_train, train_output), (blind_val, val_output)
    _train_head(variant, *faces, settings, "no landmarks")
    return variant


@torch.no_grad()
def fuse_again(network: LandmarkFusion, output: FusionOutput, valid: Tensor) -> FusionOutput:
    """Weigh and join cached outputs anew, as another fusion of the same branches does.

    Args:
        network: gives the weighting, w and the head.
        output: of ``run_fusion`` with the same branches, on the CPU.
        valid: (N,) bool, where the landmarks are known.

    Returns:
        Its answers on the CPU.
    """
    device = network.fc.weight.device
    rgb, landmark = (
        BranchOutput(*(field.to(device) for field in branch))
        for branch in (_rgb(output), _landmark(output))
    )
    return FusionOutput(*(field.cpu() for field in network.fuse(rgb, landmark, valid.to(device))))


def _without_landmarks(faces: Faces) -> Faces:
    return replace(faces, landmarks_px=torch.full_like(faces.landmarks_px, torch.nan))


def _rgb(output: FusionOutput) -> BranchOutput:
    return BranchOutput(output.rgb_logits, output.rgb_feature)


def _landmark(output: FusionOutput) -> BranchOutput:
    return BranchOutput(output.landmark_logits, output.landmark_feature)


def _with_mode(network: LandmarkFusion, mode: Weighting) -> LandmarkFusion:
    # The new head's random weights are overwritten; the caller's random state stays as it is.
    with torch.random.fork_rng():
        variant = LandmarkFusion(
            network.rgb, network.landmark, mode, network.disagreement_weight,
            network.detach_confidence, network.head, network.rgb_frozen,
        )  # fmt: skip
    variant.warm_start()
    return variant.to(network.fc.weight.device).eval()


def _train_head(
    variant: LandmarkFusion,
    train: tuple[Faces, FusionOutput],
    val: tuple[Faces, FusionOutput],
    settings: TrainingSettings,
    name: str,
) -> None:
    faces, output = train
    fields = (*_rgb(output), *_landmark(output), landmarks_known(faces.landmarks_px), faces.labels)

    def pick(indices: list[int]) -> tuple[Tensor, ...]:
        return tuple(field[indices] for field in fields)

    def step(batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        rgb_logits, rgb_feature, logits, feature, known, labels = batch
        fused = variant.fuse(
            BranchOutput(rgb_logits, rgb_feature), BranchOutput(logits, feature), known
        )
        return losses(fused.logits, labels, settings).mean(), {}

    known, labels = landmarks_known(val[0].landmarks_px), val[0].labels

    def evaluate() -> dict[str, float]:
        answers = fuse_again(variant, val[1], known).logits.argmax(dim=1)
        return {"val_accuracy": float((answers == labels).float().mean())}

    loader = index_loader(faces.labels, pick, settings)
    fit_best(variant.fc, step, evaluate, loader, settings, f"head, weighting {name}")
