"""How a study names its numbers: ``run[axis=value,axis=a|b].path.in.its.result``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Value = bool | int | float | str | list[int] | list[float] | list[str]

_FORM = re.compile(r"([a-z][a-z0-9_]*)(?:\[([^\s]*)\])?((?:\.[a-z0-9_]+)*)")
_COMMA = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Address:
    """A run of a study, the points of it that are meant, and the way to a number of its result.

    Args:
        run: The run's name.
        wanted: For an axis the values that are meant, as they are typed; an axis that is not named is left whole.
        path: The steps into the result; empty for the run itself.
    """

    run: str
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path: tuple[str, ...] = ()


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        ValueError: It does not have the form.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} does not have the form run[axis=value].path.of.a.number")
    wanted = dict(_choice(part, text) for part in _COMMA.split(match[2])) if match[2] else {}
    return Address(match[1], wanted, tuple(match[3].split(".")[1:]))


def _choice(part: str, whole: str) -> tuple[str, tuple[str, ...]]:
    axis, equals, values = part.partition("=")
    if not equals or not axis or not values:
        raise ValueError(f"{whole!r}: {part!r} is not axis=value or axis=a|b")
    return axis, tuple(values.split("|"))


def written(value: Value) -> str:
    """A value as an override has it; a whole number without decimals."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "").replace('"', "")
