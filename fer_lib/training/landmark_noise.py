"""Landmarks as a worse detector would have found them: a fixed error for every face."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from fer_lib.faces.align import SEED_FRAME
from fer_lib.training.inference import Faces

_EYES_APART_FRAC = (SEED_FRAME[1][0] - SEED_FRAME[0][0]) / 100


def with_landmark_noise(faces: Faces, pct_iod: float, seed: int = 0) -> Faces:
    """Move every landmark once, as a detector errs: the same face always errs in the same way.

    The error is Gaussian and alike in all directions of the tight crop. Its size is the root mean
    square distance between where a point is and where it is drawn; the mean distance (the
    normalised mean error of detectors) is 0.886 of it, and each coordinate's standard deviation
    0.707. The tight crop puts the eyes half its side apart, which is the inter-ocular distance
    here; where a degenerate face got a similarity instead, its eyes are nearer to each other. The
    crop itself stays as it was aligned.

    Args:
        faces: to disturb; unknown landmarks stay unknown.
        pct_iod: root mean square displacement in percent of the inter-ocular distance.
        seed: of the error, together with each face's ``samples`` number: neither the order of the
            faces nor the other faces matter.

    Returns:
        The faces with other landmarks.

    Raises:
        ValueError: the displacement is negative or not finite.
    """
    if not 0 <= pct_iod < math.inf:
        raise ValueError(f"expected a landmark noise of 0 % or more, got {pct_iod}")
    if pct_iod == 0 or not len(faces):
        return faces
    iod_px = _EYES_APART_FRAC * faces.crops.shape[1]
    spread_px = pct_iod / 100 * iod_px / math.sqrt(2)
    shape = faces.landmarks_px.shape[1:]
    errors = np.stack([_error(seed, sample, shape) for sample in faces.samples.tolist()])
    moved = faces.landmarks_px + spread_px * torch.from_numpy(errors).to(faces.landmarks_px)
    return replace(faces, landmarks_px=moved)


def _error(seed: int, sample: int, shape: tuple[int, ...]) -> np.ndarray:
    key = np.array([seed, sample % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape)
