"""The painted ICT head: one texture, wrinkles, gloss, depth bias and lifted hair for one groom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from fer_lib.faces.embedded import atlas as embedded_atlas
from fer_lib.faces.embedded.colours import OVERLAYS, REGIONS
from fer_lib.faces.embedded.fields import EYE_HALF_WIDTH, Chart, Field, bump, ramp
from fer_lib.faces.embedded.hair import Hair, comb
from fer_lib.faces.embedded.skin import lip_mask
from fer_lib.faces.embedded.texture import Canvas, albedo_mix, face_weights, prepare_canvas
from fer_lib.faces.ict import atlas
from fer_lib.faces.ict.atlas import Bare, part
from fer_lib.faces.ict.chart import chart_positions, make_chart, texel_places
from fer_lib.faces.ict.folds import fold_maps
from fer_lib.faces.ict.groom import IctGroom
from fer_lib.faces.ict.surface import grow_hair, seal_lips

_INSIDE_COLOURS = {
    "cavity": (0.16, 0.045, 0.040),
    "gums": (0.38, 0.13, 0.12),
    "teeth": (0.62, 0.57, 0.48),
    "socket": (0.42, 0.19, 0.16),
}
_BIAS = {"cavity": 0.12, "socket": 0.12, "gums": 0.07, "teeth": 0.06, "eye": 0.04}
_SKIN_GLOSS, _LIP_GLOSS = (0.06, 18.0), (0.16, 40.0)
_GLOSS = {"cavity": (0.0, 9.0), "socket": (0.1, 30.0), "gums": (0.10, 25.0),
          "teeth": (0.12, 20.0), "eye": (0.9, 300.0)}  # fmt: skip
_COLLAR_Y, _COLLAR_SLOPE = -2.45, 0.45
_SCLERA_SHADE = 0.85  # lids and lashes take light from the white of the eye
# The mesh shades its own hollows, and light in the skin leaves shadows red.
_WARM_SHADE = np.array([0.70, 0.88, 0.92], np.float32)


@dataclass(frozen=True)
class Mannequin:
    """What no groom changes, computed once.

    Attributes:
        bare: the head.
        rest: (V,3) its vertices, lips together.
        chart: (V,) vertices on the embedded head's chart.
        canvas: (HEIGHT,WIDTH) texels.
        ears: (HEIGHT,WIDTH) 1 on the ears, where no hair grows.
        vertex_ears: (V,) the same at the vertices.
        shirt: (HEIGHT,WIDTH) 1 below the collar.
        wrinkles: (n_w,HEIGHT,WIDTH) wrinkle maps of bare skin.
        wrinkle_modes: (n_w,) expression mode of each.
    """

    bare: Bare
    rest: Field
    chart: Chart
    canvas: Canvas
    ears: Field
    vertex_ears: Field
    shirt: Field
    wrinkles: Field
    wrinkle_modes: Field


def _ear_mask(u: Field, v: Field) -> Field:
    """The ears in the sheet of the face, in [0,1]."""
    edge = np.minimum(u, 1 - u)
    return ramp(0.125, 0.10, edge) * ramp(0.305, 0.325, v) * ramp(0.635, 0.615, v)


def _lash_line(chart: Chart) -> Field:
    """The roots of the upper lashes in [0,1]; the lid's edge has a breadth of its own here."""
    outward = chart.eye_offset / EYE_HALF_WIDTH
    within = np.where(outward > 0, ramp(1.12, 0.85, outward), ramp(0.98, 0.70, -outward))
    return (0.85 * within * bump(0.0, chart.y - 0.012, 1.0, 0.022)).astype(np.float32)


def _shirt(place: Field) -> Field:
    """Below the collar, in [0,1]; it hangs lower in front."""
    height = place[..., 1] - _COLLAR_Y + _COLLAR_SLOPE * ramp(-0.5, 0.8, place[..., 2])
    return ramp(0.02, -0.02, height)


def _canvas(texels: Chart) -> Canvas:
    """The embedded head's paint on this head's texels."""
    canvas = prepare_canvas(texels)
    ink = np.maximum(canvas.ink, _lash_line(texels))
    return replace(canvas, ink=ink, tint=np.maximum(canvas.tint, 0.0) ** _WARM_SHADE)


def prepare(bare: Bare, expression_names: tuple[str, ...]) -> Mannequin:
    """Paint everything that does not depend on the groom.

    Args:
        bare: the head.
        expression_names: the model's expression modes, in their order.
    """
    position = chart_positions(bare)
    vertices = make_chart(position)
    texels, place = texel_places(bare, position)
    canvas = _canvas(texels)
    ears = np.zeros_like(texels.x)
    ears[atlas.FACE.where] = _ear_mask(*atlas.FACE.coordinates())
    vertex_ears = _ear_mask(*atlas.sheet_uv(bare.uv).T) * (bare.uv[:, 0] < 1)
    surface = bare, seal_lips(bare, vertices), vertices, canvas
    return Mannequin(
        *surface, ears, vertex_ears, _shirt(place), *fold_maps(canvas, expression_names)
    )


def _inside_patches(canvas: Canvas) -> dict[str, Field]:
    """Weights of the regions on the small patches, and their fixed colour under "free"."""
    patches = {}
    for name in ("iris", "free"):
        patches[name] = np.zeros((atlas.HEIGHT, atlas.WIDTH, 3), np.float32)
        patches[name][atlas.EYE.where] = canvas.patches[name][embedded_atlas.EYE.where]
    patches["free"] *= _SCLERA_SHADE
    for name, patch in atlas.INSIDE.items():
        front, _ = patch.coordinates()
        shade = 0.12 + 0.88 * np.clip(front, 0, 1) ** 1.5
        patches["free"][patch.where] = shade[..., None] * np.array(_INSIDE_COLOURS[name])
    return patches


def _on_skin(layer: Field) -> Field:
    """A layer on the sheets of face and head alone."""
    kept = np.zeros((*layer.shape[:2], 3), np.float32)
    for patch in (atlas.FACE, atlas.HEAD):
        kept[patch.where] = layer[patch.where]
    return kept


def _albedo(mannequin: Mannequin, groom: IctGroom, hair: Hair) -> tuple[Field, Field]:
    """Mean albedo (HEIGHT,WIDTH,3) and the maps of `REGIONS`, then `OVERLAYS`."""
    face = face_weights(mannequin.canvas, groom, hair)
    if "beard" in face:
        face["beard"] = face["beard"] * (1 - mannequin.ears)[..., None]
    shirt = mannequin.shirt[..., None]
    layers = {name: _on_skin(layer * (1 - shirt)) for name, layer in face.items()}
    layers["shirt"] = _on_skin(shirt)
    for name, patch in _inside_patches(mannequin.canvas).items():
        layers[name] = layers.get(name, 0) + patch
    empty = np.zeros((atlas.HEIGHT, atlas.WIDTH, 3), np.float32)
    names = (*(region.name for region in REGIONS), *OVERLAYS)
    maps = np.stack([layers.get(name, empty) for name in names])
    means = np.stack([region.mean for region in REGIONS]).astype(np.float32)
    mean = layers["free"] + np.einsum("rhwc,rc->hwc", maps[: len(means)], means)
    return mean, maps


def _surface(mannequin: Mannequin) -> tuple[Field, Field]:
    """Depth bias (V,) and gloss (V,2)."""
    bare = mannequin.bare
    lips = lip_mask(mannequin.chart)[:, None]
    gloss = np.array(_SKIN_GLOSS) * (1 - lips) + np.array(_LIP_GLOSS) * lips
    bias = np.zeros(len(bare.rest))
    for name, push in _BIAS.items():
        inside = part(bare, name)
        bias[inside], gloss[inside] = push, _GLOSS[name]
    return bias, gloss


def dress(mannequin: Mannequin, groom: IctGroom) -> dict[str, torch.Tensor]:
    """Paint the head.

    Args:
        mannequin: the head from `prepare`.
        groom: hair, beard and brows.

    Returns:
        These fields of `MorphableModel`, vertices in the order of the bare head: template (with
        the hair lifted), uv, albedo_mean, albedo_maps, albedo_mix, wrinkles, wrinkle_modes,
        depth_bias, gloss. Its `albedo_names` are `embedded.colours.ALBEDO_NAMES`.
    """
    combed = comb(mannequin.canvas.chart, groom)
    hair = Hair(combed.strand, combed.cover * (1 - mannequin.ears))
    mean, maps = _albedo(mannequin, groom, hair)
    bias, gloss = _surface(mannequin)
    fields = {
        "template": mannequin.rest
        + grow_hair(mannequin.bare, mannequin.chart, mannequin.vertex_ears, groom),
        "uv": atlas.texture_positions(mannequin.bare),
        "albedo_mean": mean,
        "albedo_maps": maps,
        "albedo_mix": albedo_mix(),
        "wrinkles": mannequin.wrinkles * (1 - hair.cover),
        "depth_bias": bias,
        "gloss": gloss,
    }
    tensors = {k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in fields.items()}
    return tensors | {"wrinkle_modes": torch.from_numpy(mannequin.wrinkle_modes)}
