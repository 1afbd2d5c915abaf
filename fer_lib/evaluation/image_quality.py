"""PSNR, SSIM and LPIPS of image pairs, by region, with intervals.

They compare an image with what it should be: a reconstruction, the surroundings that an edit must
leave alone, or a true edit. Of an edit without a true one they say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.image_pairs import (
    Images,
    check_pair,
    region_means,
    stack_regions,
    unit_range,
)
from fer_lib.evaluation.intervals import Interval, bootstrap_interval
from fer_lib.evaluation.perceptual_distance import Lpips

WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class ImageQuality:
    """What was measured.

    Attributes:
        values: one row per pair and region: ``pair``, ``subject`` (where given), ``region``,
            ``pixels`` (sum of the mask), ``mse`` (of [0, 1] values), ``psnr_db`` (infinite for
            identical pixels), ``ssim``, ``lpips_<net>``; NaN where the region is empty.
        notes: metric → what must stand beside its numbers.
        absent: metric → why it could not be computed.
    """

    values: pd.DataFrame
    notes: dict[str, str]
    absent: dict[str, str]


def measure_quality(
    images: Images,
    references: Images,
    masks: Mapping[str, Tensor] | None = None,
    *,
    perceptual: Sequence[Lpips | Absent] = (),
    pairs: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    batch_size: int = 16,
) -> ImageQuality:
    """Compare images with references, over the whole and by region.

    PSNR takes a region's pixels. SSIM averages its map over the region eroded by the window's
    radius, so that no window looks across the border. LPIPS averages its map over the region,
    although its networks look further than that.

    Args:
        images: `(N, H, W, 3)` uint8 or `(N, 3, H, W)` floating point in [0, 1]; RGB. Round to uint8
            what will be stored so.
        references: the same type and shape.
        masks: region → `(N, H, W)` bool or floating point in [0, 1]; from ``faces.regions``.
        perceptual: from ``find_lpips_networks``.
        pairs: N names; by default their numbers.
        subjects: N people, by whom intervals resample.
        batch_size: pairs at a time; does not matter to the values.

    Returns:
        Values, notes and reasons.

    Raises:
        ValueError: no such images or masks, too small ones, or not N names.
    """
    first, second = check_pair(images, references)
    if min(first.shape[2:]) < WINDOW:
        raise ValueError(
            f"expected images of {WINDOW} px or more, the window of SSIM, got "
            f"{tuple(first.shape[2:])}; crop them larger"
        )
    names, weights = stack_regions(masks or {}, first)
    index = _index(names, len(first), pairs, subjects)
    networks = [part for part in perceptual if isinstance(part, Lpips)]
    chunks = zip(*(t.split(batch_size) for t in (first, second, weights)), strict=True)
    measured = [_measure(*chunk, networks) for chunk in chunks]
    columns = {
        name: torch.cat([part[name] for part in measured]).flatten().cpu().double().numpy()
        for name in measured[0]
    }
    absent = {part.name: part.reason for part in perceptual if isinstance(part, Absent)}
    size = "×".join(map(str, first.shape[2:]))
    notes = {network.metric: f"{network.note}; {size} px" for network in networks}
    table = index.assign(**columns, **dict.fromkeys(absent, np.nan))
    return ImageQuality(table, notes, absent)


def _index(
    names: Sequence[str],
    count: int,
    pairs: Sequence[str] | None,
    subjects: Sequence[str] | None,
) -> pd.DataFrame:
    given = {"pair": range(count) if pairs is None else pairs}
    given |= {} if subjects is None else {"subject": subjects}
    for name, values in given.items():
        if len(values) != count:
            raise ValueError(f"expected {count} {name} names, one per pair, got {len(values)}")
    table = pd.DataFrame({name: list(values) for name, values in given.items()})
    repeated = table.loc[table.index.repeat(len(names))].reset_index(drop=True)
    return repeated.assign(region=[*names] * count)


def _measure(
    images: Tensor, references: Tensor, weights: Tensor, networks: Sequence[Lpips]
) -> dict[str, Tensor]:
    """Measure a chunk: metric → `(N, R)`."""
    x, y = (unit_range(planes, torch.float64) for planes in (images, references))
    mse = region_means((x - y).square().mean(dim=1), weights)
    values = {
        "pixels": weights.double().sum(dim=(2, 3)),
        "mse": mse,
        "psnr_db": -10 * mse.log10(),
        "ssim": region_means(ssim_map(x, y), _erode(weights)),
    }
    for network in networks:
        total, where = network.distances(x.float(), y.float())
        by_region = region_means(where, weights[:, 1:])
        values[network.metric] = torch.cat((total[:, None], by_region), dim=1)
    return values


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Give the structural similarity at every place where the whole window fits.

    Args:
        x: `(N, C, H, W)` in [0, 1]; float64, as its variances are small differences.
        y: the same shape.

    Returns:
        `(N, H - 10, W - 10)`, at most 1, the mean over channels.

    Source: Wang et al., Image Quality Assessment, 2004, eq. 13: Gaussian 11 × 11 window, σ = 1.5,
    K1 = 0.01, K2 = 0.03, population variances. scikit-image averages the same places with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``; torchmetrics adds a mirrored
    border, which moves the mean by about 0.01 at 224 px.
    """
    mu_x, mu_y, xx, yy, xy = (_smooth(part) for part in (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = xx - mu_x.square(), yy - mu_y.square(), xy - mu_x * mu_y
    likeness = (2 * mu_x * mu_y + _C1) * (2 * cov + _C2)
    return (likeness / ((mu_x**2 + mu_y**2 + _C1) * (var_x + var_y + _C2))).mean(dim=1)


def _smooth(planes: Tensor) -> Tensor:
    # As two matrix products this is 3 to 10 times as fast as a convolution in float64.
    down, along = (_window_rows(side, planes) for side in planes.shape[2:])
    return down @ planes @ along.T


def _window_rows(side: int, like: Tensor) -> Tensor:
    """Give the Gaussian window at each of its places along a side: `(side - 10, side)`."""
    places = torch.arange(side, dtype=like.dtype, device=like.device)
    offsets = places - places[: side - WINDOW + 1, None] - WINDOW // 2
    heights = -offsets.square() / (2 * _SIGMA**2)
    return heights.masked_fill(offsets.abs() > WINDOW // 2, -torch.inf).softmax(dim=1)


def _erode(weights: Tensor) -> Tensor:
    """Give the least weight under each window: `(N, R, H - 10, W - 10)`."""
    lowest = functional.max_pool2d(-weights, (WINDOW, 1), stride=1)
    return -functional.max_pool2d(lowest, (1, WINDOW), stride=1)


def summarise_quality(quality: ImageQuality, *, seed: int = 0) -> pd.DataFrame:
    """Give every metric by region with its 95 % interval.

    ``psnr_mean_db`` is the mean of per-pair dB, as most papers report it; identical pairs, whose
    dB are infinite, are counted in ``identical`` and left out unless all are. ``psnr_pooled_db`` is
    the dB of the squared error pooled over all pixels of all pairs.

    Args:
        quality: from ``measure_quality``; its rows may be a part, such as one emotion's pairs.
        seed: of the bootstrap, which draws whole subjects where they are known.

    Returns:
        Columns ``metric``, ``region``, ``value``, ``low``, ``high``, ``n``, ``identical``,
        ``missing`` (pairs in which the region is empty) and ``note``.
    """
    rows = []
    for region, part in quality.values.groupby("region", sort=False):
        for metric, interval, missing in _intervals(part, quality, seed):
            note = quality.absent.get(metric) or quality.notes.get(metric, "")
            identical = int((part["mse"] == 0).sum())
            counts = {"identical": identical, "missing": missing, "note": note}
            rows.append({"metric": metric, "region": region, **interval._asdict(), **counts})
    return pd.DataFrame(rows)


def _intervals(
    part: pd.DataFrame, quality: ImageQuality, seed: int
) -> list[tuple[str, Interval, int]]:
    differing = part[np.isfinite(part["psnr_db"])]
    rows = [("psnr_mean_db", "psnr_db", part if differing.empty else differing)]
    rows += [(name, name, part) for name in ("ssim", *quality.notes, *quality.absent)]
    found = [
        (metric, _mean(chosen, column, seed), int(part[column].isna().sum()))
        for metric, column, chosen in rows
    ]
    pooled = _mean(part, "mse", seed, weight="pixels")
    with np.errstate(divide="ignore"):
        # More error is fewer dB, so the ends change places.
        value, high, low = (float(-10 * np.log10(edge)) for edge in pooled[:3])
    pooled_db = Interval(value, low, high, pooled.n)
    return [found[0], ("psnr_pooled_db", pooled_db, found[0][2]), *found[1:]]


def _mean(values: pd.DataFrame, column: str, seed: int, weight: str | None = None) -> Interval:
    known = values[values[column].notna()]
    cells = known[column].to_numpy(float)
    if len(cells) and np.isinf(cells).all():
        return Interval(np.inf, np.inf, np.inf, len(cells))
    weights = known[weight].to_numpy(float) if weight else np.ones(len(cells))
    subjects = known["subject"] if "subject" in known else None
    return bootstrap_interval(
        np.column_stack([cells * weights, weights]),
        lambda sums: sums[:, 0] / sums[:, 1],
        subjects if subjects is not None and subjects.notna().all() else None,
        seed=seed,
    )
