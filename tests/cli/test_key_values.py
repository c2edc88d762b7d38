"""The values that completion offers are those that the schema allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from kdcli.commands.key_values import values_of
from kdcli.schema import COMMANDS


@pytest.mark.parametrize("command", ["train-teacher", "distill-student", "train-specialists", "evaluate", "import"])
def test_a_key_has_the_values_that_the_schema_allows(command: str) -> None:
    for key, wanted in _few(COMMANDS[command]):
        assert values_of(command, key) == wanted, key


def _few(section: type[BaseModel]) -> Iterator[tuple[str, list[str]]]:
    """The keys of a section, and of those in it, that take names alone, or true and false."""
    for key, field in section.model_fields.items():
        if field.annotation is bool:
            yield key, ["true", "false"]
        elif get_origin(field.annotation) is Literal:
            yield key, [str(value) for value in get_args(field.annotation)]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((f"{key}.{inner}", values) for inner, values in _few(field.annotation))
