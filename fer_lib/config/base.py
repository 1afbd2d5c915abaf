"""What all settings share: types are checked, and values refused in one sentence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch

from fer_lib.config.checks import has_type, type_name

SOURCES = ("synthetic", "facial_expressions", "london", "rafdb")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Config:
    """Base of all settings: every value has exactly the type its field is annotated with."""

    def __post_init__(self) -> None:
        """Check types, then the values.

        Raises:
            TypeError: a value has another type than its field (``"false"`` is not a bool).
            ValueError: a value is outside what the field allows.
        """
        for name, wanted in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not has_type(value, wanted):
                raise TypeError(
                    f"{name.upper()}: expected {type_name(wanted)}, got {type(value).__name__} "
                    f"{value!r}; pass a value of that type"
                )
        self.check()

    def check(self) -> None:
        """Check the values; settings with limits override this."""

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON values."""
        return dataclasses.asdict(self)


def resolve_device(name: str) -> torch.device:
    """Turn a DEVICE setting into a device.

    Args:
        name: ``"auto"`` (a GPU where there is one, else the CPU), ``"cpu"``, ``"cuda"``, …

    Returns:
        The device.

    Raises:
        ValueError: the device is unknown or not there.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"DEVICE: expected auto, cpu or cuda, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"DEVICE: expected a device that is here, got {name!r}; pass cpu or auto")
    return device
