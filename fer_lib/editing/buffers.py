"""What a denoiser is shown of a face: its parameters drawn as normals, albedo, shaded skin, mask.

The buffers leave out what the parameters do not know: hair, beard, folds, highlights, whatever is
in front of the face or behind it. They lie exactly on the photograph that the parameters belong to.
Behind them there is room for that photograph, which ``carry`` fills.

Source: the physical buffers of Ding et al., "DiffusionRig: Learning Personalized Priors for Facial
Appearance Editing", CVPR 2023; the mask is an addition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lib.faces.embedded import Groom, embedded_head
from fer_lib.faces.expression import clip_expression
from fer_lib.faces.ict import ict_head
from fer_lib.faces.morphable import MorphableModel
from fer_lib.faces.operations import with_action_units, with_emotion
from fer_lib.faces.params import FaceParams
from fer_lib.faces.render import GAMMA, Rendering, render
from fer_lib.networks.denoiser import BUFFER_CHANNELS, CARRIED, DOUBT, MASK, NO_PHOTOGRAPH

BUFFERS = {"normals": slice(0, 3), "albedo": slice(3, 6), "shaded": slice(6, 9),
           "mask": MASK, "carried": CARRIED, "doubt": DOUBT}  # fmt: skip
"""Where each buffer stands among the channels; all but the last two are drawn."""

CHUNK = 32
"""Faces that are drawn at a time."""
_NEAR = 1 / 32  # of the side: how far around a difference the old picture is not trusted
_CLEAR = 0.1  # difference of buffers, of a range of 2, that is one beyond doubt


@lru_cache(maxsize=2)
def buffer_head(name: str) -> MorphableModel:
    """Give a head as buffers show it: bald, shaven, without folds and without gloss.

    Its coefficients mean the same as those of the head with any groom.

    Args:
        name: ``embedded`` or ``ict``.

    Returns:
        The head, eyes and teeth included.

    Raises:
        ValueError: there is no such head.
        AssetError: the model's files cannot be had.
    """
    bald = {"embedded": lambda: embedded_head(Groom(bald=True)),
            "ict": lambda: ict_head(Groom(bald=True), detail="head")}  # fmt: skip
    if name not in bald:
        raise ValueError(f"expected a head out of {sorted(bald)}, got {name!r}")
    head = bald[name]()
    return replace(
        head,
        wrinkles=head.wrinkles[:0],
        wrinkle_modes=head.wrinkle_modes[:0],
        gloss=head.gloss * head.gloss.new_tensor([0.0, 1.0]),
    )


@torch.no_grad()
def draw_buffers(
    model: MorphableModel, params: FaceParams, size: int, supersample: int = 2
) -> Tensor:
    """Draw faces for a denoiser; a face's buffers do not depend on its batch.

    Args:
        model: from ``buffer_head``, on the device of ``params``; a groom would be drawn too.
        params: B faces in the frame of the photograph, whatever its size.
        size: side of the buffers in pixels.
        supersample: pixels per side that are averaged into one.

    Returns:
        ``(B, 14, size, size)`` in [-1, 1], in the order of ``BUFFERS``: normals in camera
        coordinates, 0 outside of the head; albedo and shaded albedo, gamma-coded as photographs
        are, -1 (black) outside; mask, 1 inside and 0 outside; no photograph, so 0, and all doubt.
    """
    parts = [
        as_buffers(render(model, params[start : start + CHUNK], size, supersample))
        for start in range(0, len(params), CHUNK)
    ]
    return torch.cat(parts)


def as_buffers(drawn: Rendering) -> Tensor:
    """Give rendered faces as ``draw_buffers`` does."""
    albedo = drawn.albedo.clamp(0, 1) ** (1 / GAMMA)
    nothing = [torch.zeros_like(albedo), torch.full_like(drawn.mask, NO_PHOTOGRAPH)]
    shown = [drawn.normals, 2 * albedo - 1, 2 * drawn.image - 1, drawn.mask]
    return torch.cat(shown + nothing, 1)


def carried_photograph(buffers: Tensor) -> tuple[Tensor, Tensor]:
    """Take the photograph out of buffers that was carried to their faces, and the doubt about it.

    Args:
        buffers: (B,14,S,S).

    Returns:
        (B,3,S,S) c and (B,1,S,S) s, views; without a photograph 0 and 1.

    Raises:
        ValueError: these are other buffers.
    """
    if buffers.ndim != 4 or buffers.shape[1] != BUFFER_CHANNELS:
        raise ValueError(
            f"expected buffers of shape (B, {BUFFER_CHANNELS}, S, S), got {tuple(buffers.shape)}; "
            "draw them by draw_buffers or draw_edit"
        )
    return buffers[:, CARRIED], buffers[:, DOUBT]


def differs(first: Tensor, second: Tensor) -> Tensor:
    """Say where two faces are drawn differently.

    Args:
        first: (B,14,S,S) buffers; how a photograph was carried is not looked at.
        second: likewise.

    Returns:
        (B,1,S,S) in [0, 1], with a soft border; exactly 0 where they are drawn alike.
    """
    gap = (first - second)[:, : MASK.stop].abs().amax(1, keepdim=True)
    return around((gap / _CLEAR).clamp_max(1))


def around(marked: Tensor) -> Tensor:
    """Widen what is marked, (B,1,S,S), and soften its border; what is marked stays so."""
    reach = max(round(_NEAR * marked.shape[-1]), 1)
    wide = F.max_pool2d(marked, 4 * reach + 1, 1, 2 * reach)
    return F.avg_pool2d(wide, 2 * reach + 1, 1, reach, count_include_pad=False)


def edited_params(
    params: FaceParams,
    names: Sequence[str],
    *,
    psi: Tensor | None = None,
    emotion: str | None = None,
    aus: Mapping[str, float] | None = None,
    difference: Tensor | None = None,
    strength: float | Tensor = 1.0,
) -> FaceParams:
    """Give faces another expression; ψ moves and nothing else, so β cannot.

    An error of the estimate that source and target share cancels in a ``difference``, for example
    ψ of a target photograph minus ψ of the same person's neutral one.

    Args:
        params: B faces.
        names: the model's ``expression_names``.
        psi: the new ψ, ``(B, n_expr)`` or ``(n_expr,)`` for all.
        emotion: or the emotion whose prototype is shown.
        aus: or the action units that are shown, intensity by unit.
        difference: or what is added to ψ, shaped as ``psi``; the sum is kept in the model's range.
        strength: how far the way to the new ψ is gone, in [0, 1], one or ``(B,)``; 0 gives
            ``params`` and 1 the new ψ, exactly.

    Returns:
        B faces.

    Raises:
        ValueError: not just one of the targets is given, an emotion or unit is unknown, or ψ or
            the strength is refused.
    """
    old = params.expression
    given = [name for name, value in (("psi", psi), ("emotion", emotion), ("aus", aus),
                                      ("difference", difference)) if value is not None]  # fmt: skip
    if len(given) != 1:
        raise ValueError(f"expected one of psi, emotion, aus and difference, got {given or 'none'}")
    if emotion is not None:
        new = with_emotion(params, emotion, names).expression
    elif aus is not None:
        new = with_action_units(params, aus, names).expression
    elif difference is not None:
        new = clip_expression(old + _rows(difference, old), names)
    else:
        new = _rows(psi, old)
    share = torch.as_tensor(strength, dtype=old.dtype, device=old.device).reshape(-1, 1)
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError(f"expected a strength in [0, 1], got {strength}; edits do not exaggerate")
    # In this form both ends are exact.
    return params.replace(expression=(1 - share) * old + share * new)


def _rows(psi: Tensor, like: Tensor) -> Tensor:
    """One ψ per face."""
    if psi.shape[-1] != like.shape[1] or psi.ndim > 2 or (psi.ndim == 2 and len(psi) != len(like)):
        raise ValueError(
            f"expected ψ of shape {tuple(like.shape)} or {tuple(like.shape[1:])}, got "
            f"{tuple(psi.shape)}; give one row per face, of the same model"
        )
    return psi.to(like).expand_as(like)
