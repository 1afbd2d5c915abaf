"""The rig editor: photographs are turned to noise under one face and drawn again under another.

After DiffusionRig (Ding et al., CVPR 2023): a denoiser that sees the rendered face (buffers) beside
the noisy picture, and a global code of the photograph for what no render knows. Two things differ.
The noise is not random but the photograph's own, found by inversion under the source's buffers. And
the photograph itself is carried to the edited face by the mesh: the denoiser draws only what that
lacks, and where nothing moves nothing can change. Without a carried photograph what inversion loses
is known – the source drawn from its own noise is not quite the source – and is given back where
both faces are drawn alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fer_lib.editing.buffers import BUFFERS, around, carried_photograph, differs
from fer_lib.editing.samplers import Denoise, invert, sample, seeded_noise
from fer_lib.editing.schedule import Schedule


@dataclass(frozen=True)
class SourceNoise:
    """Photographs made ready for any number of edits.

    Attributes:
        images: (B,3,S,S) in [-1, 1].
        buffers: (B,14,S,S) of the faces that they show.
        z: (B,Z) global codes.
        mirrored_z: (B,Z) those of the mirrored pictures; None where only one side is asked.
        noise: (B,3,S,S) from which they are drawn again.
        inverted: whether the noise is the photographs' own.
        lost: (B,3,S,S) what the pictures drawn from the noise under ``buffers`` lack; None where
            it is not to be given back.
        steps: of the sampler.
        method: of the sampler.
    """

    images: Tensor
    buffers: Tensor
    z: Tensor
    mirrored_z: Tensor | None
    noise: Tensor
    inverted: bool
    lost: Tensor | None
    steps: int
    method: str


class RigEditor(nn.Module):
    """Changes the expression of photographs; shape, pose, light, hair and background stay.

    Every picture is edited by itself. Pictures are float RGB in [-1, 1] of the denoiser's size.

    Args:
        denoiser: ``(x_t, t, buffers, z) -> v``, of what a carried photograph lacks.
        code: ``(images) -> z``.
        schedule: of the noise.
    """

    def __init__(self, denoiser: nn.Module, code: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.denoiser, self.code, self.schedule = denoiser, code, schedule

    def forward(self, x_t: Tensor, t: Tensor, buffers: Tensor, z: Tensor) -> Tensor:
        """Predict v = α·ε − σ·x₀ of noisy pictures.

        The picture is expected to be the carried photograph c, give or take the doubt s: the
        denoiser is shown, and asked for, the residual y = (x₀ − c) / s alone, noised by the same ε.
        Without a photograph c = 0 and s = 1, and this is plain v-prediction; without doubt the
        picture is c, whatever the denoiser says.

        Args:
            x_t: (B,3,S,S).
            t: (B,) int64.
            buffers: (B,14,S,S).
            z: (B,Z).

        Returns:
            (B,3,S,S).

        Source: preconditioning as in Karras et al., "Elucidating the design space of
        diffusion-based generative models", 2022, table 1, here with a mean and a spread per pixel.
        """
        alpha, sigma = self.schedule.at(t, x_t)
        c, s = carried_photograph(buffers)
        spread = (s.square() * alpha.square() + sigma.square()).sqrt()
        residual = (x_t - alpha * c) / spread
        expected = alpha * sigma * (1 - s.square()) / spread * residual - sigma * c
        return expected + s / spread * self.denoiser(residual, t, buffers, z)

    def edit(
        self, images: Tensor, source_buffers: Tensor, edited_buffers: Tensor, **options: object
    ) -> Tensor:
        """Make one edit of each photograph; arguments and result as of ``edit_many``."""
        return self.edit_many(images, source_buffers, [edited_buffers], **options)[0]

    def edit_many(
        self,
        images: Tensor,
        source_buffers: Tensor,
        edits: Sequence[Tensor],
        *,
        noise: str | Sequence[int] = "invert",
        steps: int = 4,
        method: str = "ddim",
        refine: int = 1,
        blend: bool = False,
        restore: bool = True,
        both_sides: bool = False,
    ) -> list[Tensor]:
        """Make several edits of each photograph, which is turned to noise only once.

        Args:
            images: (B,3,S,S) photographs.
            source_buffers: (B,14,S,S) of the faces that they show.
            edits: (B,14,S,S) each, of the same faces with another expression.
            noise: ``"invert"`` for the photographs' own, or a seed per photograph.
            steps: of the sampler in each direction. A carried photograph needs few, and more of
                them draw one possible picture instead of their mean; without one ask for 50.
            method: ``"ddim"``, the exact way back of the inversion, or ``"dpm++"``.
            refine: corrections per step of the inversion, each of the price of the step.
            blend: whether the photograph stays untouched outside both faces.
            restore: whether what inversion loses is given back where the two buffers agree; it
                costs one more drawing per photograph. Never with seeds, and needless where the
                photograph was carried.
            both_sides: whether every prediction is the mean of that for the picture and that for
                its mirror image, for twice the time. The edit of a mirrored photograph is then
                the mirrored edit, as far as its noise is its own.

        Returns:
            (B,3,S,S) in [-1, 1] for each of ``edits``. Edits of buffers that are the source's own
            give the photographs back, unless the noise is seeded.

        Raises:
            ValueError: shapes, number of seeds or method do not fit.
        """
        source = self.prepare(
            images, source_buffers, noise=noise, steps=steps, method=method, refine=refine,
            restore=restore, both_sides=both_sides,
        )  # fmt: skip
        return [self.draw(source, edited, blend=blend) for edited in edits]

    @torch.no_grad()
    def prepare(
        self,
        images: Tensor,
        buffers: Tensor,
        *,
        noise: str | Sequence[int] = "invert",
        steps: int = 4,
        method: str = "ddim",
        refine: int = 1,
        restore: bool = True,
        both_sides: bool = False,
    ) -> SourceNoise:
        """Find codes and noise of photographs; arguments as of ``edit_many``."""
        with _evaluating(self):
            codes = self.code(images), self.code(images.flip(3)) if both_sides else None
            denoise, lost = self._under(buffers, *codes), None
            inverted = isinstance(noise, str) and noise == "invert"
            if inverted:
                found = invert(denoise, images, self.schedule, steps, refine=refine)
            else:
                found = _seeded(noise, images)
            alone = _without_photograph(buffers)
            if inverted and restore and alone.any():
                lost = alone * (images - sample(denoise, found, self.schedule, steps, method))
        return SourceNoise(images, buffers, *codes, found, inverted, lost, steps, method)

    @torch.no_grad()
    def draw(self, source: SourceNoise, buffers: Tensor, *, blend: bool = False) -> Tensor:
        """Draw prepared photographs with other buffers; arguments and result as of ``edit_many``.

        With inverted noise nothing is clipped before the end, as nothing was on the way there.
        """
        denoise = self._under(buffers, source.z, source.mirrored_z)
        with _evaluating(self):
            drawn = sample(
                denoise, source.noise, self.schedule, source.steps, source.method,
                clip=not source.inverted,
            )  # fmt: skip
        if source.lost is not None:
            drawn = drawn + (1 - differs(source.buffers, buffers)) * source.lost
        if blend:
            face = around(torch.maximum(_mask(source.buffers), _mask(buffers)))
            drawn = torch.lerp(source.images, drawn, face)
        return drawn.clamp(-1, 1)

    def _under(self, buffers: Tensor, z: Tensor, mirrored_z: Tensor | None) -> Denoise:
        """Ask the denoiser under these conditions."""

        def one_side(x_t: Tensor, t: Tensor) -> Tensor:
            return self(x_t, t, buffers, z)

        def both_sides(x_t: Tensor, t: Tensor) -> Tensor:
            other = self(x_t.flip(3), t, mirror_buffers(buffers), mirrored_z)
            return (one_side(x_t, t) + other.flip(3)) / 2

        return one_side if mirrored_z is None else both_sides


def mirror_buffers(buffers: Tensor) -> Tensor:
    """Give the buffers of mirrored faces: flipped, the normals' part to the side turned about.

    Args:
        buffers: (B,14,S,S).
    """
    flipped = buffers.flip(3)
    flipped[:, 0] = -flipped[:, 0]
    return flipped


def _seeded(seeds: str | Sequence[int], images: Tensor) -> Tensor:
    if isinstance(seeds, str) or len(seeds) != len(images):
        raise ValueError(
            f"expected noise to be invert or {len(images)} seeds, one per photograph, got {seeds!r}"
        )
    return seeded_noise(seeds, images.shape[1:], images.device, images.dtype)


def _without_photograph(buffers: Tensor) -> Tensor:
    """(B,1,1,1) bool, which faces have no carried photograph."""
    return (carried_photograph(buffers)[1] == 1).flatten(1).all(1).view(-1, 1, 1, 1)


def _mask(buffers: Tensor) -> Tensor:
    """(B,1,S,S) in [0, 1], where the face is; a face without buffers is nowhere."""
    return buffers[:, BUFFERS["mask"]].clamp(0, 1)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode and afterwards back into the mode that it was in."""
    was = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was)
