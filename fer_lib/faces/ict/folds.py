"""Wrinkles of the ICT head: the embedded head's folds, deepened by blendshapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fer_lib.faces.embedded.expression_modes import EXPRESSION_NAMES
from fer_lib.faces.embedded.fields import Field
from fer_lib.faces.embedded.texture import Canvas
from fer_lib.faces.embedded.wrinkles import wrinkle_maps
from fer_lib.faces.ict import atlas

_BLUR = (0.0, 1.2, 1.2)  # texels
_UNITS = {
    "browInnerUp": ("au01", 1.0),
    "browOuterUp": ("au02", 1.0),
    "browDown": ("au04", 1.0),
    "cheekSquint": ("au06", 1.0),
    "eyeSquint": ("au06", 0.5),
    "noseSneer": ("au09", 1.0),
    "mouthUpperUp": ("au10", 1.0),
    "mouthSmile": ("au12", 1.0),
    "mouthDimple": ("au14", 1.0),
    "mouthFrown": ("au15", 1.0),
    "mouthShrugLower": ("au17", 1.0),
    "mouthStretch": ("au20", 1.0),
    "mouthPress": ("au23", 0.7),
}
"""Action unit whose folds a blendshape deepens, and how much."""


def fold_maps(canvas: Canvas, names: tuple[str, ...]) -> tuple[Field, NDArray[np.int64]]:
    """Wrinkle maps on the face's sheet, each half of the face by its own blendshape.

    Args:
        canvas: the texels.
        names: the expression modes, in their order.

    Returns:
        (n_w,HEIGHT,WIDTH) share of light lost per unit, and (n_w,) the modes they belong to.
    """
    maps, units = wrinkle_maps(canvas.chart)
    maps = gaussian_filter(maps, _BLUR)
    by_unit = {EXPRESSION_NAMES[k]: m for k, m in zip(units, maps, strict=True)}
    skin = np.zeros_like(canvas.lips)
    skin[atlas.FACE.where] = 1 - canvas.lips[atlas.FACE.where]
    left = canvas.chart.subject_left
    sides = {"_L": left * skin, "_R": (1 - left) * skin}
    found = []
    for k, name in enumerate(names):
        unit, gain = _UNITS.get(name.removesuffix("_L").removesuffix("_R"), (None, 0.0))
        if unit:
            found.append((k, gain * by_unit[unit] * sides.get(name[-2:], skin)))
    modes, layers = zip(*found, strict=True)
    return np.stack(layers).astype(np.float32), np.array(modes)
