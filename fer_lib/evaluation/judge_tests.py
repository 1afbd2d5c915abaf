"""Self-tests of judges: what must hold of any network before its answers count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from fer_lib.evaluation.judge_spec import Answers, JudgeSpec
from fer_lib.weights import state_hash

_TOLERANCE = 1e-5
_PROBES = 9
_ALONE = slice(None, None, 4)


def judge_faults(
    spec: JudgeSpec, network: nn.Module, ask: Callable[[Tensor], Answers]
) -> tuple[str, ...]:
    """Say what is wrong with a judge, one clause each; nothing if it is valid.

    The weights are those recorded, answers are finite, sum to one, do not depend on the batch, and
    differ between different images and between RGB and BGR.

    Args:
        spec: what it should be.
        network: the network, for its weights.
        ask: turns (B, 3, S, S) float RGB in [0, 1] into answers on the CPU.
    """
    faults = []
    if state_hash(network.state_dict()) != spec.weights_sha256:
        faults.append("its weights are not the recorded ones")
    try:
        faults += _answer_faults(spec, ask, _probe_images(spec.image_size))
    except (RuntimeError, ValueError) as error:
        faults.append(f"it does not answer: {error}")
    return tuple(faults)


def _answer_faults(spec: JudgeSpec, ask: Callable[[Tensor], Answers], probes: Tensor) -> list[str]:
    answers = ask(probes)
    together = answers.probabilities.numpy()
    if together.shape != (len(probes), len(spec.emotions)):
        return [f"it gives {together.shape[1:]} answers for {len(spec.emotions)} classes"]
    if (answers.valence_arousal is not None) != spec.affect:
        return ["it gives valence and arousal, or gives none, against its specification"]
    if not all(part.isfinite().all() for part in answers if part is not None):
        return ["its answers are not finite"]
    few = probes[_ALONE]
    alone = torch.cat([ask(probe).probabilities for probe in few.split(1)]).numpy()
    bgr = ask(few.flip(1)).probabilities.numpy()
    checks = {
        "its probabilities do not sum to 1": np.abs(together.sum(axis=1) - 1).max() > 1e-4,
        "its probabilities leave [0, 1]": together.min() < 0 or together.max() > 1 + 1e-6,
        "its answers depend on the batch": np.abs(together[_ALONE] - alone).max() > _TOLERANCE,
        "it says the same of every image": np.ptp(together, axis=0).max() < _TOLERANCE,
        "it says the same of RGB and BGR": np.abs(alone - bgr).max() < _TOLERANCE,
    }
    return [fault for fault, found in checks.items() if found]


def _probe_images(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # Coarse colour fields: unlike pixel noise they differ at the scale that networks look at.
    coarse = torch.rand(_PROBES, 3, 4, 4, generator=generator)
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear")
