"""Records that are read from files others may have altered: every key known, every type exact."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdcli.errors import CheckpointError, KDError

SCHEMA = 1


class StrictModel(BaseModel):
    """A record without unknown keys, conversions between types, or changes once it is made."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class VersionedModel(StrictModel):
    """A record that says which version of the format it has."""

    schema_version: int = Field(default=SCHEMA, alias="schema", ge=SCHEMA, le=SCHEMA)


M = TypeVar("M", bound=StrictModel)


def validated(model: type[M], value: object, *, where: str, error: type[KDError] = CheckpointError) -> M:
    """`value` as a `model`, or an `error` that names the first key that does not fit."""
    if issubclass(model, VersionedModel):
        check_schema(value, where=where, error=error)
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        raise error(f"not a valid {model.__name__}: {_first(problem)}", where=where) from problem


def _first(problem: ValidationError) -> str:
    details = problem.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in details["loc"])
    return f"{key[:200]!a}: {details['msg']}, got {ascii(details['input'])[:80]}"


def check_schema(value: object, *, where: str, error: type[KDError] = CheckpointError) -> None:
    """Refuse a JSON object that another version of the format wrote."""
    found = value.get("schema") if isinstance(value, dict) else None
    if type(found) is not int or found != SCHEMA:
        raise error(
            f"schema {ascii(found)[:80]} is not {SCHEMA}, the one that this version of kd reads",
            where=where,
            fix="use the version of kd that wrote it",
        )
