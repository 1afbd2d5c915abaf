"""Self-tests of an embedder: whether its cosine measures identity at all.

Random networks reach a cosine of 0.9996 between unrelated photographs where their features share a
common mean; a trained margin network stays near 0 there. What these tests cannot see is an editor
that copies its source: `identity_scores.copy_fault` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from fer_lib.evaluation.identity import Embedder, cosine
from fer_lib.evaluation.identity_calibration import Calibration
from fer_lib.weights import state_hash

MIN_STRANGERS = 100
_NOISES = 4
_PROBES = 4
# Side in px of what is left of a face for the test of degradation: nobody can be told from it.
_BLURRED_SIDE = 6


@dataclass(frozen=True)
class Check:
    """One self-test.

    Attributes:
        name: what is tested.
        value: what came out.
        bound: what was required, in words.
        passed: whether it did.
    """

    name: str
    value: float
    bound: str
    passed: bool


def answer_checks(
    embedder: Embedder, crops: Tensor, embeddings: np.ndarray, subjects: np.ndarray, seed: int
) -> list[Check]:
    """Test weights, people, colours and answers: noise, a face twice, its blur, a common mean.

    Args:
        embedder: what to test.
        crops: (N, 3, H, W) float RGB in [0, 1], cut by its rule.
        embeddings: (N, D) of these crops.
        subjects: (N,) their persons.
        seed: of the noise.

    Returns:
        The checks; those of the answers are left out where there is no face.
    """
    same = state_hash(embedder.network.state_dict()) == embedder.spec.weights_sha256
    # On its own pupils it would look better than on anybody else.
    known = float(pd.Series(subjects).isin(embedder.spec.lineage.subjects).mean())
    checks = [
        Check("agreement of the weights with the recorded ones", float(same), "1", same),
        Check("share of faces whose person it learned from", known, "0", not known > 0),
    ]
    if not len(crops):
        return checks
    generator = torch.Generator().manual_seed(seed)
    noise = embedder.embed_crops(torch.rand(_NOISES, *crops.shape[1:], generator=generator))
    # Spread over the set, alone and in another order than before.
    places = np.linspace(len(crops) - 1, 0, min(_PROBES, len(crops))).astype(int)
    probes, own = crops[places], embeddings[places]
    again = cosine(own, embedder.embed_crops(probes, batch_size=1)).min()
    blurred = cosine(own, embedder.embed_crops(_blur(probes))).mean()
    # Every person once: many pictures of one would be a common mean of their own.
    centre = np.linalg.norm(pd.DataFrame(embeddings).groupby(subjects).mean().mean())
    return [
        *checks,
        _above("share of faces whose skin is as red as blue (else BGR)", _redness(crops), 0.5),
        _above("share of answers that are finite", np.isfinite(embeddings).mean(), 1),
        _below("mean cosine of noise and faces", (embeddings @ noise.T).mean(), 0.3),
        _above("smallest cosine of a face with itself", again, 0.9999),
        _below("mean cosine of a face with its blur", blurred, 0.8),
        _below("length of the mean embedding", centre, 0.5),
    ]


def pair_checks(calibration: Calibration | None) -> list[Check]:
    """Test that there are enough pairs, strangers far apart, and one person nearer than they are.

    Args:
        calibration: None where there are no pairs of one of the kinds.
    """
    count = 0 if calibration is None else len(calibration.impostor)
    checks = [_above("number of pairs of strangers to calibrate with", count, MIN_STRANGERS)]
    if calibration is None:
        return checks
    statistics = calibration.statistics
    return [
        *checks,
        _below("mean cosine of strangers", statistics["mu_impostor"].value, 0.3),
        _above("AUC of one person against strangers", statistics["auc"].value, 0.9),
    ]


def _blur(crops: Tensor) -> Tensor:
    coarse = functional.interpolate(crops, (_BLURRED_SIDE, _BLURRED_SIDE), mode="area")
    return functional.interpolate(coarse, crops.shape[2:], mode="bilinear")


def _redness(crops: Tensor) -> float:
    """Skin is redder than blue in any usual light; in a grey picture both are equal."""
    height, width = crops.shape[2:]
    skin = crops[:, :, int(0.45 * height) : int(0.75 * height), int(0.3 * width) : int(0.7 * width)]
    excess = (skin[:, 0] - skin[:, 2]).flatten(1).median(dim=1).values
    return float((excess >= 0).float().mean())


def _below(name: str, value: float, bound: float) -> Check:
    return Check(name, float(value), f"below {bound:g}", bool(value < bound))


def _above(name: str, value: float, bound: float) -> Check:
    return Check(name, float(value), f"at least {bound:g}", bool(value >= bound))
