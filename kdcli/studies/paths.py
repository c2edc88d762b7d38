"""The way to a number in a run's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel


def check_path(result: type[BaseModel], path: Sequence[str]) -> None:
    """See that a path leads to a number of every such result, before anything is trained for it.

    Raises:
        ValueError: It does not.
    """
    whole = ".".join(path)
    at: list[Any] = [result]
    for step in path:
        known = [follower for kind in at for follower in _steps(kind, step)]
        if not known:
            fields = [name for kind in at if _is_model(kind) for name in kind.model_fields]
            listed = f"; known there: {', '.join(fields)}" if fields else ""
            raise ValueError(f"{whole} is not in its result: {step!r}{listed}")
        at = known
    if not any(kind in (int, float) for kind in at):
        raise ValueError(f"{whole or 'a run'} is no number: name one of its result")


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _steps(kind: Any, step: str) -> list[Any]:
    """What may be found under a step; of an annotation, every kind but None."""
    if _is_model(kind):
        field = kind.model_fields.get(step)
        return [] if field is None else _kinds(field.annotation)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list and step.isdigit():
        return _kinds(inner[0])
    return _kinds(inner[1]) if origin is dict else []


def _kinds(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (list, dict) or not get_args(annotation):
        return [annotation]
    return [kind for one in get_args(annotation) if one is not NoneType for kind in _kinds(one)]


def number_at(result: Mapping[str, Any], path: Sequence[str]) -> float | None:
    """A number of a result; None where it does not apply there.

    Raises:
        ValueError: Something else is there.
    """
    value: Any = result
    for step in path:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise ValueError(f"{'.'.join(path)} is no number in a run's result")
    return None if value is None else float(value)
