"""LPIPS: how different two images look to a network that has been taught by people's judgements.

The network is the ``lpips`` package's own, with the linear heads of its wheel (version 0.1). Its
trunk is torchvision's, from the registry or a file of yours; it is never downloaded on the way, and
never random.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018, eq. 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_lib import assets
from fer_lib.evaluation.absent import Absent
from fer_lib.evaluation.image_pairs import Images, check_pair, unit_range
from fer_lib.weights import read_torch_pickle, state_dict_of

NETWORKS = ("alex", "vgg", "squeeze")
MIN_SIDE_PX = 32
_VERSION = "0.1"
# Taken where torchvision's trunk is not here; its numbers then carry a note.
_OTHER_TRUNKS = {"squeeze": "squeezenet1_1_mit"}


@dataclass(frozen=True)
class Lpips:
    """An LPIPS network with its weights.

    Attributes:
        metric: name of its column, ``lpips_<net>``.
        network: the package's network, in evaluation mode.
        trunk_sha256: of the file that its trunk was read from.
        published: whether that file is torchvision's own, as in published figures.
    """

    metric: str
    network: nn.Module
    trunk_sha256: str
    published: bool

    @property
    def note(self) -> str:
        """What must stand beside its numbers."""
        told = f"version {_VERSION}, trunk {self.trunk_sha256[:12]}"
        strange = "; not torchvision's trunk: not comparable with published LPIPS"
        return told if self.published else told + strange

    @torch.no_grad()
    def distances(self, images: Images, references: Images) -> tuple[Tensor, Tensor]:
        """Give the distance of each pair, and where in the image it lies.

        Args:
            images: `(N, H, W, 3)` uint8 or `(N, 3, H, W)` floating point in [0, 1]; RGB, on the
                network's device.
            references: the same type and shape.

        Returns:
            LPIPS `(N,)`, 0 for identical images, and its map `(N, H, W)`: the layers' maps,
            enlarged to the image and added, as the package's ``spatial`` answer; its mean is
            about, not exactly, the first.

        Raises:
            ValueError: no such pair, or a side below ``MIN_SIDE_PX``.
        """
        pair = check_pair(images, references)
        size = pair[0].shape[2:]
        if min(size) < MIN_SIDE_PX:
            raise ValueError(
                f"expected images of {MIN_SIDE_PX} px or more for LPIPS, got {tuple(size)}; "
                "crop them larger"
            )
        layers: list[Tensor] = []
        hooks = [
            head.register_forward_hook(lambda _head, _inputs, out: layers.append(out))
            for head in self.network.lins
        ]
        try:
            total = self.network(*(unit_range(x, torch.float32) for x in pair), normalize=True)
        finally:
            for hook in hooks:
                hook.remove()
        enlarged = [functional.interpolate(layer, size, mode="bilinear") for layer in layers]
        return total.flatten(), torch.stack(enlarged).sum(dim=0).squeeze(1)


def find_lpips_networks(
    nets: Sequence[str] = NETWORKS, device: torch.device | str = "cpu"
) -> list[Lpips | Absent]:
    """Give each LPIPS network that is here, and for the others the reason; as ``load_lpips``."""
    return [find_lpips(net, device=device) for net in nets]


def find_lpips(
    net: str = "alex", trunk: Path | None = None, device: torch.device | str = "cpu"
) -> Lpips | Absent:
    """Give one LPIPS network, or the reason why there is none; as ``load_lpips``."""
    try:
        return load_lpips(net, trunk, device)
    except (assets.AssetError, ImportError, FileNotFoundError, ValueError) as error:
        return Absent(f"lpips_{net}", str(error))


def load_lpips(
    net: str = "alex", trunk: Path | None = None, device: torch.device | str = "cpu"
) -> Lpips:
    """Build LPIPS from files that are here.

    Args:
        net: ``alex`` (usual in evaluation), ``vgg`` (usual in losses) or ``squeeze``; their values
            are not comparable with each other.
        trunk: a state dict with torchvision's names, written by ``torch.save``; None takes
            torchvision's own from the registry (``lpips_<net>``), and where that is not here, for
            ``squeeze`` another one (``squeezenet1_1_mit``).
        device: where it measures.

    Returns:
        The network; its ``note`` says whether the trunk is torchvision's.

    Raises:
        AssetError: no trunk of the registry is here, or its bytes are not the expected ones.
        ImportError: the ``lpips`` package is not installed.
        FileNotFoundError: there is no file ``trunk``.
        ValueError: the network is unknown, or the file holds other weights.
    """
    if net not in NETWORKS:
        raise ValueError(f"expected an LPIPS network out of {NETWORKS}, got {net!r}")
    trunk = _registered(net) if trunk is None else trunk
    network, heads = _empty_network(net)
    state = dict(network.scaling_layer.state_dict(prefix="scaling_layer."))
    for name, tensor in state_dict_of(read_torch_pickle(heads)).items():
        # The package lists every head twice, by name and by number.
        state |= {name: tensor, name.replace("lin", "lins.", 1): tensor}
    state |= _trunk_state(network, trunk)
    network.load_state_dict(state, assign=True)
    digest = assets.file_sha256(trunk)
    published = digest == assets.registry()[f"lpips_{net}"].sha256
    return Lpips(f"lpips_{net}", network.to(device).eval(), digest, published)


def _registered(net: str) -> Path:
    names = (f"lpips_{net}", _OTHER_TRUNKS.get(net, f"lpips_{net}"))
    return assets.require(next((name for name in names if assets.verify(name)), names[0]))


def _empty_network(net: str) -> tuple[nn.Module, Path]:
    """Build the package's network without values, and find the heads that came with it."""
    try:
        import lpips
    except ImportError as error:
        raise ImportError("expected the lpips package; install lpips") from error
    # On the meta device nothing is drawn, so no random weight can be left over.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(
            net=net, version=_VERSION, pretrained=False, pnet_rand=True, verbose=False
        )
    return network, Path(lpips.__file__).parent / "weights" / f"v{_VERSION}" / f"{net}.pth"


def _trunk_state(network: nn.Module, path: Path) -> dict[str, Tensor]:
    found = state_dict_of(read_torch_pickle(path))
    found = {name: value for name, value in found.items() if name.startswith("features.")}
    # The package cuts the trunk into slices that keep torchvision's numbers: net.slice2.3.weight.
    places = {f"features.{name.split('.', 1)[1]}": name for name in network.net.state_dict()}
    empty = network.net.state_dict()
    if found.keys() != places.keys() or any(
        found[name].shape != empty[place].shape or not found[name].isfinite().all()
        for name, place in places.items()
    ):
        raise ValueError(
            f"expected torchvision's {network.pnet_type} features in {path.name}, got other "
            "tensors; take the weights of that network"
        )
    return {f"net.{place}": found[name].float() for name, place in places.items()}
