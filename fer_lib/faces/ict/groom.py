"""Hair, beard and brows of an ICT head: the embedded head's grooms, none to the shoulders."""

from __future__ import annotations

from dataclasses import replace

import torch

from fer_lib.faces.embedded import groom as embedded
from fer_lib.faces.embedded.colours import sample_albedo

__all__ = ["IctGroom", "sample_albedo", "sample_groom"]

IctGroom = embedded.Groom
_HIGHER, _THICKER = 0.08, 1.7  # hairline and brows against the embedded head's


def sample_groom(generator: torch.Generator) -> IctGroom:
    """Draw a plausible groom; half are drawn from each of the embedded head's two populations.

    Args:
        generator: source of randomness.

    Returns:
        A groom that leaves `long_hair` off: the ICT head has no locks to hang.
    """
    male = bool(torch.rand((), generator=generator) < 0.5)
    drawn = embedded.sample_groom(generator, male)
    return replace(
        drawn,
        long_hair=False,
        hairline=drawn.hairline + _HIGHER,
        brow_thickness=drawn.brow_thickness * _THICKER,
    )
