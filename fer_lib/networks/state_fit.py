"""Whether the tensors of a file are those of a network: all of them, no others, of its shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

_NAMES_SHOWN = 6


def check_state(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    file: str,
    network: str,
    *,
    may_lack: Sequence[str] = (),
) -> None:
    """Refuse tensors that do not fit a network exactly.

    Args:
        state: tensors of the file, by name.
        wanted: tensors of the network, by the file's names.
        file: its name, for the message.
        network: what it should be, for the message.
        may_lack: endings of names that the file may do without.

    Raises:
        ValueError: names are missing or not expected, or tensors have another shape or type, or
            are not finite; the message lists them.
    """
    both = [name for name in wanted if name in state]
    lacking = [name for name in wanted if name not in state and not name.endswith(tuple(may_lack))]
    faults = {
        "missing": lacking,
        "not expected": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in both
            if state[name].shape != wanted[name].shape
        ],
        "of another type": [
            f"{name} {state[name].dtype} instead of {wanted[name].dtype}"
            for name in both
            if state[name].dtype != wanted[name].dtype
        ],
        "not finite": [
            name
            for name in both
            if state[name].dtype == wanted[name].dtype and not state[name].isfinite().all()
        ],
    }
    found = "; ".join(f"{fault}: {_listed(names)}" for fault, names in faults.items() if names)
    if found:
        raise ValueError(
            f"expected the {len(wanted)} tensors of {network} in {file}, got {found}; is it the "
            "file of another model?"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    # Names come from the file: a hostile one may be of any length.
    return ", ".join(f"{name:.90}" for name in names[:_NAMES_SHOWN]) + more
