"""What the 478 points and 52 scores of the face mesh are called.

Points 0 to 467 are the surface, 468 to 472 and 473 to 477 the irises (centre first). Source: the
MediaPipe Face Landmarker (Google, Apache-2.0): canonical face model and blend-shape graph.
"""

from __future__ import annotations

import numpy as np

MESH_POINTS = 478
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263

# The mesh point nearest in meaning to each of the 68 iBUG points (image left first in the jaw and
# brows, as iBUG counts). The jaw of the mesh is the outline of the visible face.
IBUG68 = np.array(
    (
        162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
        71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
        168, 197, 5, 4, 75, 97, 2, 326, 305,
        33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
        61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
        78, 82, 13, 312, 308, 317, 14, 87,
    )
)  # fmt: skip

# The points that the network of the 52 scores reads.
SCORE_INPUT = np.array(
    (
        0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63,
        65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133,
        136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163,
        168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270,
        276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317,
        318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379,
        380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
        466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
    )
)  # fmt: skip

ARKIT_NAMES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen",
    "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""The 52 scores in the network's order; ``Left`` is the person's left."""


def mesh_to_ibug68(mesh: np.ndarray) -> np.ndarray:
    """Pick the 68 iBUG landmarks out of a mesh.

    Args:
        mesh: `(..., 478, C)` points, C at least 2.

    Returns:
        `(..., 68, 2)`, the same unit.

    Raises:
        ValueError: there are not 478 points.
    """
    if mesh.shape[-2] != MESH_POINTS:
        raise ValueError(f"expected {MESH_POINTS} mesh points, got {mesh.shape[-2]}")
    return mesh[..., IBUG68, :2]
