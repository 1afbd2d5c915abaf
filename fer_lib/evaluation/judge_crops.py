"""Crops of faces on their way into a judge: checked, resized if its rule says so, made floats."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def check_crops(crops: Sequence[np.ndarray]) -> None:
    """Refuse what is no picture.

    Raises:
        ValueError: something is no (H, W, 3) array of uint8, or is empty.
    """
    for crop in crops:
        is_array = isinstance(crop, np.ndarray)
        fits = is_array and crop.dtype == np.uint8 and crop.ndim == 3 and crop.shape[2] == 3
        if not fits or not crop.size:
            got = f"{crop.dtype} {crop.shape}" if is_array else type(crop).__name__
            raise ValueError(
                f"expected uint8 RGB crops (H, W, 3) that are not empty, got {got}; convert them "
                "first, and give None for a face that was not found"
            )


def exact_crops(crops: Sequence[np.ndarray], side: int) -> Tensor:
    """Stack crops that were cut at the judge's size.

    Args:
        crops: B arrays (side, side, 3) uint8 RGB.
        side: in px.

    Returns:
        (B, 3, side, side) float in [0, 1].

    Raises:
        ValueError: something is no such array.
    """
    check_crops(crops)
    other = [crop.shape for crop in crops if crop.shape != (side, side, 3)]
    if other:
        raise ValueError(
            f"expected crops of ({side}, {side}, 3), got {other[0]}; cut them by the judge's rule"
        )
    return as_images(np.stack(crops))


def resize_crops(crops: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Resize faces as HSEmotion's published networks were trained: aspect not kept.

    Args:
        crops: B arrays (H, W, 3) uint8 RGB of any sizes.
        side: in px.

    Returns:
        (B, side, side, 3) uint8, to the last bit what Pillow's bilinear filter (so torchvision on
        photographs) gives.

    Raises:
        ValueError: something is no such array, or is empty.
    """
    check_crops(crops)
    resized = np.empty((len(crops), side, side, 3), np.uint8)

    def resize(place: int, crop: np.ndarray) -> None:
        image = Image.fromarray(np.ascontiguousarray(crop))
        resized[place] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))

    # Pillow lets other threads work while it resizes.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(resize, range(len(crops)), crops))
    return resized


def as_images(crops: np.ndarray) -> Tensor:
    """Turn (B, S, S, 3) uint8 RGB into (B, 3, S, S) float in [0, 1], channels last in memory."""
    return torch.tensor(crops).permute(0, 3, 1, 2).float().div_(255)
