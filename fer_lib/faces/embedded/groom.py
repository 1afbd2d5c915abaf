"""Hair, beard and brows of one subject: the choices in which the head is not linear.

For one `Groom` the model is strictly linear; another groom is another model over the same mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BEARDS = ("none", "stubble", "full", "goatee", "moustache")


@dataclass(frozen=True)
class Groom:
    """Hair, beard and brows.

    Attributes:
        hairline: height of the middle of the hairline over the eyes, about 1.0.
        temple_recession: how far the hairline recedes above the temples, 0 … 0.4.
        fringe: how far a fringe hangs over the forehead, 0 … 0.4.
        parting: where the fringe parts, -1 … 1 (0: none, straight).
        side_length: how far the hair comes down in front of the ear, 0 … 1.
        volume: thickness of the hair on the skull, 0 … 1.
        wave: 0 straight, 1 wavy.
        long_hair: whether hair falls to the shoulders.
        length: how long that hair is, 0 (a bob) … 1.
        bald: no hair on the head.
        beard: one of `BEARDS`.
        brow_thickness: relative thickness of the eyebrows, about 1.
        seed: pattern of strands.
    """

    hairline: float = 1.02
    temple_recession: float = 0.1
    fringe: float = 0.0
    parting: float = 0.0
    side_length: float = 0.5
    volume: float = 0.5
    wave: float = 0.3
    long_hair: bool = False
    length: float = 0.8
    bald: bool = False
    beard: str = "none"
    brow_thickness: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the beard.

        Raises:
            ValueError: if `beard` is unknown.
        """
        if self.beard not in BEARDS:
            raise ValueError(f"expected a beard among {BEARDS}, got {self.beard!r}")


def sample_groom(generator: torch.Generator, male: bool) -> Groom:
    """Draw a plausible groom.

    Args:
        generator: source of randomness.
        male: which of the two populations to draw from.

    Returns:
        A groom; long hair, fringes and beards follow the population.
    """
    u = torch.rand(13, generator=generator).tolist()
    seed = int(torch.randint(1 << 30, (), generator=generator))
    beard = "none"
    if male and u[0] < 0.45:
        beard = BEARDS[1 + int(4 * u[1])]
    return Groom(
        hairline=0.92 + 0.22 * u[2],
        temple_recession=(0.35 if male else 0.12) * u[3],
        fringe=max(0.0, 0.55 * u[4] - (0.35 if male else 0.2)),
        parting=1.6 * u[5] - 0.8,
        side_length=0.25 + 0.35 * u[6] if male else 0.3 + 0.7 * u[6],
        volume=0.15 + 0.5 * u[7] if male else 0.3 + 0.7 * u[7],
        wave=u[8],
        long_hair=u[9] < (0.06 if male else 0.75),
        length=u[12],
        bald=male and u[10] < 0.10,
        beard=beard,
        brow_thickness=(1.0 if male else 0.75) + 0.4 * u[11],
        seed=seed,
    )
