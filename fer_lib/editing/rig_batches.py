"""What a rig editor learns from: pictures, and beside them faces drawn as themselves and edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from fer_lib.editing.buffers import BUFFERS, draw_buffers
from fer_lib.editing.carry import draw_edit
from fer_lib.editing.rig import mirror_buffers
from fer_lib.editing.rig_edits import Edits
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import MirrorTable
from fer_lib.faces.params import FaceParams

_CHUNK = 64
_BYTE = 127.0


class RigBatch(NamedTuple):
    """Some pictures with their conditions; tensors on one device.

    Attributes:
        images: (B,3,S,S) in [-1, 1], what is to be drawn.
        sources: (B,3,S,S) in [-1, 1], from which the global code is read.
        buffers: (B,14,S,S) in [-1, 1] of the faces to be drawn.
        covered: (B,1,S,S) in [0, 1], where the face of ``sources`` or of ``buffers`` is.
        psi: (B,n_expr) that ``buffers`` show.
        known: (B,) bool, whether ``images`` shows what ``buffers`` say; where no true edit is
            known, ``images`` is the photograph as it was carried to the edit.
    """

    images: Tensor
    sources: Tensor
    buffers: Tensor
    covered: Tensor
    psi: Tensor
    known: Tensor


@dataclass(frozen=True)
class RigSet:
    """Faces of one kind of parameters, drawn and in memory; bytes where bytes will do.

    Attributes:
        pictures: (M,3,S,S) uint8.
        source: (N,) int64 picture of each sample from which the code is read.
        target: (N,) int64 picture that is to be drawn.
        buffers: (N,14,S,S) int8, 127 for 1.
        covered: (N,1,S,S) int8, likewise.
        psi: (N,n_expr) that the buffers show.
        known: (N,) bool, whether the targets show it.
    """

    pictures: Tensor
    source: Tensor
    target: Tensor
    buffers: Tensor
    covered: Tensor
    psi: Tensor
    known: Tensor

    def __len__(self) -> int:
        """Give the number of samples."""
        return len(self.target)

    def take(self, places: Tensor) -> RigBatch:
        """Fetch samples by position, (B,) int64."""
        buffers, known = self.buffers[places].float() / _BYTE, self.known[places]
        shown = to_pixels(self.pictures[self.target[places]])
        images = torch.where(known.view(-1, 1, 1, 1), shown, buffers[:, BUFFERS["carried"]])
        sources = to_pixels(self.pictures[self.source[places]])
        covered = self.covered[places].float() / _BYTE
        return RigBatch(images, sources, buffers, covered, self.psi[places], known)


def shrink_pictures(faces: np.ndarray, size: int) -> Tensor:
    """Bring a store's crops to the size of a denoiser.

    Args:
        faces: (N,H,H,3) uint8, memory-mapped or not.
        size: S in pixels.

    Returns:
        (N,3,S,S) uint8; anti-aliased, and unchanged where the size is the crop's.
    """
    parts = []
    for start in range(0, len(faces), _CHUNK):
        part = torch.from_numpy(np.array(faces[start : start + _CHUNK])).permute(0, 3, 1, 2)
        if part.shape[-1] != size:
            part = F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True)
            part = part.round().clamp(0, 255).to(torch.uint8)
        parts.append(part.contiguous())
    return torch.cat(parts)


def to_pixels(pictures: Tensor) -> Tensor:
    """Give uint8 pictures as float32 in [-1, 1], the range inside the editor."""
    return pictures.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Give float pictures in [-1, 1] as uint8; takes back ``to_pixels`` exactly."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def draw_faces(model: MorphableModel, pictures: Tensor, codes: FaceParams) -> RigSet:
    """Draw faces, each as itself and without a photograph: what a prior learns from.

    Args:
        model: from ``buffer_head``.
        pictures: (M,3,S,S) uint8.
        codes: M faces in the frame of the pictures.

    Raises:
        ValueError: there is not one picture per face.
    """
    _check_count(pictures, codes)
    rows, size = torch.arange(len(codes)), pictures.shape[-1]
    drawn = [_to_int8(draw_buffers(model, codes[some], size)) for some in rows.split(_CHUNK)]
    buffers, known = torch.cat(drawn), torch.ones(len(rows), dtype=torch.bool)
    covered = buffers[:, BUFFERS["mask"]]
    return RigSet(pictures, rows, rows, buffers, covered, codes.expression, known)


def draw_edits(model: MorphableModel, pictures: Tensor, codes: FaceParams, edits: Edits) -> RigSet:
    """Draw edits of faces, the photographs carried along.

    Args:
        model: from ``buffer_head``.
        pictures: (M,3,S,S) uint8.
        codes: M faces in the frame of the pictures.
        edits: P of these faces.

    Raises:
        ValueError: there is not one picture per face.
    """
    _check_count(pictures, codes)
    buffers, covered = [], []
    for some in torch.arange(len(edits.source)).split(_CHUNK):
        at = edits.source[some]
        edited = codes[at].replace(expression=edits.psi[some])
        pair = draw_edit(model, to_pixels(pictures[at]), codes[at], edited)
        buffers.append(_to_int8(pair[1]))
        covered.append(_to_int8(torch.maximum(*(one[:, BUFFERS["mask"]] for one in pair))))
    drawn = torch.cat(buffers), torch.cat(covered)
    return RigSet(pictures, edits.source, edits.target, *drawn, edits.psi, edits.known)


def way_back(there: RigSet, codes: FaceParams) -> tuple[Tensor, FaceParams, Edits]:
    """Make edits of photographs whose result is known: from where the mesh bent them, back.

    A photograph without a counterpart is its own true edit when it is first carried to another
    expression and then edited to its own: what the way there has spoilt is to be drawn again.

    Args:
        there: P edits of M photographs, one each, drawn by ``draw_edits``.
        codes: M faces.

    Returns:
        ``pictures``, ``codes`` and ``edits`` for ``draw_edits``: the photographs, and behind them
        those that were carried.
    """
    bent = to_bytes(there.buffers[:, BUFFERS["carried"]].float() / _BYTE)
    moved = codes[there.source].replace(expression=there.psi)
    count, back = len(codes), there.source
    known = torch.ones(len(back), dtype=torch.bool)
    edits = Edits(count + torch.arange(len(back)), back, codes.expression[back], known)
    return torch.cat([there.pictures, bent]), FaceParams.concatenate([codes, moved]), edits


def _check_count(pictures: Tensor, codes: FaceParams) -> None:
    if len(pictures) != len(codes):
        raise ValueError(f"expected one picture per face, got {len(pictures)} of {len(codes)}")


def rig_loader(
    sets: Sequence[RigSet],
    batch_size: int,
    *,
    batches: int | None = None,
    table: MirrorTable | None = None,
) -> DataLoader:
    """Make a loader of shuffled batches; order and mirroring follow torch's random state.

    Args:
        sets: where the samples come from; all are mixed, each as often as it is large.
        batch_size: samples per batch; fewer where there are no more.
        batches: per epoch; None goes through all samples once, leaving out a smaller last batch.
        table: of the model; if given, half of the samples are mirrored.

    Raises:
        ValueError: there are no samples.
    """
    ends = torch.tensor([0, *(len(one) for one in sets)]).cumsum(0)
    total = int(ends[-1])
    if not total:
        raise ValueError("expected samples to learn from, got none; add faces with parameters")
    batch_size = min(batch_size, total)

    def collate(positions: list[int]) -> RigBatch:
        places = torch.tensor(positions)
        parts = [
            one.take(places[(places >= low) & (places < high)] - low)
            for one, low, high in zip(sets, ends, ends[1:], strict=False)
        ]
        batch = RigBatch(*(torch.cat(part) for part in zip(*parts, strict=True)))
        return batch if table is None else mirror_batch(batch, table, torch.rand(len(places)) < 0.5)

    wanted = None if batches is None else batches * batch_size
    order = RandomSampler(range(total), num_samples=wanted)
    sampler = BatchSampler(order, batch_size, drop_last=True)
    return DataLoader(range(total), batch_sampler=sampler, collate_fn=collate)


def mirror_batch(batch: RigBatch, table: MirrorTable, chosen: Tensor) -> RigBatch:
    """Mirror some samples with everything that is known of them.

    Nothing is drawn anew: the buffers of a mirrored face are the mirrored buffers.

    Args:
        batch: samples.
        table: of the model.
        chosen: (B,) bool.
    """
    buffers = mirror_buffers(batch.buffers)
    psi = batch.psi[:, table.expression_source] * table.expression_sign
    flipped = (batch.images.flip(3), batch.sources.flip(3), buffers, batch.covered.flip(3), psi)
    parts = [
        torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)
        for new, old in zip(flipped, batch, strict=False)
    ]
    return RigBatch(*parts, batch.known)


def _to_int8(buffers: Tensor) -> Tensor:
    # Signed, so that 0 – no normal, no face – stays exactly 0.
    return (buffers * _BYTE).round().clamp(-_BYTE, _BYTE).to(torch.int8).cpu()
