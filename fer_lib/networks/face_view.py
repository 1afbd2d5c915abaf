"""What a face encoder sees: a similarity cuts a square view out of a store's crop.

A view moves pixels, points and parameters alike, so what is drawn from the moved parameters lies
exactly on the moved picture. Positions are written as fractions of a side from the centre, x
right and y down; pixel centres are at integers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fer_lib.faces.params import FaceParams
from fer_lib.faces.warp import warp


class View(NamedTuple):
    """Similarities v = A u + t from positions u in the crop to positions v in the view.

    Attributes:
        linear: (B,2,2) A, a rotation times a factor.
        shift: (B,2) t.
    """

    linear: Tensor
    shift: Tensor

    @classmethod
    def central(cls, count: int, share: float, device: torch.device | str = "cpu") -> View:
        """Take the central part of every crop, ``share`` of its side."""
        linear = (torch.eye(2, device=device) / share).expand(count, 2, 2)
        return cls(linear, linear.new_zeros(count, 2))

    def inverse(self) -> View:
        """Give the way back from the view to the crop."""
        linear = torch.linalg.inv(self.linear)
        return View(linear, -(linear @ self.shift[..., None])[..., 0])

    def points(self, points_px: Tensor, crop_px: int) -> Tensor:
        """Move points.

        Args:
            points_px: (B,K,2 or 3) pixels of the crop; a third column is depth at that scale.
            crop_px: side of the crop.

        Returns:
            (B,K,2 or 3) fractions of the view's side from its centre; depth at that scale.
        """
        centred = (points_px[..., :2] + 0.5) / crop_px - 0.5
        moved = centred @ self.linear.mT + self.shift[:, None]
        depth = points_px[..., 2:] / crop_px * self.factor[:, None, None]
        return torch.cat([moved, depth], dim=-1)

    def cut(self, faces: Tensor, size: int) -> Tensor:
        """Cut the views out.

        Args:
            faces: (B,S,S,3) uint8 crops, or (B,3,S,S) float in [0, 1].
            size: side of the view in pixels.

        Returns:
            (B,3,size,size) float32 RGB in [0, 1]; the crop's edge is continued outside.
        """
        crop_px = faces.shape[-2]
        linear = self.linear * (size / crop_px)
        # Where the centre of pixel 0 of the crop comes to lie, from pixel centre to pixel centre.
        corner = (self.linear.sum(2) * (0.5 / crop_px - 0.5) + self.shift + 0.5) * size - 0.5
        return warp(faces, torch.cat([linear, corner[..., None]], dim=2), size, border="border")

    def params(self, params: FaceParams) -> FaceParams:
        """Move parameters: camera, roll and the light, which is written in camera coordinates.

        Args:
            params: B faces in the frame of the crop.

        Returns:
            The same faces in the frame of the view.
        """
        camera = params.camera.clone()
        camera[:, 0] = params.camera[:, 0] * self.factor
        camera[:, 1:3] = (self.linear @ params.camera[:, 1:3, None])[..., 0] + self.shift
        # The image's y points down: what turns clockwise there turns by -angle about z.
        turn = -torch.atan2(self.linear[:, 1, 0], self.linear[:, 0, 0])
        pose = torch.cat([params.pose[:, :2], params.pose[:, 2:] + turn[:, None]], dim=1)
        return params.replace(camera=camera, pose=pose, light=turn_light(params.light, turn))

    @property
    def factor(self) -> Tensor:
        """(B,) enlargement."""
        return self.linear[:, :, 0].norm(dim=1)


def turn_light(light: Tensor, angle: Tensor) -> Tensor:
    """Turn lights about the viewing axis.

    Args:
        light: (B,9,3) in the order of ``fer_lib.faces.light``.
        angle: (B,) radians, counter-clockwise in the image.

    Returns:
        (B,9,3). (x, y) and (xz, yz) turn by the angle, (x²-y², xy) by twice the angle.
    """
    turned = light.clone()
    for (first, second), times in (((1, 2), 1), ((5, 6), 1), ((7, 4), 2)):
        sine, cosine = (times * angle).sin()[:, None], (times * angle).cos()[:, None]
        turned[:, first] = cosine * light[:, first] - sine * light[:, second]
        turned[:, second] = sine * light[:, first] + cosine * light[:, second]
    return turned
