"""Identity networks: an aligned face in, one vector per person out.

Each is built empty and filled from a file, strictly: a network that misses one tensor still answers
with 0.999 for any two faces, so nothing may be missing, left over or of another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facenet_pytorch import InceptionResnetV1
from safetensors.torch import load_file
from torch import Tensor, nn

from fer_lib.faces.align import ARCFACE_112, ARCFACE_112X96, FACENET_160, Template
from fer_lib.networks.mobile_identity import MobileFaceNet, MobileFaceV2
from fer_lib.networks.mxnet_file import read_mxnet_params
from fer_lib.networks.state_fit import check_state
from fer_lib.weights import read_torch_pickle, state_dict_of

_STAGES = ((3, 64, 1), (64, 128, 2), (128, 256, 4), (256, 512, 1))


class Sphere20(nn.Module):
    """CosFace's 20-layer SphereFace network without batch normalisation.

    (B, 3, 112, 96) in [-1, 1] → (B, 512). Keys are those of the public PyTorch version.

    Source: Wang et al., CosFace, CVPR 2018; layers of Liu et al., SphereFace, CVPR 2017, table 2.
    """

    def __init__(self) -> None:
        super().__init__()
        for place, (inputs, outputs, blocks) in enumerate(_STAGES, 1):
            first = (nn.Conv2d(inputs, outputs, 3, 2, 1), nn.PReLU(outputs))
            stage = nn.Sequential(*first, *(_SphereBlock(outputs) for _ in range(blocks)))
            self.add_module(f"layer{place}", stage)
        self.fc = nn.Linear(512 * 7 * 6, 512)

    def forward(self, images: Tensor) -> Tensor:
        """Embed faces."""
        features = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        return self.fc(features.flatten(1))


class _SphereBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.prelu2 = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.prelu2(self.conv2(self.prelu1(self.conv1(features))))


@dataclass(frozen=True)
class IdentityNet:
    """What has to be known of an identity network to use it as it was trained.

    Attributes:
        build: makes it with random weights; nothing is downloaded.
        template: where its aligned faces have eyes, nose and mouth.
        mean: of each RGB channel, for images in [0, 1].
        std: of each RGB channel.
        licence: of the weights.
        source: where the weights are to be had.
        ignored: tensors of the file that belong to its training head and not to the network.
    """

    build: Callable[[], nn.Module]
    template: Template
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    source: str
    ignored: tuple[str, ...] = ()


_HALF = (0.5, 0.5, 0.5)
# (x - 127.5) / 128 in grey levels.
_OVER_128 = (128 / 255,) * 3

IDENTITY_NETS: Mapping[str, IdentityNet] = {
    "cosface_sphere20": IdentityNet(
        Sphere20, ARCFACE_112X96, _HALF, _HALF, "MIT (code); trained on CASIA-WebFace",
        "the sphere20 checkpoint that MuggleWang/CosFace_pytorch links to, fetched by hand",
    ),
    "facenet_vggface2": IdentityNet(
        InceptionResnetV1, FACENET_160, _HALF, _OVER_128,
        "MIT (code); trained on VGGFace2",
        "20180402-114759-vggface2.pt of the releases of facenet-pytorch",
        ("logits.weight", "logits.bias"),
    ),
    "facenet_casia": IdentityNet(
        InceptionResnetV1, FACENET_160, _HALF, _OVER_128,
        "MIT (code); trained on CASIA-WebFace",
        "20180408-102900-casia-webface.pt of the releases of facenet-pytorch",
        ("logits.weight", "logits.bias"),
    ),
    "mobilefacenet": IdentityNet(
        MobileFaceNet, ARCFACE_112, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
        "Apache-2.0; trained on MS-Celeb-1M", "weights/mobilefacenet.pt of foamliu/MobileFaceNet",
    ),
    "mobileface_v2": IdentityNet(
        MobileFaceV2, ARCFACE_112, _HALF, _OVER_128, "MIT; training data not stated",
        "MobileFace_Identification_V2-0000.params of becauseofAI/MobileFace",
    ),
}  # fmt: skip


def load_identity_net(name: str, path: Path) -> nn.Module:
    """Build an identity network and fill it from a file, every tensor in its place.

    Args:
        name: key in ``IDENTITY_NETS``.
        path: its weights: a file of ``torch.save``, safetensors or MXNet parameters.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file; the message says where it is to be had.
        ValueError: the name is unknown, the file is none of weights, or a tensor is missing, left
            over, of another shape or type, or not finite.
    """
    if name not in IDENTITY_NETS:
        raise ValueError(f"expected an identity network of {sorted(IDENTITY_NETS)}, got {name!r}")
    net = IDENTITY_NETS[name]
    if not path.is_file():
        raise FileNotFoundError(f"{name} is unavailable: no file {path}; it needs {net.source}")
    state = {key: tensor for key, tensor in _read(path).items() if key not in net.ignored}
    # Data-parallel training writes the prefix.
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    network = net.build()
    # Files older than torch 0.4.1 do not count batches; no answer depends on the count.
    check_state(state, network.state_dict(), path.name, name, may_lack=("num_batches_tracked",))
    network.load_state_dict(state, strict=False)
    return network.eval()


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".params":
        keys = MobileFaceV2.key_map()
        return {keys.get(name, name): array for name, array in read_mxnet_params(path).items()}
    if path.suffix == ".safetensors":
        return load_file(path)
    return state_dict_of(read_torch_pickle(path))
