"""Plain data as Hydra composes it, to be spoilt."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

Spoil = Callable[..., dict[str, Any]]


def put(data: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key."""
    *path, last = key.split(".")
    for step in path:
        data = data[step]
    data[last] = value


def spoiler(composed: Mapping[str, Any]) -> Spoil:
    def spoilt(changes: Mapping[str, object] | None = None) -> dict[str, Any]:
        data = copy.deepcopy(dict(composed))
        for key, value in (changes or {}).items():
            put(data, key, value)
        return data

    return spoilt


@pytest.fixture(scope="session")
def student(configure: Callable[..., Any]) -> Spoil:
    """The data of a distill-student, with the given dotted keys changed."""
    return spoiler(configure("distill-student", "teacher=latest").model_dump())


@pytest.fixture(scope="session")
def teacher(configure: Callable[..., Any]) -> Spoil:
    """The data of a train-teacher, with the given dotted keys changed."""
    return spoiler(configure("train-teacher").model_dump())
