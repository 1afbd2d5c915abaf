"""The global code: what of a photograph the rendered buffers cannot tell – hair, background, skin.

After DiffusionRig (Ding et al., CVPR 2023, section 3.2), whose encoder is a ResNet-18 learned with
the denoiser. Batch norm is replaced by group norm: its statistics of small batches may be among
the causes of pictures that fail.
"""

from __future__ import annotations

from torch import Tensor, nn

from fer_lib.networks.group_resnet import trunk, trunk_features


class GlobalCode(nn.Module):
    """A ResNet from a photograph to its code.

    Args:
        depth: 18 or 50.
        length: Z, numbers of the code; 64 is the published one.
        width: channels of the first stage; 64 is the published network, 32 enough for 64 px.
        size: side of the photographs in px.

    Attributes:
        config: the arguments by name, from which the same network is made again.

    Raises:
        ValueError: there is no such network.
    """

    def __init__(self, depth: int = 18, length: int = 64, width: int = 32, size: int = 64) -> None:
        super().__init__()
        self.config = {"depth": depth, "length": length, "width": width, "size": size}
        self.trunk = trunk(depth, width, size)
        self.last = nn.Linear(trunk_features(depth, width), length)

    def forward(self, images: Tensor) -> Tensor:
        """Encode photographs, each by itself.

        Args:
            images: (B,3,S,S) float RGB in [-1, 1].

        Returns:
            (B,Z), unbounded.

        Raises:
            ValueError: the images have another size.
        """
        side = self.config["size"]
        if images.shape[1:] != (3, side, side):
            raise ValueError(
                f"expected images (B, 3, {side}, {side}), got {tuple(images.shape)}; scale them "
                "to the size that the code was made for"
            )
        return self.last(self.trunk(images).flatten(1))
