"""Alignment: which affine brings a face into a frame (`warp` then applies it).

Coordinates are pixels with pixel centres at integers. A frame is written in hundredths (a 100 x 100
image); an output of side S is that image resized about pixel centres, so the frame point f sits at
`(f + 0.5) * S / 100 - 0.5` and an output of 100 px has the frame's own numbers. Matrices are
`(B, 2, 3)` and map source pixels to output pixels.

Source: RAF-DB's alignment (Li and Deng, CVPR 2017) as stated by seed 001: left eye, right eye and
mouth centre go to (25, 35), (75, 35), (50, 75).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fer_lib.faces.warp import resize_points, warp

SEED_FRAME = ((25.0, 35.0), (75.0, 35.0), (50.0, 75.0))
LOOSE_FACTOR = 1.8
LOOSE_FRAME = tuple(
    (50.0 + (x - 50.0) / LOOSE_FACTOR, 50.0 + (y - 50.0) / LOOSE_FACTOR) for x, y in SEED_FRAME
)
# Twice the triangle's area over its longest side squared: 0.8 in the frame, 0.1 where the eyes of
# a profile have moved together to a tenth of the face's height and the affine would smear it.
MIN_TRIANGLE_RATIO = 0.1
MIN_SPAN_PX = 1.0
# Squared correlation of eyes and mouth centre with the frame under the best similarity: 1 for the
# frame's own shape, 0.46 where the eyes coincide (a profile), 0.006 where they are exchanged.
MIN_FIT = 0.3


@dataclass(frozen=True)
class Template:
    """Where a network wants the five points of a face.

    Attributes:
        points: eyes, nose tip and mouth corners in output pixels, image-left first.
        height: of the output in px.
        width: of the output in px.
        stretch: width of the face over its true width, for networks that were trained on face
            boxes squeezed into squares.
        upright: whether faces keep their roll, for networks that were trained on plain boxes.
    """

    points: tuple[tuple[float, float], ...]
    height: int
    width: int
    stretch: float = 1.0
    upright: bool = False


# Source: the frame of SphereFace and CosFace (112 high, 96 wide), which ArcFace widened by 8 px on
# either side.
_ARCFACE_POINTS = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366),
    (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
ARCFACE_112 = Template(_ARCFACE_POINTS, 112, 112)
ARCFACE_112X96 = Template(tuple((x - 8, y) for x, y in _ARCFACE_POINTS), 112, 96)
# facenet-pytorch was trained on MTCNN's boxes resized to a square. This is where the points of 68
# frontal photographs lie in such boxes, whose width is 0.742 of their height (mean of both halves).
FACENET_160 = Template(
    ((42.8, 63.6), (116.4, 63.6), (79.6, 90.3), (50.6, 122.0), (108.6, 122.0)),
    160, 160, stretch=1.349, upright=True,
)  # fmt: skip


def five_points(landmarks: Tensor) -> Tensor:
    """Reduce a landmark set to eyes, nose tip and mouth corners, image-left first.

    Args:
        landmarks: `(B, K, 2)` pixels; K = 68 (iBUG order) or 5 (returned as it is).

    Returns:
        `(B, 5, 2)`; a point whose landmarks are unknown is NaN.

    Raises:
        ValueError: K is neither 5 nor 68.
    """
    count = landmarks.shape[-2]
    if count == 5:
        return landmarks
    if count != 68:
        raise ValueError(f"expected 5 or 68 landmarks, got {count}; convert them first")
    eyes = landmarks[:, 36:48].unflatten(1, (2, 6)).mean(dim=2)
    return torch.cat((eyes, landmarks[:, [30, 48, 54]]), dim=1)


def usable_points(five: Tensor) -> Tensor:
    """Say whose points can align a face: known, apart from each other, eyes and mouth in order.

    Args:
        five: `(B, 5, 2)` pixels.

    Returns:
        `(B,)` bool.
    """
    return _anchors(five)[1]


def seed_affine(five: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Fit the exact three-point affine of seed 001, or a similarity where it is degenerate.

    The triangle (eyes, mouth centre) is degenerate when it is mirrored or twice its area is below
    `MIN_TRIANGLE_RATIO` of its longest side squared; then the least-squares similarity stands in.
    Unusable points (`usable_points`) give the identity, so no entry is ever NaN.

    Args:
        five: `(B, 5, 2)` points in source pixels.
        size: side of the output in pixels.

    Returns:
        matrices `(B, 2, 3)` float32 and the mask `(B,)` of degenerate faces.

    Source: seed 001, section on alignment.
    """
    anchors, usable = _anchors(five)
    targets = frame_points(SEED_FRAME, size).to(anchors)
    degenerate = ~usable | (_triangle_ratio(anchors) < MIN_TRIANGLE_RATIO)
    safe = torch.where(degenerate[:, None, None], targets.expand_as(anchors), anchors)
    ones = torch.ones_like(safe[..., :1])
    affine = torch.linalg.solve(torch.cat((safe, ones), dim=2), targets.expand_as(safe)).mT
    similarity = _fit_similarity(anchors, targets, usable)
    return torch.where(degenerate[:, None, None], similarity, affine).float(), degenerate


def loose_crop_similarity(five: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Fit the similarity that puts a face into the loose frame (1.8 times the seed's frame).

    Args:
        five: `(B, 5, 2)` points in source pixels.
        size: side of the output in pixels.

    Returns:
        matrices `(B, 2, 3)` float32 and the mask `(B,)` of faces whose points are unusable
        (they get the identity).

    Source: least squares in closed form, Umeyama 1991, for the plane.
    """
    anchors, usable = _anchors(five)
    targets = frame_points(LOOSE_FRAME, size).to(anchors)
    return _fit_similarity(anchors, targets, usable).float(), ~usable


def template_affine(five: Tensor, template: Template) -> tuple[Tensor, Tensor]:
    """Fit the matrix that brings five points to a template: a similarity, stretched if it says so.

    Args:
        five: `(B, 5, 2)` points in source pixels.
        template: where they should go.

    Returns:
        matrices `(B, 2, 3)` float32 and the mask `(B,)` of faces whose points are unusable
        (they get the identity).

    Source: Umeyama 1991; templates of CosFace and ArcFace.
    """
    points = five.double()
    usable = usable_points(points) & points.isfinite().all(dim=2).all(dim=1)
    points = torch.where(usable[:, None, None], points, torch.zeros_like(points))
    stretch = points.new_tensor((template.stretch, 1.0))
    target = points.new_tensor(template.points) / stretch
    matrices = _fit_similarity(points, target, usable, upright=template.upright)
    stretched = torch.where(usable[:, None, None], matrices * stretch[:, None], matrices)
    return stretched.float(), ~usable


def align_faces(images: Tensor, five: Tensor, template: Template) -> tuple[Tensor, Tensor]:
    """Cut faces out of images by a template, black outside the image.

    Args:
        images: `(B, H, W, 3)` uint8 or `(B, 3, H, W)` float in [0, 1], RGB.
        five: `(B, 5, 2)` points in pixels of the images.
        template: where they should go.

    Returns:
        crops `(B, 3, height, width)` float32 in [0, 1], and `(B,)` bool: whose points were usable;
        the others' crops mean nothing.
    """
    matrices, unusable = template_affine(five, template)
    crops = warp(images, matrices, max(template.height, template.width))
    return crops[:, :, : template.height, : template.width], ~unusable


def frame_points(frame: tuple[tuple[float, float], ...], size: int) -> Tensor:
    """Place points of the 100-frame in an output of another size.

    Args:
        frame: points in hundredths of the frame.
        size: side of the output in pixels.

    Returns:
        `(P, 2)` float64 pixels.
    """
    return resize_points(torch.tensor(frame, dtype=torch.float64), 100, size)


def _anchors(five: Tensor) -> tuple[Tensor, Tensor]:
    """Return eyes and mouth centre `(B, 3, 2)` float64 (zeros where unusable), usable `(B,)`."""
    points = five.double()
    anchors = torch.cat((points[:, :2], points[:, 3:5].mean(dim=1, keepdim=True)), dim=1)
    finite = anchors.isfinite().all(dim=2).all(dim=1)
    anchors = torch.where(finite[:, None, None], anchors, torch.zeros_like(anchors))
    usable = (_longest_side(anchors) > MIN_SPAN_PX) & (_fit_quality(anchors) > MIN_FIT)
    return anchors, finite & usable


def _fit_quality(anchors: Tensor) -> Tensor:
    target = frame_points(SEED_FRAME, 100).to(anchors)
    p, q, rotation = _centred_rotation(anchors, target)
    power = p.square().sum((1, 2)) * q.square().sum()
    return rotation.abs().square() / power.clamp_min(1e-12)


def _centred_rotation(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both point sets centred and the sum of conj(p) q, points as complex numbers."""
    p, q = source - source.mean(1, keepdim=True), target - target.mean(0)
    real = (p * q).sum((1, 2))
    imaginary = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1)
    return p, q, torch.complex(real, imaginary)


def _longest_side(anchors: Tensor) -> Tensor:
    return (anchors - anchors.roll(1, dims=1)).norm(dim=2).amax(dim=1)


def _triangle_ratio(anchors: Tensor) -> Tensor:
    """Twice the signed area over the longest side squared: scale-free, negative when mirrored."""
    across = anchors[:, 1] - anchors[:, 0]
    down = anchors[:, 2] - anchors[:, 0]
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    return area / _longest_side(anchors).square().clamp_min(MIN_SPAN_PX**2)


def _fit_similarity(
    source: Tensor, target: Tensor, usable: Tensor, *, upright: bool = False
) -> Tensor:
    """Least-squares similarity `(B, 2, 3)`; the identity where the points are not usable.

    A plane similarity is multiplication by a complex number; with centred points p, q it is
    (sum conj(p) q) / (sum |p|^2). Upright, only its scale is kept.
    """
    p, _, rotation = _centred_rotation(source, target)
    if upright:
        rotation = rotation.abs().to(rotation.dtype)
    rotation = rotation / p.square().sum((1, 2)).clamp_min(1e-12)
    real, imaginary = rotation.real, rotation.imag
    rows = torch.stack((real, -imaginary, imaginary, real), dim=1).unflatten(1, (2, 2))
    shift = target.mean(0) - (rows @ source.mean(1).unsqueeze(2)).squeeze(2)
    matrices = torch.cat((rows, shift.unsqueeze(2)), dim=2)
    return torch.where(usable[:, None, None], matrices, torch.eye(2, 3).to(matrices))
