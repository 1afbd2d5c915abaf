"""The expression network of face-api.js: seven expressions from a 112 px face, in 330 kB.

Written anew after the published layout; its files, one byte per weight and a list of tensors, are
read as data.

Source: Mühler 2018, face-api.js, ``faceExpressionNet``; dense blocks after Huang et al. 2017,
separable convolutions of Chollet 2017.
"""

from __future__ import annotations

import json
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from fer_lib.networks.state_fit import check_state

IMAGE_SIZE = 112
MEAN_RGB = (122.782, 117.001, 104.298)
"""Subtracted from RGB in [0, 255]; the difference is divided by 255."""

_CLASSES = 7
_WIDTHS = (3, 32, 64, 128, 256)
_STORED = {"float32": "<f4", "uint8": "u1"}


class FaceApiNet(nn.Module):
    """The network; 323,687 parameters."""

    def __init__(self) -> None:
        super().__init__()
        for number, (before, after) in enumerate(pairwise(_WIDTHS)):
            self.add_module(f"dense{number}", _DenseBlock(before, after, first=number == 0))
        self.fc = nn.Linear(_WIDTHS[-1], _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Answer for faces.

        Args:
            images: (B, 3, 112, 112) float RGB, ``MEAN_RGB`` subtracted, over 255.

        Returns:
            (B, 7) logits, in the order of ``labels.emotion_order("faceapi")``.

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"expected images (B, 3, 112, 112), got {tuple(images.shape)}")
        features = self.dense3(self.dense2(self.dense1(self.dense0(images))))
        return self.fc(features.mean(dim=(2, 3)))


class _DenseBlock(nn.Module):
    """A halving and three convolutions, each of which sees the sum of all before it."""

    def __init__(self, width_in: int, width: int, first: bool) -> None:
        super().__init__()
        halving = nn.Conv2d(width_in, width, 3, 2) if first else _Separable(width_in, width, 2)
        self.conv0 = halving
        for number in (1, 2, 3):
            self.add_module(f"conv{number}", _Separable(width, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        # TensorFlow's "same": windows of 3 in steps of 2 begin at the edge where the side is even.
        total = relu(self.conv0(pad(features, (0, 1, 0, 1))))
        seen = total
        for convolution in (self.conv1, self.conv2, self.conv3):
            total = total + convolution(seen)
            seen = relu(total)
        return seen


class _Separable(nn.Module):
    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            width_in, width_in, 3, stride, 1 if stride == 1 else 0, groups=width_in, bias=False
        )
        self.pointwise = nn.Conv2d(width_in, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(features))


def load_faceapi_net(shard: Path, manifest: Path) -> FaceApiNet:
    """Read the published files, strictly.

    Args:
        shard: ``face_expression_model-shard1``, the bytes.
        manifest: ``face_expression_model-weights_manifest.json``, what they are.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the files do not belong together, or are not those of the network.
    """
    for path in (shard, manifest):
        if not path.is_file():
            raise FileNotFoundError(f"expected a file of face-api.js, there is no {path}")
    try:
        [group] = json.loads(manifest.read_text())
        stored = _read_tensors(group["weights"], shard.read_bytes())
        state = {_own_name(name): _own_layout(name, tensor) for name, tensor in stored.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"expected the list {manifest.name} of the bytes in {shard.name}: {error}"
        ) from error
    network = FaceApiNet()
    check_state(state, network.state_dict(), shard.name, "face-api's expression net")
    network.load_state_dict(state)
    return network.eval()


def _read_tensors(listed: list[dict], content: bytes) -> dict[str, Tensor]:
    """The tensors lie end to end; those in bytes stand for byte x scale + min."""
    stored, start = {}, 0
    for entry in listed:
        shape, coding = entry["shape"], entry.get("quantization")
        kind = np.dtype(_STORED[(coding or entry)["dtype"]])
        end = start + prod(shape) * kind.itemsize
        array = np.frombuffer(content[start:end], kind).reshape(shape)
        if coding:
            array = array * coding["scale"] + coding["min"]
        stored[entry["name"]], start = torch.from_numpy(array.astype(np.float32)), end
    if start != len(content):
        raise ValueError(f"{start} bytes are listed, {len(content)} are there")
    return stored


def _own_name(name: str) -> str:
    layer, _, part = name.rpartition("/")
    place = layer.replace("/", ".")
    # The very first convolution and the last layer are plain, all others separable.
    separable = place.startswith("dense") and place != "dense0.conv0"
    convolution = {"depthwise_filter": "depthwise"}.get(part, "pointwise")
    inner = f".{convolution}" if separable else ""
    return f"{place}{inner}.{'bias' if part == 'bias' else 'weight'}"


def _own_layout(name: str, tensor: Tensor) -> Tensor:
    """Kernels from (height, width, in, out), depthwise ones from (height, width, out, 1)."""
    if tensor.ndim != 4:
        return tensor.mT if tensor.ndim == 2 else tensor
    return tensor.permute((2, 3, 0, 1) if name.endswith("depthwise_filter") else (3, 2, 0, 1))
