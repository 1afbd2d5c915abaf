"""Pairs of images to compare: what is a pair, and means over regions of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = NDArray[np.uint8] | NDArray[np.floating] | Tensor
FULL = "full"
# Interpolation may leave [0, 1] by rounding.
_SLACK = 1e-6


def check_pair(images: Images, references: Images) -> tuple[Tensor, Tensor]:
    """Refuse what is no pair of image batches; nothing is rescaled.

    Args:
        images: `(N, H, W, 3)` uint8 or `(N, 3, H, W)` floating point in [0, 1]; RGB.
        references: the same type and shape.

    Returns:
        Both as `(N, 3, H, W)` tensors of their own type.

    Raises:
        ValueError: another type, shape or range, values that are not finite, or unequal batches.
    """
    first, second = _planes(images, "images"), _planes(references, "references")
    if first.dtype != second.dtype or first.shape != second.shape:
        raise ValueError(
            f"expected images and references of one type and shape, got {first.dtype} "
            f"{tuple(first.shape)} and {second.dtype} {tuple(second.shape)}; align them first"
        )
    if first.device != second.device:
        raise ValueError(
            f"expected images and references on one device, got {first.device} and "
            f"{second.device}; move one of them"
        )
    return first, second


def unit_range(planes: Tensor, dtype: torch.dtype) -> Tensor:
    """Give checked planes as floating point in [0, 1]."""
    return planes.to(dtype) / 255 if planes.dtype == torch.uint8 else planes.to(dtype)


def stack_regions(masks: Mapping[str, Tensor], planes: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """Put the whole image and its regions into one tensor of weights.

    Args:
        masks: region → `(N, H, W)` bool or floating point in [0, 1].
        planes: the checked images `(N, 3, H, W)`.

    Returns:
        Names, ``full`` first, and weights `(N, R, H, W)` float32 on the images' device.

    Raises:
        ValueError: a mask is of another type, shape or range, or is called ``full``.
    """
    shape = (len(planes), *planes.shape[2:])
    for name, mask in masks.items():
        known = isinstance(mask, Tensor)
        known = known and (mask.dtype == torch.bool or mask.is_floating_point())
        if name == FULL or not known or tuple(mask.shape) != shape:
            told = f"{getattr(mask, 'dtype', '')} {tuple(getattr(mask, 'shape', ()))}"
            raise ValueError(
                f"expected masks as tensors {shape}, bool or float, one per pair, none called "
                f"{FULL!r}, got {name!r} {type(mask).__name__} {told}; take those of faces.regions"
            )
        # Comparisons with NaN are false: it is refused as well.
        if not ((mask >= 0) & (mask <= 1)).all():
            raise ValueError(f"expected masks in [0, 1], {name!r} leaves it; divide by its maximum")
    full = torch.ones(shape, device=planes.device)
    weights = [full, *(mask.to(full) for mask in masks.values())]
    return (FULL, *masks), torch.stack(weights, dim=1)


def region_means(values: Tensor, weights: Tensor) -> Tensor:
    """Average maps over regions.

    Args:
        values: `(N, H, W)`.
        weights: `(N, R, H, W)`.

    Returns:
        `(N, R)`; NaN where a region is empty.
    """
    weights = weights.to(values)
    # 0 / 0 is the NaN that says so.
    return (values[:, None] * weights).sum((2, 3)) / weights.sum((2, 3))


def _planes(images: Images, name: str) -> Tensor:
    kind = str(getattr(images, "dtype", type(images).__name__)).removeprefix("torch.")
    if kind not in ("uint8", "float16", "bfloat16", "float32", "float64"):
        raise ValueError(
            f"expected {name} as an array or tensor of uint8 or floating point, got {kind}; "
            "convert them first"
        )
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    last = tensor.dtype == torch.uint8
    if tensor.ndim != 4 or tensor.shape[3 if last else 1] != 3 or tensor.numel() == 0:
        wanted = "uint8 (N, H, W, 3)" if last else "float (N, 3, H, W)"
        raise ValueError(f"expected RGB {name} {wanted}, none empty, got {tuple(tensor.shape)}")
    if last:
        return tensor.permute(0, 3, 1, 2)
    _check_range(tensor, name)
    return tensor


def _check_range(tensor: Tensor, name: str) -> None:
    finite = tensor.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise ValueError(
            f"expected finite {name}, number {int((~finite).nonzero()[0])} holds NaN or infinity; "
            "leave it out and count it"
        )
    low, high = (float(edge) for edge in tensor.aminmax())
    if low < -_SLACK or high > 1 + _SLACK:
        raise ValueError(
            f"expected float {name} in [0, 1], got {low:.4g} to {high:.4g}; rescale them first"
        )
