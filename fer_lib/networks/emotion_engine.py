"""Two ways of running HSEmotion's network without gradients, faster than as it was trained.

Both fold each normalisation into the convolution before it and keep channels last, a few faces at a
time, which the processor's caches hold. ``exact`` computes in float32, ``fast`` in bfloat16 where
the device multiplies it in hardware. On a processor every few faces have a core to themselves: the
layers are too small to be shared between cores without waiting. An answer does not depend on the
faces beside it, nor on the number of cores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Barrier

import torch
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fer_lib.networks.emotion_net import EmotionNet, EmotionOutput
from fer_lib.networks.fused_convolution import FusedConvolution, GateInPlace, can_fuse

ENGINES = ("exact", "fast")
FACES_AT_ONCE = {torch.float32: 3, torch.bfloat16: 8}
_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")


class EmotionEngine(nn.Module):
    """A copy of an `EmotionNet` for inference; it answers as the network does.

    Args:
        network: its weights are copied as they are now.
        engine: ``exact`` or ``fast``.
        device: where it runs.

    Attributes:
        dtype: what it computes in; the head and the answers are float32.

    Raises:
        ValueError: the engine is unknown.
    """

    def __init__(
        self, network: EmotionNet, engine: str = "exact", device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise ValueError(f"expected an engine out of {ENGINES}, got {engine!r}")
        quick = engine == "fast" and multiplies_bfloat16(device)
        self.dtype = torch.bfloat16 if quick else torch.float32
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.network.trunk.to(memory_format=torch.channels_last)
        self.to(device)
        self.on_processor = torch.device(device).type == "cpu"
        _speed_up(self.network.trunk, self.dtype)

    def forward(self, images: Tensor) -> EmotionOutput:
        """Recognise faces.

        Args:
            images: (B, 3, S, S) RGB, float in [0, 1] or uint8, on the engine's device.

        Returns:
            As `EmotionNet.forward`, float32.

        Raises:
            ValueError: the images have another shape.
        """
        self.network.check(images)
        few = images.split(FACES_AT_ONCE[self.dtype])
        features = self._map(self._few, few) if self.on_processor else map(self._few, few)
        return self.network.read(torch.cat(list(features)))

    @cached_property
    def _map(self) -> Callable:
        """A map over threads that each compute on one core."""
        cores = torch.get_num_threads()
        threads = ThreadPoolExecutor(cores, "emotion engine", torch.set_num_threads, (1,))
        # All start now, as one's setting is also that of threads yet to come.
        together = Barrier(cores)
        list(threads.map(lambda _: together.wait(), range(cores)))
        torch.set_num_threads(cores)
        return threads.map

    @torch.no_grad()
    def _few(self, images: Tensor) -> Tensor:
        given = len(images)
        if self.dtype is torch.bfloat16:
            # Kernels are chosen by the batch's size and round differently: it is always the same.
            images = nn.functional.pad(images, (0,) * 7 + (FACES_AT_ONCE[self.dtype] - given,))
        images = images.float().div_(255) if images.dtype is torch.uint8 else images
        normal = self.network.normalise(images)
        placed = normal.to(self.dtype, memory_format=torch.channels_last)
        return self.network.trunk(placed)[:given].float()


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Say whether a device multiplies bfloat16 in hardware; elsewhere it would be slow."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in _BFLOAT16_INSTRUCTIONS)


def _speed_up(trunk: nn.Module, dtype: torch.dtype) -> None:
    """Fold each normalisation into the convolution that timm registers just before it.

    Where the processor can, the convolution takes over the activation too; gates work in place.
    """
    for part in list(trunk.modules()):
        before = None
        for name, child in list(part.named_children()):
            if isinstance(child, BatchNormAct2d):
                folded = fuse_conv_bn_eval(getattr(part, before), child).to(dtype)
                fused = can_fuse(folded, child.act)
                setattr(part, before, FusedConvolution(folded, child.act) if fused else folded)
                setattr(part, name, nn.Identity() if fused else child.act)
            elif isinstance(child, SqueezeExcite):
                setattr(part, name, GateInPlace(child))
            before = name if isinstance(child, nn.Conv2d) else None
