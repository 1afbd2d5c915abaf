"""The photograph carried to the edited face by the mesh, and where it is to be doubted there.

What the mesh can move need not be invented: skin, hair and background are taken along, and only
what they lack – teeth behind closed lips, folds, the shadow of a cheek – is left to a denoiser.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fer_lib.editing.buffers import BUFFERS, CHUNK, as_buffers, differs
from fer_lib.editing.rivals import SUPERSAMPLE, warp_drawn
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import render

# Root mean squares over drawn faces, of a range of 2: of what moved, and of what was hidden.
_MOVED, _HIDDEN = 0.05, 0.2


@torch.no_grad()
def draw_edit(
    model: MorphableModel, images: Tensor, source: FaceParams, edited: FaceParams
) -> tuple[Tensor, Tensor]:
    """Draw faces and their edits for a denoiser, the photographs carried along.

    Args:
        model: from ``buffer_head``, on the device of everything else.
        images: ``(B, 3, S, S)`` photographs in [-1, 1].
        source: B faces, where they are in the photographs.
        edited: B faces with another ψ.

    Returns:
        Buffers of source and edit, ``(B, 14, S, S)`` each: as of ``draw_buffers``, the photograph
        as ``warp_by_mesh`` bends it, and the doubt: about how far it will be from the truth,
        exactly 0 where nothing changes, and there the photograph is exactly itself. The source
        carries the photograph itself, in doubt all over as if it had moved: so an inversion finds
        in it the noise that an edit is drawn from. Nothing is trained on such a source.

    Raises:
        ValueError: there is not one photograph and one edit per face.
    """
    if not len(images) == len(source) == len(edited):
        raise ValueError(
            f"expected one photograph and one edit per face, got {len(images)} and {len(edited)} "
            f"of {len(source)}"
        )
    parts = [
        _draw(model, images[at : at + CHUNK], source[at : at + CHUNK], edited[at : at + CHUNK])
        for at in range(0, len(images), CHUNK)
    ]
    before, after = (torch.cat(part) for part in zip(*parts, strict=True))
    return before, after


def _draw(
    model: MorphableModel, images: Tensor, source: FaceParams, edited: FaceParams
) -> tuple[Tensor, Tensor]:
    drawn = [render(model, p, images.shape[-1], SUPERSAMPLE) for p in (source, edited)]
    before, after = (as_buffers(one) for one in drawn)
    warped, hidden = warp_drawn(images, model, source, edited, *drawn)
    doubt = differs(before, after) * (_MOVED + (_HIDDEN - _MOVED) * hidden)
    # The warp leaves it alone there too, but for the rounding of its coordinates.
    warped = torch.where(doubt > 0, warped, images)
    for buffers, picture, value in ((before, images, _MOVED), (after, warped, doubt)):
        buffers[:, BUFFERS["carried"]] = picture
        buffers[:, BUFFERS["doubt"]] = value
    return before, after
