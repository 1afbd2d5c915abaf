"""Which vertices of ICT-FaceKit a camera in front of the face may ever see."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from fer_lib.faces.ict.archive import IctFiles
from fer_lib.faces.params import rotation_matrix
from fer_lib.faces.raster import rasterise
from fer_lib.progress import track

_VIEWS = 48
_SIZE_PX, _PX_PER_CM = 384, 10.0
_DEEPEST_CM = 64.0
_MAX_TURN_RAD = (math.radians(34), math.radians(63), 0.0)
_SHARE_OF_MODES = 0.2
_MARGIN_RINGS = 2
_LININGS = (11_248, 14_062)  # mouth and eye sockets


def seen_in_front(files: IctFiles) -> NDArray[np.bool_]:
    """Draw random subjects and expressions from random sides and note what is seen.

    The views turn by up to 63° to the sides and 34° up and down. In half of them the jaw is open,
    and they are drawn once more without the linings of mouth and orbits, which a renderer pushes
    back behind tongue and eyeballs. Two rings of triangles around what is seen count as seen: the
    views are few.

    Args:
        files: the parts that are drawn, the eyeballs moving.

    Returns:
        (V,) whether a vertex counts as seen.
    """
    generator = torch.Generator().manual_seed(0)
    triangles = torch.from_numpy(files.triangles)
    first = torch.from_numpy(files.source)[triangles[:, 0]]
    bare = triangles[(first < _LININGS[0]) | (first >= _LININGS[1])]
    seen = torch.zeros(len(files.neutral), dtype=torch.bool)
    for view in track(range(_VIEWS), "looking which parts are seen"):
        jaw = view % 2 == 0
        x, y, z = _random_view(files, generator, jaw)
        nearness = 0.5 + z / _DEEPEST_CM
        for drawn in (triangles, bare) if jaw else (triangles,):
            fragments = rasterise(x[None], y[None], nearness[None], drawn, _SIZE_PX)
            seen[fragments.corners] = True
    for _ in range(_MARGIN_RINGS):
        seen[triangles[seen[triangles].any(1)]] = True
    return seen.numpy()


def _random_view(files: IctFiles, generator: torch.Generator, jaw: bool) -> torch.Tensor:
    """Vertices of a random face, (3,V): x and y in pixels, z in centimetres to the camera."""
    n_shape, n_modes = len(files.shape_names), len(files.expression_names)
    beta = torch.randn(n_shape, generator=generator)
    psi, chosen = torch.rand(2, n_modes, generator=generator)
    psi = psi * (chosen < _SHARE_OF_MODES)
    uniform = torch.rand(4, generator=generator)
    if jaw:
        psi[files.expression_names.index("jawOpen")] = uniform[3]
    points = torch.from_numpy(files.neutral)
    points = points + torch.tensordot(beta, torch.from_numpy(files.shape_basis), 1)
    points = points + torch.tensordot(psi, torch.from_numpy(files.expression_basis), 1)
    pose = (2 * uniform[:3] - 1) * torch.tensor(_MAX_TURN_RAD)
    x, y, z = rotation_matrix(pose[None])[0] @ (points - points.mean(0)).T
    middle = _SIZE_PX / 2
    return torch.stack([middle + _PX_PER_CM * x, middle - _PX_PER_CM * y, z])
