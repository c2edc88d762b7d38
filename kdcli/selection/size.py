"""How large a fitted model is: the numbers and names that would be written, were it to be kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

_NUMBER = 8


def state_bytes(value: object) -> int:
    """The bytes of an object's state: of its arrays, numbers and texts, and of all objects in it, shared ones once.

    These are the contents of a serialisation in memory without the format around them. Objects are asked for their
    state in Python's own way (``__reduce_ex__``); nothing is serialised. What they refer to as code counts as nothing.
    """
    seen: dict[int, object] = {}  # holds on to what it has seen, so that no id is used twice
    waiting, total = [value], 0
    while waiting:
        each = waiting.pop()
        if not isinstance(each, int | float):
            if id(each) in seen:
                continue
            seen[id(each)] = each
        own, parts = _opened(each)
        total += own
        waiting.extend(parts)
    return total


def _opened(value: object) -> tuple[int, Iterable[object]]:
    """An object's own bytes, and what is in it."""
    match value:
        case None | bool() | type():
            return 0, ()
        case int() | float():
            return _NUMBER, ()
        case str():
            return len(value.encode()), ()
        case bytes() | bytearray():
            return len(value), ()
        case Tensor():  # whose own way would serialise it
            return value.nbytes, ()
        case np.ndarray() | np.generic():
            return (0, value.ravel().tolist()) if value.dtype.hasobject else (value.nbytes, ())
        case dict():
            return 0, [*value.keys(), *value.values()]
        case list() | tuple() | set() | frozenset():
            return 0, value
    if callable(value) and hasattr(value, "__qualname__"):
        return 0, ()
    reduced = value.__reduce_ex__(4)
    return (0, ()) if isinstance(reduced, str) else (0, [part for part in reduced[1:] if part is not None])
