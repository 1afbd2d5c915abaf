"""Where a recogniser looks: Grad-CAM++ of any convolutional layer, and of seed 001's two branches.

Source: Chattopadhyay et al., "Grad-CAM++: Generalized gradient-based visual explanations for deep
convolutional networks", WACV 2018; seed 001, Tables 9 and 10, for the layers.

Letters: A are the cells of a layer, g the gradient of the target's logit by them, α the weight of a
cell's gradient within its channel, w the weight of a channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fer_lib.networks.arm import AmendRepresentation, SharingAffinity
from fer_lib.networks.branches import LandmarkArm
from fer_lib.networks.landmark_fusion import LandmarkFusion

# A map whose highest and lowest cell differ by less than this share is the same everywhere: what
# differs is float32 rounding, which scaling would blow up to a picture.
_CONTRAST = 1e-6


class Saliency(NamedTuple):
    """Where one network looks, sample by sample.

    ``maps`` is (B, H, W) float32 of the input's size, from 0 to 1 within each sample; ``found`` is
    (B,) bool, False where there is nothing to show and the map is 0; ``targets`` is (B,) int64, the
    class that each map speaks for.
    """

    maps: Tensor
    found: Tensor
    targets: Tensor


class BranchSaliency(NamedTuple):
    """Where each branch looks for its own answer, not for the fused one."""

    rgb: Saliency
    landmark: Saliency


class LandmarkLayer(StrEnum):
    """Which convolution of the landmark branch is looked at, after batch norm and ReLU.

    ``LAST``: the sixth, right before ARM, as the RGB branch's layer is. ``FIFTH``: the one that
    seed 001 names, although its Table 1 has a sixth after it; it has finer cells.
    """

    LAST = "last"
    FIFTH = "fifth"


def grad_cam_pp(
    network: nn.Module,
    layer: nn.Module,
    inputs: Tensor,
    targets: Tensor | None = None,
    *,
    epsilon: float = 1e-6,
) -> Saliency:
    """Show where a network looks when it scores a class, by Grad-CAM++.

    The network answers in evaluation mode, frozen or not, and is left as it was found. A sample's
    map does not depend on the others. Weights belong to whole channels: a cell is bright where the
    channels that speak for the class are active, even if the logit does not read that very cell.

    Args:
        network: gives logits (B, C), or a tuple that has them as ``logits``.
        layer: a part of it whose output is (B, K, h, w); not negative, as after a ReLU.
        inputs: (B, channels, H, W), where the network is.
        targets: (B,) int64 classes; None takes the network's own answers.
        epsilon: added to the denominator of α. The published formula has none; 1e-6 is customary,
            and dampens gradients below about 1e-3.

    Returns:
        Maps of the input's size. A map that is 0, or the same everywhere, is not ``found``.

    Raises:
        ValueError: the answer would depend on the batch, the layer is not a single step towards the
            logits, targets do not fit, or something is not finite.
    """
    _check_network(network, layer)
    with _in_evaluation(network), torch.inference_mode(False), torch.enable_grad():
        with _cut_at(layer) as cuts:
            # A copy: what was made in inference mode cannot take part in a gradient.
            logits = _logits(network(inputs.clone()))
        cells = _only(cuts, layer)
        targets = _checked_targets(targets, logits)
        gradient = _gradient(logits, targets, cells)
    raw = _class_map(cells.detach().float(), gradient.float(), epsilon)
    _check_finite(raw, logits)
    maps, found = _scaled(raw, inputs.shape[-2:])
    return Saliency(maps, found, targets)


def branch_saliency(
    network: LandmarkFusion,
    images: Tensor,
    heatmaps: Tensor,
    valid: Tensor,
    targets: Tensor | None = None,
    layer: LandmarkLayer = LandmarkLayer.LAST,
) -> BranchSaliency:
    """Show where each branch of the fused network looks, by Grad-CAM++ of its own logits.

    Args:
        network: the fused network; its ARMs share ``running`` affinity or ``none``.
        images: (B, 3, S, S) float RGB in [0, 1].
        heatmaps: (B, 1, H, H) float in [0, 1].
        valid: (B,) bool; where False the landmarks are unknown and their map is not ``found``.
        targets: (B,) int64 classes for both branches; None takes each branch's own answers.
        layer: which convolution of the landmark branch is looked at.

    Returns:
        Maps of the size of the images, of the last stage before ARM, and of the heat maps.

    Raises:
        ValueError: numbers of samples differ; all that ``grad_cam_pp`` refuses.
    """
    counts = [len(images), len(heatmaps), len(valid)]
    if len(set(counts)) != 1:
        raise ValueError(f"expected as many images as heat maps and valid flags, got {counts}")
    rgb = grad_cam_pp(network.rgb, network.rgb.trunk[-1], images, targets)
    step = _landmark_step(network.landmark, LandmarkLayer(layer))
    maps, found, classes = grad_cam_pp(network.landmark, step, heatmaps, targets)
    known = valid.to(found)
    return BranchSaliency(rgb, Saliency(maps * known[:, None, None], found & known, classes))


def _landmark_step(branch: LandmarkArm, layer: LandmarkLayer) -> nn.Module:
    # One ReLU follows each convolution, and its output is what the next one, or ARM, reads.
    steps = [part for part in branch.trunk if isinstance(part, nn.ReLU)]
    return steps[4] if layer is LandmarkLayer.FIFTH else steps[-1]


def _check_network(network: nn.Module, layer: nn.Module) -> None:
    parts = list(network.modules())
    if not any(part is layer for part in parts):
        raise ValueError(
            f"expected a layer of the network, got a {type(layer).__name__} outside it"
        )
    arms = [part for part in parts if isinstance(part, AmendRepresentation)]
    if any(arm.affinity is SharingAffinity.BATCH for arm in arms):
        raise ValueError(
            "expected sharing affinity 'running' or 'none', got 'batch', where a map would mix the "
            "samples of its batch; set it with affinity_policy"
        )


@contextmanager
def _in_evaluation(network: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def _cut_at(layer: nn.Module) -> Iterator[list[Tensor]]:
    cuts: list[Tensor] = []

    def cut(_layer: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            form = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"expected a layer that gives (B, K, h, w), got {form}")
        # The gradient starts here: nothing before the layer needs one, so it may be frozen.
        cuts.append(output.detach().requires_grad_())
        # The rest reads a copy, which an in-place step after the layer may overwrite.
        return cuts[-1].clone()

    handle = layer.register_forward_hook(cut)
    try:
        yield cuts
    finally:
        handle.remove()


def _logits(output: object) -> Tensor:
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        form = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"expected a network that gives logits (B, C), got {form}")
    return logits


def _only(cuts: list[Tensor], layer: nn.Module) -> Tensor:
    if len(cuts) != 1:
        raise ValueError(
            f"expected a layer that runs once, got a {type(layer).__name__} that ran {len(cuts)} "
            "times; choose the block around it"
        )
    return cuts[0]


def _checked_targets(targets: Tensor | None, logits: Tensor) -> Tensor:
    if targets is None:
        return logits.argmax(dim=1)
    count, classes = logits.shape
    if targets.shape != (count,) or targets.dtype != torch.int64:
        raise ValueError(
            f"expected int64 targets of shape ({count},), "
            f"got {targets.dtype} {tuple(targets.shape)}"
        )
    if count and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ValueError(f"expected targets from 0 to {classes - 1}, got {targets.tolist()}")
    return targets.to(logits.device)


def _gradient(logits: Tensor, targets: Tensor, cells: Tensor) -> Tensor:
    # Samples do not mix, so the gradient of the sum holds every sample's own.
    total = logits.gather(1, targets[:, None]).sum()
    gradient = None
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, cells, allow_unused=True)
    if gradient is None:
        raise ValueError(
            "expected logits with a gradient towards the layer, got none; choose a layer that they "
            "are computed from, outside no_grad"
        )
    return gradient


def _class_map(cells: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
    # α = g² / (2g² + ΣA·g³ + ε), divided by g²: in float32 the cube of a small gradient is 0.
    total = cells.sum(dim=(2, 3), keepdim=True)
    share = 1 / (2 + total * gradient + epsilon / gradient / gradient)
    # Where g is not positive its ReLU is 0; written so that NaN stays NaN.
    weights = torch.where(gradient <= 0, 0, gradient * share).sum(dim=(2, 3), keepdim=True)
    return (weights * cells).sum(dim=1).relu()


def _check_finite(raw: Tensor, logits: Tensor) -> None:
    finite = raw.flatten(1).isfinite().all(dim=1) & logits.isfinite().all(dim=1)
    if not finite.all():
        places = (~finite).nonzero().flatten().tolist()
        raise ValueError(
            f"expected finite logits and maps, got NaN or infinity in samples {places}"
        )


def _scaled(raw: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    maps = interpolate(raw[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    found = high - low > _CONTRAST * high
    scaled = (maps - low) / torch.where(found, high - low, 1)
    return torch.where(found, scaled, 0), found.flatten()
