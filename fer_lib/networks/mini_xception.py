"""mini-Xception: seven expressions from a small grey face, with the published weights.

Written anew after the published layout; its Keras file is read as arrays, and nothing in it is run.

Source: Arriaga, Valdenegro-Toro, Plöger 2017, "Real-time convolutional neural networks for emotion
and gender classification", section 3; separable convolutions of Chollet 2017.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad, relu

from fer_lib.networks.state_fit import check_state

IMAGE_SIZE = 64
_CLASSES = 7
_WIDTHS = (8, 16, 32, 64, 128)
_KERAS_EPSILON = 1e-3
_STATISTICS = {
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var",
}  # fmt: skip


class MiniXception(nn.Module):
    """The network; 58,423 numbers in its file."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, bias=False), _norm(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, bias=False), _norm(8)
        self.blocks = nn.Sequential(*(_Block(before, after) for before, after in pairwise(_WIDTHS)))
        self.head = nn.Conv2d(_WIDTHS[-1], _CLASSES, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Answer for grey faces.

        Args:
            images: (B, 1, 64, 64) float in [-1, 1].

        Returns:
            (B, 7) logits, in the order of ``labels.emotion_order("fer2013")``.

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"expected images (B, 1, 64, 64), got {tuple(images.shape)}")
        features = relu(self.norm1(self.conv1(images)))
        features = relu(self.norm2(self.conv2(features)))
        return self.head(self.blocks(features)).mean(dim=(2, 3))


class _Block(nn.Module):
    """Two separable convolutions and a halving, beside a strided 1 x 1 convolution."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.across, self.across_norm = nn.Conv2d(width_in, width, 1, 2, bias=False), _norm(width)
        self.first, self.first_norm = _separable(width_in, width), _norm(width)
        self.second, self.second_norm = _separable(width, width), _norm(width)

    def forward(self, features: Tensor) -> Tensor:
        across = self.across_norm(self.across(features))
        deep = relu(self.first_norm(self.first(features)))
        deep = self.second_norm(self.second(deep))
        # Keras' "same": windows of 3 in steps of 2 begin at the edge where the side is even.
        before = deep.shape[-1] % 2
        deep = pad(deep, (before, 1, before, 1), value=-torch.inf)
        return across + max_pool2d(deep, 3, 2)


def load_mini_xception(path: Path) -> MiniXception:
    """Read the published file, strictly.

    Args:
        path: the Keras file (``.hdf5``; wants the package h5py) or its arrays as ``.npz``.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: h5py is not installed.
        ValueError: the file is neither, or its arrays are not those of the network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected the file of mini-Xception, there is no {path}")
    stored = _read_hdf5(path) if path.suffix == ".hdf5" else _read_npz(path)
    network = MiniXception()
    own, names = network.state_dict(), _own_names(network)
    state = {names.get(name, name): _own_layout(name, tensor) for name, tensor in stored.items()}
    check_state(state, own, path.name, "mini-Xception", may_lack=["num_batches_tracked"])
    network.load_state_dict(own | state)
    return network.eval()


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_KERAS_EPSILON)


def _separable(width_in: int, width: int) -> nn.Sequential:
    depthwise = nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(width_in, width, 1, bias=False))


def _own_names(network: MiniXception) -> dict[str, str]:
    """Keras counts layers of a kind in the order in which the published code made them."""
    convolutions, norms, separables = ["conv1", "conv2"], ["norm1", "norm2"], []
    for number in range(len(network.blocks)):
        block = f"blocks.{number}."
        convolutions.append(f"{block}across")
        norms += [f"{block}{part}_norm" for part in ("across", "first", "second")]
        separables += [f"{block}first", f"{block}second"]
    convolutions.append("head")
    names = {"conv2d_7/bias": "head.bias"}
    for number, part in enumerate(convolutions, start=1):
        names[f"conv2d_{number}/kernel"] = f"{part}.weight"
    for number, part in enumerate(separables, start=1):
        names[f"separable_conv2d_{number}/depthwise_kernel"] = f"{part}.0.weight"
        names[f"separable_conv2d_{number}/pointwise_kernel"] = f"{part}.1.weight"
    for number, part in enumerate(norms, start=1):
        for theirs, ours in _STATISTICS.items():
            names[f"batch_normalization_{number}/{theirs}"] = f"{part}.{ours}"
    return names


def _own_layout(name: str, tensor: Tensor) -> Tensor:
    """Kernels from (height, width, in, out), depthwise ones from (height, width, out, 1)."""
    if tensor.ndim != 4:
        return tensor
    return tensor.permute((2, 3, 0, 1) if name.endswith("depthwise_kernel") else (3, 2, 0, 1))


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as file:
            # Beside the arrays lies Keras' description of the layers, a text.
            names = [name for name in file.files if name != "config"]
            return {name: torch.from_numpy(file[name]) for name in names}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, BadZipFile) as error:
        raise ValueError(f"expected mini-Xception's arrays in {path.name}: {error}") from error


def _read_hdf5(path: Path) -> dict[str, Tensor]:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"expected the package h5py to read {path.name}; run `pip install h5py`"
        ) from error
    stored = {}

    def keep(name: str, part: object) -> None:
        # The name is "layer/layer as it was made again/array:0".
        if isinstance(part, h5py.Dataset):
            layer, *_, array = name.split("/")
            stored[f"{layer}/{array.removesuffix(':0')}"] = torch.from_numpy(part[()])

    try:
        with h5py.File(path) as file:
            file["model_weights"].visititems(keep)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"expected mini-Xception's arrays in {path.name}: {error}") from error
    return stored
