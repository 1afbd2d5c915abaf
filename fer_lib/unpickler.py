"""Read a pickle as data: a machine for its opcodes that looks up no name and calls nothing of it.

What the pickle wants to import becomes a `Global`, what it wants to call becomes a `Record` of
that wish, unless the reader of the file gave a function of its own for the name. Memory is bounded
by the length of the pickle: no opcode reserves what it has not been given.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_COPIED = 1_000_000
_MAX_KEY = 8
_SCALARS = (str, bytes, int, float, type(None))


@dataclass(frozen=True)
class Global:
    """A name that a pickle wants to import; it is never looked up."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class Record:
    """An object that a pickle wants to make; it only holds what the pickle says of it.

    Attributes:
        maker: the class or function that was to be called.
        arguments: what it was to be called with.
        state: what ``__setstate__`` was to get, for most objects their attributes by name.
        elements: what was to be appended or added.
        entries: what was to be set by key.
    """

    maker: object
    arguments: tuple = ()
    state: object = None
    elements: list = field(default_factory=list)
    entries: dict = field(default_factory=dict)

    def __repr__(self) -> str:
        """Name the maker only: the contents may be endless."""
        made = self.maker
        return f"Record({f'{made.module}.{made.name}' if isinstance(made, Global) else '…'!r})"


Rebuilds = Mapping[Global, Callable[..., object]]
Permits = Callable[[Global], bool]


def unpickle(
    stream: BinaryIO,
    rebuilds: Rebuilds | None = None,
    persistent: Callable[[object], object] | None = None,
    permits: Permits | None = None,
) -> object:
    """Read one pickle of protocol 2 or later, and leave the stream behind its end.

    Args:
        stream: what is read; its ``read`` must not reserve more than there is (`io.BytesIO`, mmap).
        rebuilds: own functions for names that may be called; they get the pickle's arguments and
            raise ValueError or TypeError when they cannot use them.
        persistent: gives the object that a persistent id stands for.
        permits: says whether a name may occur at all; None lets every name through, as a record.

    Returns:
        Nested dicts (ordered dicts too), lists, tuples, sets, scalars, strings, `Global`, `Record`
        and what ``rebuilds`` and ``persistent`` gave.

    Raises:
        ValueError: no pickle, cut short, or one that holds what is not read here.
    """
    return _Machine({**_CONTAINERS, **(rebuilds or {})}, persistent, permits).run(stream)


class _Machine:
    def __init__(
        self,
        rebuilds: Rebuilds,
        persistent: Callable[[object], object] | None,
        permits: Permits | None,
    ) -> None:
        self.rebuilds, self.persistent, self.permits = rebuilds, persistent, permits
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.copied = 0

    def run(self, stream: BinaryIO) -> object:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self.pop()
            if opcode.name not in _STEPS:
                raise ValueError(f"pickle opcode {opcode.name} is not read here")
            _STEPS[opcode.name](self, argument)
        raise ValueError("the pickle has no end")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self, kind: type | tuple[type, ...] = object) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("the pickle takes from an empty stack")
        return _expect(self.stack.pop(), kind)

    def top(self, *kinds: type) -> object:
        value = self.pop(kinds)
        self.push(value)
        return value

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise ValueError("the pickle lacks a mark")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_pairs(self) -> list[tuple[object, object]]:
        values = self.pop_to_mark()
        if len(values) % 2:
            raise ValueError("the pickle sets a key without a value")
        return list(zip(values[::2], values[1::2], strict=True))

    def fetch(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError("the pickle asks for what it has not stored")
        self.push(self.memo[index])

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.top(object)

    def name_global(self, text: str | None) -> None:
        if text is None:
            name, module = self.pop(str), self.pop(str)
        else:
            module, name = text.split(" ", 1)
        wanted = Global(module, name)
        if self.permits is not None and not self.permits(wanted):
            raise ValueError(f"the pickle wants to import {f'{module}.{name}':.80}")
        self.push(wanted)

    def append(self, values: list[object]) -> None:
        target = self.top(list, Record)
        (target.elements if isinstance(target, Record) else target).extend(values)

    def add(self, values: list[object]) -> None:
        self.top(set).update(map(_key, values))

    def set_items(self, pairs: list[tuple[object, object]]) -> None:
        target = self.top(dict, Record)
        entries = target.entries if isinstance(target, Record) else target
        entries.update((_key(key), value) for key, value in pairs)

    def make(self, arguments: tuple, maker: object) -> None:
        own = self.rebuilds.get(maker) if isinstance(maker, Global) else None
        self.push(Record(maker, arguments) if own is None else self.rebuild(own, arguments))

    def rebuild(self, own: Callable[..., object], arguments: tuple) -> object:
        # A stored list that is copied again and again would outgrow the pickle.
        self.copied += sum(len(part) for part in arguments if isinstance(part, list | tuple))
        if self.copied > _MAX_COPIED:
            raise ValueError("the pickle copies too much")
        try:
            return own(*arguments)
        except TypeError as error:
            raise ValueError(f"the pickle calls with arguments that do not fit: {error}") from error

    def build(self, state: object) -> None:
        # Ordered dicts have attributes too (torch keeps format versions there); a dict has not.
        target = self.top(Record, dict)
        if isinstance(target, Record):
            target.state = state

    def load_persistent(self, name: object) -> None:
        if self.persistent is None:
            raise ValueError("the pickle refers to objects outside it")
        self.push(self.persistent(name))


def _expect(value: object, kind: type | tuple[type, ...]) -> object:
    if not isinstance(value, kind):
        raise ValueError(f"the pickle uses a {type(value).__name__} where it may not")
    return value


def _key(value: object) -> Hashable:
    # The hash of tuples within tuples takes time exponential in the length of the pickle.
    flat = value if type(value) is tuple and len(value) <= _MAX_KEY else (value,)
    for part in flat:
        _expect(part, (*_SCALARS, Record, Global))
    return value


def _pairs_to_dict(pairs: object = ()) -> dict:
    entries = list(_expect(pairs, (list, tuple)))
    if not all(isinstance(entry, list | tuple) and len(entry) == 2 for entry in entries):
        raise ValueError("the pickle makes a dict of something else than pairs")
    return {_key(key): value for key, value in entries}


def _values_to_set(values: object = ()) -> set:
    return set(map(_key, _expect(values, (list, tuple))))


_CONTAINERS: Rebuilds = {
    Global("collections", "OrderedDict"): _pairs_to_dict,
    Global("collections", "defaultdict"): lambda factory=None: {},
    Global("builtins", "set"): _values_to_set,
    Global("__builtin__", "set"): _values_to_set,
}

_LITERALS = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip

_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    **{name: _Machine.push for name in _LITERALS},
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.push(machine.top(object)),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push((machine.pop(),)),
    "TUPLE2": lambda machine, _: machine.push((machine.pop(), machine.pop())[::-1]),
    "TUPLE3": lambda machine, _: machine.push((machine.pop(), machine.pop(), machine.pop())[::-1]),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items([(machine.pop(), machine.pop())[::-1]]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_pairs()),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "ADDITEMS": lambda machine, _: machine.add(machine.pop_to_mark()),
    "FROZENSET": lambda machine, _: machine.push(frozenset(map(_key, machine.pop_to_mark()))),
    "BINGET": _Machine.fetch,
    "LONG_BINGET": _Machine.fetch,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "GLOBAL": _Machine.name_global,
    "STACK_GLOBAL": _Machine.name_global,
    "REDUCE": lambda machine, _: machine.make(machine.pop(tuple), machine.pop()),
    "NEWOBJ": lambda machine, _: machine.make(machine.pop(tuple), machine.pop()),
    "BUILD": lambda machine, _: machine.build(machine.pop()),
    "BINPERSID": lambda machine, _: machine.load_persistent(machine.pop()),
}
