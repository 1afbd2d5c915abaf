"""The resting ICT head under one groom: lips together, hair lifted off the skull."""

from __future__ import annotations

import numpy as np

from fer_lib.faces.embedded.fields import Chart, Field, bump, ramp
from fer_lib.faces.embedded.hair import hair_lift, strands
from fer_lib.faces.ict.atlas import Bare, part
from fer_lib.faces.ict.groom import IctGroom

_SEAL, _SEAL_REACH = 0.022, 0.04
_MOUTH_SLIT_V = 0.43  # height of the mouth in the sheet of the face


def _shared(bare: Bare, on_skin: Field) -> Field:
    """Values of the skin alone, the same for all copies of a vertex: no seam may open, (V,)."""
    skin = part(bare, "skin").astype(float)
    total, count = (np.bincount(bare.source, w) for w in (skin * on_skin, skin))
    return (total / np.maximum(count, 1.0))[bare.source]


def seal_lips(bare: Bare, chart: Chart) -> Field:
    """Resting head with its lips brought together, (V,3): the file's are a little open.

    Args:
        bare: the head.
        chart: its vertices on the embedded head's chart.
    """
    share = bump(0.0, chart.mouth_offset, 1.0, _SEAL_REACH) * ramp(0.44, 0.30, chart.lateral)
    towards = np.where(bare.uv[:, 1] > _MOUTH_SLIT_V, -_SEAL, _SEAL)
    return bare.rest + _shared(bare, share * towards)[:, None] * np.array([0.0, 1.0, 0.0])


def grow_hair(bare: Bare, chart: Chart, ears: Field, groom: IctGroom) -> Field:
    """How far each vertex is moved by the hair, (V,3).

    Args:
        bare: the head.
        chart: its vertices on the embedded head's chart.
        ears: (V,) 1 where no hair grows.
        groom: the hair.
    """
    lift = hair_lift(chart, groom, strands(chart, groom)) * (1 - ears)
    return _shared(bare, lift)[:, None] * bare.normals
