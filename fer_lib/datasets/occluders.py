"""Things in front of a face: glasses, sunglasses, a hand, a strand of hair, a scarf.

Each is drawn from signed distances to outlines that hang on the neutral face's landmarks, so it
stays in place when only the expression changes. Distances are in inter-ocular distances (IOD).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_lib.datasets.outlines import coverage, distance_to_line, distance_to_outline
from fer_lib.faces.light import shade

OCCLUDERS: tuple[str, ...] = ("none", "glasses", "sunglasses", "hand", "hair_strand", "scarf")

_FRAMES = ((0.08, 0.08, 0.09), (0.25, 0.16, 0.10), (0.45, 0.42, 0.40), (0.12, 0.14, 0.22))
_LENSES = ((0.06, 0.06, 0.07), (0.14, 0.09, 0.06), (0.07, 0.10, 0.09))
_SCARVES = (
    (0.35, 0.10, 0.10), (0.13, 0.18, 0.28), (0.45, 0.40, 0.32), (0.14, 0.14, 0.15),
    (0.18, 0.25, 0.20), (0.40, 0.30, 0.34),
)
_BLACK = torch.zeros(3, 1, 1)
_FINGER_RADIUS, _FINGER_STEP = 0.105, 0.21
_FINGER_LENGTHS = (0.12, 0.22, 0.18, 0.0)


@dataclass(frozen=True)
class Scene:
    """What an occluder is drawn into.

    Attributes:
        project: turns head coordinates ``(n, 3)`` into pixels ``(n, 2)`` of this face's image.
        landmarks: ``(68, 3)`` of the neutral face in head coordinates.
        facing: ``(3,)`` direction from the head to the camera in head coordinates.
        light: ``(9, 3)``.
        skin: ``(3,)`` linear-light colour.
        hair: ``(3,)`` linear-light colour.
        size: side of the square image in pixels.
        scale_px: pixels per IOD.
    """

    project: Callable[[Tensor], Tensor]
    landmarks: Tensor
    facing: Tensor
    light: Tensor
    skin: Tensor
    hair: Tensor
    size: int
    scale_px: float

    def distance(self, points: Tensor) -> Tensor:
        """Distance of every pixel to a line through head coordinates ``(n, 3)``."""
        return distance_to_line(self.project(points), self.size, self.scale_px)

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Opacity of a shape from its signed distance."""
        return coverage(distance, self.scale_px, soft)


Coat = tuple[Tensor, Tensor]
"""A gamma-coded colour, broadcast to ``(3, size, size)``, and an opacity ``(size, size)``."""


def draw_occluder(kind: str, scene: Scene, generator: torch.Generator) -> Tensor:
    """Draw one occluder as a transparent layer.

    Args:
        kind: one of ``OCCLUDERS``.
        scene: where it is drawn.
        generator: source of chance, on the CPU.

    Returns:
        ``(4, size, size)``: gamma-coded RGB times opacity, then opacity.

    Raises:
        ValueError: the kind is unknown.
    """
    painters = {
        "none": lambda *_: [],
        "glasses": _paint_glasses,
        "sunglasses": _paint_sunglasses,
        "hand": _paint_hand,
        "hair_strand": _paint_hair,
        "scarf": _paint_scarf,
    }
    if kind not in painters:
        raise ValueError(f"expected an occluder out of {list(OCCLUDERS)}, got {kind!r}")
    layer = torch.zeros(4, scene.size, scene.size)
    for colour, opacity in painters[kind](scene, generator):
        layer = layer * (1 - opacity) + torch.cat([colour * opacity, opacity[None]])
    return layer


def compose(image: Tensor, layer: Tensor) -> Tensor:
    """Lay an occluder's layer over images.

    Args:
        image: ``(B, 3, size, size)`` RGB in [0, 1], gamma-coded.
        layer: ``(4, size, size)`` from ``draw_occluder``.

    Returns:
        ``(B, 3, size, size)``.
    """
    return image * (1 - layer[3]) + layer[:3]


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _pick(generator: torch.Generator, colours: tuple[tuple[float, ...], ...]) -> Tensor:
    colour = colours[int(torch.randint(len(colours), (), generator=generator))]
    return torch.tensor(colour)[:, None, None]


def _side(generator: torch.Generator) -> float:
    return 1.0 if _uniform(generator, 0, 1) < 0.5 else -1.0


def _encode(linear: Tensor) -> Tensor:
    return linear.clamp(0, 1) ** (1 / 2.2)


def _lit(normals: Tensor, colour: Tensor, scene: Scene) -> Tensor:
    """Shade a linear-light colour by the scene's light, ``(3, size, size)`` gamma-coded."""
    x, y, z = normals
    unit = normals / (x * x + y * y + z * z).sqrt()
    shading = shade(unit.flatten(1), scene.light).clamp_min(0.03).view_as(unit)
    return _encode(colour * shading)


def _paint_glasses(scene: Scene, generator: torch.Generator) -> list[Coat]:
    return _paint_frame(scene, generator, torch.full((3, 1, 1), 0.75), (0.02, 0.10))


def _paint_sunglasses(scene: Scene, generator: torch.Generator) -> list[Coat]:
    return _paint_frame(scene, generator, _pick(generator, _LENSES), (0.80, 0.95))


def _paint_frame(
    scene: Scene, generator: torch.Generator, lens: Tensor, tint: tuple[float, float]
) -> list[Coat]:
    """Glasses: a shadow on the skin, two lenses, a reflection, the frame with its visible arms."""
    eyes = torch.stack([scene.landmarks[36:42].mean(dim=0), scene.landmarks[42:48].mean(dim=0)])
    eyes[:, 2] = torch.maximum(eyes[:, 2].max() + 0.16, scene.landmarks[28, 2] - 0.02)
    eyes[:, 1] = eyes[:, 1].mean() - 0.05
    width, height = _uniform(generator, 0.36, 0.41), _uniform(generator, 0.25, 0.34)
    roundness = _uniform(generator, 2.0, 4.0)
    outlines = [scene.project(_lens(eye, width, height, roundness)) for eye in eyes]
    rims = [distance_to_outline(outline, scene.size, scene.scale_px) for outline in outlines]
    inside = torch.minimum(*rims)
    lines = [_bridge(eyes, width), *_visible_arms(scene, eyes, width)]
    frame = torch.stack([inside.abs(), *[scene.distance(line) for line in lines]]).amin(dim=0)
    frame = frame - _uniform(generator, 0.012, 0.03)
    step = torch.linspace(0, 1, scene.size)
    glare = scene.cover(inside + 0.02) * (step[:, None] + step < 0.93) * 0.10
    shadow = torch.roll(frame, shifts=int(0.06 * scene.scale_px), dims=0)
    return [
        (_BLACK, 0.28 * scene.cover(shadow, 0.05)),
        (lens, _uniform(generator, *tint) * scene.cover(inside)),
        (_BLACK + 1, glare),
        (_pick(generator, _FRAMES), scene.cover(frame)),
    ]


def _lens(centre: Tensor, width: float, height: float, roundness: float) -> Tensor:
    """Outline of one lens in head coordinates, ``(40, 3)``: a superellipse that is bent back."""
    angle = torch.linspace(0, 2 * torch.pi, 41)[:-1]
    across = angle.cos().sign() * angle.cos().abs() ** (2 / roundness)
    up = angle.sin().sign() * angle.sin().abs() ** (2 / roundness)
    x = centre[0] + width * across * (1 + 0.06 * up)
    depth = centre[2] - 0.15 * (x.abs() - 0.4).clamp_min(0)
    return torch.stack([x, centre[1] + height * up, depth], dim=1)


def _bridge(eyes: Tensor, width: float) -> Tensor:
    """The arch between the lenses in head coordinates."""
    step = torch.linspace(-1, 1, 7)
    middle = eyes.mean(dim=0)
    x = middle[0] + ((eyes[1, 0] - eyes[0, 0]) / 2 - width + 0.02) * step
    y = middle[1] + 0.10 - 0.04 * step**2
    return torch.stack([x, y, middle[2].expand(7)], dim=1)


def _visible_arms(scene: Scene, eyes: Tensor, width: float) -> list[Tensor]:
    """The arms on those sides of the head that the camera sees."""
    arms = []
    for eye, ear, side in zip(eyes, scene.landmarks[[0, 16]], (-1.0, 1.0), strict=True):
        if float(scene.facing[0]) * side > -0.12:
            hinge = eye + torch.tensor([side * width, 0.12, -0.06])
            arms.append(torch.stack([hinge, torch.stack([ear[0] * 1.02, hinge[1], ear[2]])]))
    return arms


def _paint_hand(scene: Scene, generator: torch.Generator) -> list[Coat]:
    """Four fingers and the back of a hand before the chin, the mouth or a cheek."""
    side = _side(generator)
    places = scene.landmarks[[8, 57, 5 if side < 0 else 11]]
    middle = scene.project(places[torch.randint(3, (1,), generator=generator)])[0]
    tilt = torch.tensor(side * _uniform(generator, 0.25, 0.8))
    up = torch.stack([-tilt.sin(), -tilt.cos()]) * scene.scale_px
    beside = torch.stack([up[1], -up[0]]) * -side
    shapes = []
    for number, length in enumerate(_FINGER_LENGTHS):
        reach = _uniform(generator, 0.42, 0.52) + length
        root = middle + beside * (number - 1.5) * _FINGER_STEP - up * 0.35
        bend = beside * _uniform(generator, -0.05, 0.05)
        finger = torch.stack([root, root + up * reach * 0.6 + bend, root + up * reach])
        shapes.append(distance_to_line(finger, scene.size, scene.scale_px) - _FINGER_RADIUS)
    palm = torch.stack([middle - up * 0.62, middle - up * 1.9])
    shapes.append(distance_to_line(palm, scene.size, scene.scale_px) - 0.36)
    hand = -0.02 * torch.logsumexp(torch.stack(shapes) / -0.02, dim=0)
    shadow = 0.35 * scene.cover(hand - 0.05, 0.16)
    return [(_BLACK, shadow), (_round_off(hand, scene), scene.cover(hand))]


def _round_off(distance: Tensor, scene: Scene) -> Tensor:
    """Colour a shape as skin whose rim is rounded off."""
    down, right = torch.gradient(distance, spacing=1 / scene.scale_px)
    tilt = (1 + distance / 0.13).clamp(0, 1)
    x, y = right * tilt, -down * tilt
    normals = torch.stack([x, y, (1 - x * x - y * y).clamp_min(0.05).sqrt()])
    return _lit(normals, 0.95 * scene.skin[:, None, None], scene)


def _paint_hair(scene: Scene, generator: torch.Generator) -> list[Coat]:
    """A strand that falls from the hair over one eye or temple to the cheek."""
    side = _side(generator)
    start, end = side * _uniform(generator, 0.1, 0.5), side * _uniform(generator, 0.7, 0.95)
    bottom = _uniform(generator, -1.1, -0.5)
    front = scene.landmarks[24 if side > 0 else 19, 2] + 0.08
    step = torch.linspace(0, 1, 10)
    coats = []
    for _ in range(22):
        spread = torch.randn(4, generator=generator) * torch.tensor([0.05, 0.06, 0.12, 0.3])
        x = start + spread[0] + (end + spread[1] - start) * step**1.8
        y = 1.7 + (bottom + spread[2] - 1.7) * step
        z = front - 0.5 * (x.abs() - 0.3).clamp_min(0) - 0.4 * (y - 0.9).clamp_min(0)
        reach = scene.distance(torch.stack([x, y, z], dim=1)) - _uniform(generator, 0.006, 0.02)
        normals = torch.tensor([0.4 * side, 0.2, 0.9])[:, None, None]
        tone = scene.hair[:, None, None] * float(spread[3].exp())
        coats.append((_lit(normals, tone, scene), 0.85 * scene.cover(reach)))
    return coats


def _paint_scarf(scene: Scene, generator: torch.Generator) -> list[Coat]:
    """A thick scarf around the neck that hides the chin."""
    chin = scene.project(scene.landmarks[[8]])[0]
    line = torch.arange(scene.size, dtype=torch.float32)
    x, y = (line - chin[0]) / scene.scale_px, (line[:, None] - chin[1]) / scene.scale_px
    height, phase = _uniform(generator, -0.32, -0.12), _uniform(generator, 0, 6)
    depth = y - height + 0.10 * x**2 + 0.03 * torch.sin(4 * x + phase)
    fold = 11 * (depth + 0.10 * torch.sin(1.5 * x + phase)) + phase
    knit = 0.05 * torch.sin(70 * depth) * torch.sin(70 * x)
    roll = (1 - depth / 0.12).clamp(0, 1)
    up = 0.55 * torch.cos(fold) + 0.8 * roll + knit
    normals = torch.stack([0.5 * x.clamp(-1.5, 1.5).expand_as(up), up, torch.ones_like(up)])
    colour = _lit(normals, _pick(generator, _SCARVES) ** 2.2, scene)
    shadow = 0.4 * scene.cover(-depth - 0.06, 0.16)
    return [(_BLACK, shadow), (colour, scene.cover(-depth))]
