"""Grain that a diffusion model left behind where no buffer told it what to draw.

The seeds show such pictures and ask whether this is "a problem of diffusion". A picture fails when
it is visibly rougher outside the rendered face than its source is there. Several seeds per source
tell an unlucky draw (some fail) from a condition that the model cannot read (all fail).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from fer_lib.evaluation.face_parameters import mean_interval
from fer_lib.evaluation.image_pairs import region_means
from fer_lib.evaluation.intervals import Interval

VISIBLE = 0.03
"""Standard deviation of grain, of a range of 1, that is seen at once: 8 of 255 grey levels."""
# The difference of two Laplacians: blind to constant, linear and quadratic shades.
_MASK = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])


def roughness(images: NDArray[np.uint8], outside: Tensor) -> NDArray[np.float64]:
    """Estimate the noise of pictures in a region.

    Args:
        images: (N, S, S, 3) uint8 RGB.
        outside: (N, S, S) in [0, 1], the region; a pixel counts when all its neighbours lie in it.

    Returns:
        (N,) standard deviation of the noise, of a range of 1; NaN where no pixel counts.

    Source: Immerkær 1996, Fast Noise Variance Estimation, eq. 4. Texture counts as noise, so only
    differences between pictures of one scene mean something.
    """
    planes = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).double() / 255
    if planes.shape[1] != 3 or outside.shape != (len(planes), *planes.shape[2:]):
        raise ValueError(
            f"expected images (N, S, S, 3) and a region (N, S, S), got {np.shape(images)} and "
            f"{tuple(outside.shape)}; resize the masks with the pictures"
        )
    kernel = _MASK.to(planes).expand(3, 1, 3, 3)
    response = functional.conv2d(planes, kernel, groups=3).abs().mean(1)
    inner = -functional.max_pool2d(-outside[:, None].to(planes), 3, stride=1)
    return math.sqrt(math.pi / 2) / 6 * region_means(response, inner)[:, 0].numpy()


def grain(
    images: NDArray[np.uint8], sources: NDArray[np.uint8], outside: Tensor
) -> NDArray[np.float64]:
    """Estimate the noise that edits have and their sources have not.

    Args:
        images: (N, S, S, 3) uint8 RGB edits.
        sources: the pictures that were edited.
        outside: (N, S, S) in [0, 1], what no buffer covers in either.

    Returns:
        (N,) standard deviation; 0 where the edit is no rougher than its source.
    """
    variance = roughness(images, outside) ** 2 - roughness(sources, outside) ** 2
    return np.sqrt(np.maximum(variance, 0))


def failure_table(
    grains: NDArray[np.floating], subjects: ArrayLike, *, limit: float = VISIBLE, seed: int = 0
) -> pd.DataFrame:
    """Count the edits that failed, seed by seed and source by source.

    Args:
        grains: (N, K), of N sources with K seeds each, from ``grain``; NaN counts as a failure.
        subjects: (N,) persons, who are resampled.
        limit: grain from which an edit has failed.
        seed: of the bootstrap.

    Returns:
        Rows ``all seeds`` (every edit), ``seed 0`` …, ``with every seed`` and ``with any seed``
        (shares of the sources); columns ``value``, ``low``, ``high``, ``n``.
    """
    failed = ~(np.asarray(grains) < limit)
    people = np.asarray(subjects)
    seeds = failed.shape[1]
    shares = {"all seeds": (failed.ravel(), np.repeat(people, seeds))}
    shares |= {f"seed {k}": (failed[:, k], people) for k in range(seeds)}
    shares |= {"with every seed": (failed.all(1), people), "with any seed": (failed.any(1), people)}
    rows = {name: mean_interval(*values, seed=seed) for name, values in shares.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=Interval._fields)
