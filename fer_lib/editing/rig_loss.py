"""What a rig editor is punished for while it learns.

Stage 1, the prior: the velocity of the noise, with conditions dropped now and then. Stage 2 asks
that a person's shape β does not change across an edit. Where true edits are known that is the same
loss on other data: the picture of the edit, from the source's code, face and photograph, which the
mesh has carried there ("cross-code"). Where none are, a frozen encoder reads β and ψ off the
picture that one step of denoising promises: β must be the source's, and ψ the one that was asked
for, or doing nothing would be best.

Letters: x̂_0 the promised picture, β shape, ψ expression, SNR the signal-to-noise ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.editing.buffers import carried_photograph
from fer_lib.editing.rig import RigEditor
from fer_lib.editing.rig_batches import RigBatch
from fer_lib.editing.rig_reader import Reader
from fer_lib.editing.schedule import Schedule, clean_and_noise, velocity
from fer_lib.networks.denoiser import drop_conditions

_TINY = 1e-6
_LEAST = 1e-4  # mean square of the doubt, below which a sample counts less


@dataclass(frozen=True)
class KeepingWeights:
    """How much stage 2 asks beside the velocity, and of which noise levels.

    Attributes:
        shape: weight of the change of β.
        expression: weight of the error of ψ.
        background: weight of changes outside both faces.
        least_snr: below it a picture promised without a photograph is too blurred to be read.
        largest_snr: above it the noisy picture already shows what is to be promised.
    """

    shape: float = 0.1
    expression: float = 0.1
    background: float = 0.05
    least_snr: float = 0.3
    largest_snr: float = 8.0


class _Promise(NamedTuple):
    """What the denoiser makes of a noisy batch.

    Attributes:
        x_0: (B,3,S,S) promised pictures.
        error: (B,) mean square error: of v, or of the residual.
        carried: (B,) bool, whether a photograph was shown, and so the residual is meant.
        conditioned: (B,) bool, whether no condition was dropped.
    """

    x_0: Tensor
    error: Tensor
    carried: Tensor
    conditioned: Tensor


def diffusion_step(
    editor: RigEditor, batch: RigBatch, *, gamma: float = 5.0, drop: float = 0.1
) -> tuple[Tensor, dict[str, Tensor]]:
    """Predict the velocity of noisy pictures; a step for a training loop, stage 1 and cross-code.

    Args:
        editor: in training.
        batch: samples whose results are known; others count nothing.
        gamma: of the min-SNR weights, which count where no photograph is carried.
        drop: probability that the buffers are missing, and likewise the code and the photograph.

    Returns:
        The loss, and the unweighted errors: ``v_mse`` where no photograph is carried, and where one
        is ``residual``, the share of what was to be expected: 1 is no better than what was
        carried. Of each the mean over its samples, 0 where there are none.
    """
    t = spread_times(len(batch.images), editor.schedule.steps, batch.images.device)
    promise = _promise(editor, batch, t, drop)
    return _diffusion_loss(editor.schedule, batch, promise, t, gamma)


def keeping_step(
    editor: RigEditor,
    batch: RigBatch,
    reader: Reader,
    *,
    weights: KeepingWeights = KeepingWeights(),
    gamma: float = 5.0,
    drop: float = 0.1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Do as ``diffusion_step``, and keep β across edits; a step for a training loop, stage 2.

    Samples without a known result are only noised to levels at which x̂_0 can be read. Of the others
    those count that happen to be at such a level.

    Args:
        editor: in training.
        batch: samples with and without known results.
        reader: a frozen encoder.
        weights: of the further terms.
        gamma: of the min-SNR weights, which count where no photograph is carried.
        drop: probability that a condition is missing; such samples keep nothing.

    Returns:
        The loss, and the errors of ``diffusion_step`` and the further terms unweighted.
    """
    schedule = editor.schedule
    first, last = readable_times(schedule, weights)
    count, device = len(batch.images), batch.images.device
    inside = first + spread_times(count, last - first + 1, device)
    t = torch.where(batch.known, spread_times(count, schedule.steps, device), inside)
    promise = _promise(editor, batch, t, drop)
    loss, values = _diffusion_loss(schedule, batch, promise, t, gamma)
    chosen = promise.conditioned & (t >= first) & (t <= last)
    terms = _keeping_terms(batch, promise.x_0, reader, chosen)
    for name, term in terms.items():
        loss = loss + getattr(weights, name) * term
    return loss, values | terms


def spread_times(count: int, steps: int, device: torch.device | str) -> Tensor:
    """Draw timesteps that are uniform each and spread evenly over the batch, which calms the loss.

    Args:
        count: B.
        steps: T.
        device: where.

    Returns:
        (B,) int64 in 0 to T - 1, in random order.

    Source: Kingma et al., "Variational diffusion models", NeurIPS 2021, appendix I.1.
    """
    places = torch.randperm(count, device=device) + torch.rand(1, device=device)
    return (places * (steps / count)).long().clamp_max(steps - 1)


def readable_times(schedule: Schedule, weights: KeepingWeights) -> tuple[int, int]:
    """Give the first and the last timestep whose SNR is in the window.

    Raises:
        ValueError: no timestep's is.
    """
    inside = (schedule.snr >= weights.least_snr) & (schedule.snr <= weights.largest_snr)
    if not inside.any():
        raise ValueError(
            f"expected timesteps with an SNR of {weights.least_snr} to {weights.largest_snr}, the "
            "schedule has none; widen the window"
        )
    places = inside.nonzero()[:, 0]
    return int(places[0]), int(places[-1])


def _promise(editor: RigEditor, batch: RigBatch, t: Tensor, drop: float) -> _Promise:
    device, count = batch.images.device, len(batch.images)
    without = torch.rand(3, count, device=device) < drop
    buffers, z = drop_conditions(batch.buffers, editor.code(batch.sources), *without)
    alpha, sigma = editor.schedule.at(t, batch.images)
    noise = torch.randn_like(batch.images)
    x_t = alpha * batch.images + sigma * noise
    v = editor(x_t, t, buffers, z).float()
    wrong = (v - velocity(batch.images, noise, alpha, sigma)).square()
    doubt = carried_photograph(buffers)[1].square()
    carried = doubt.amin((1, 2, 3)) < 1
    weight = torch.where(carried.view(-1, 1, 1, 1), _of_residual(doubt, alpha, sigma), 1.0)
    x_0, _ = clean_and_noise(x_t, v, alpha, sigma)
    return _Promise(x_0, (wrong * weight).mean((1, 2, 3)), carried, ~without.any(0))


def _of_residual(doubt: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Weigh squared errors of v so that they add up to those of s·(v of the residual).

    With s the ``doubt``, here its square (B,1,S,S), an error of v is s/r times one of the
    residual's, r² = s²α² + σ²; over the mean of s² it is a share of what was to be expected. Where
    nothing is in doubt nothing is to be learned.
    """
    share = (doubt * alpha.square() + sigma.square()) / (doubt.mean((2, 3), keepdim=True) + _LEAST)
    return share * (doubt > 0)


def _diffusion_loss(
    schedule: Schedule, batch: RigBatch, promise: _Promise, t: Tensor, gamma: float
) -> tuple[Tensor, dict[str, Tensor]]:
    def mean(values: Tensor, chosen: Tensor) -> Tensor:
        return (values * chosen).sum() / chosen.sum().clamp_min(1)

    weight = torch.where(promise.carried, 1.0, schedule.min_snr_weight(t, gamma))
    told = {"v_mse": ~promise.carried, "residual": promise.carried}
    means = {name: mean(promise.error, one & batch.known) for name, one in told.items()}
    return mean(weight * promise.error, batch.known), means


def _keeping_terms(
    batch: RigBatch, x_0: Tensor, reader: Reader, chosen: Tensor
) -> dict[str, Tensor]:
    """The further terms on the chosen samples; zeros where none is chosen."""
    if not chosen.any():
        return dict.fromkeys(("shape", "expression", "background"), x_0.new_zeros(()))
    x_0, images = x_0[chosen], batch.images[chosen]
    # Clamped as a picture is, while the gradient goes on as if it were not.
    shown = x_0 + (x_0.clamp(-1, 1) - x_0).detach()
    found = reader.read(shown)
    with torch.no_grad():
        own = reader.read(batch.sources[chosen]).shape
    change = (found.shape - own).square() / reader.shape_variance.clamp_min(_TINY)
    missed = (found.expression - batch.psi[chosen]).square()
    outside = 1 - batch.covered[chosen]
    return {
        "shape": _trusted((change - reader.shape_margin).relu(), reader.shape_trust),
        "expression": _trusted(
            missed / reader.psi_variance.clamp_min(_TINY), reader.psi_trust
        ),
        "background": (outside * (x_0 - images).abs()).mean(),
    }  # fmt: skip


def _trusted(values: Tensor, trust: Tensor) -> Tensor:
    """Mean over samples and coefficients, each coefficient as far as it is trusted."""
    return (values * trust).sum(1).mean() / trust.sum().clamp_min(_TINY)
