"""JSON files: strict and bounded when read, durable when written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from kdcli.disk import read_bounded, write_atomic
from kdcli.errors import CheckpointError, KDError

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 64
_MAX_DIGITS = 40  # a generator's state has 128 bits


def read_json(
    path: Path, max_bytes: int = MAX_BYTES, error: type[KDError] = CheckpointError, *, follow: bool = False
) -> Any:
    """The value in a JSON file.

    Args:
        path: The file.
        max_bytes: A longer file is refused before it is read.
        error: What is raised for a file that cannot be read or is not strictly JSON.
        follow: Accept a symbolic link.
    """
    return parse_json(read_bounded(path, max_bytes, error=error, follow=follow), where=str(path), error=error)


def parse_json(data: bytes, *, where: str, error: type[KDError] = CheckpointError) -> Any:
    """The value that UTF-8 bytes spell, where they are strictly JSON.

    Refused are repeated keys, NaN and infinities (also as 1e999), half surrogates, and what is nested too deep.

    Args:
        data: The content of a file.
        where: The file, for the error.
        error: What to raise.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
        _check_tree(value)
    except (ValueError, RecursionError) as problem:
        fix = "the file was damaged or altered: restore it, or start again"
        raise error(f"not valid JSON: {problem}", where=where, fix=fix) from problem
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"key {key[:80]!a} appears twice")
        table[key] = value
    return table


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number in JSON")


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:80]} is too large")
    return number


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits is too large")
    return int(digits)


def _check_tree(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and not item.isascii():
                item.encode("utf-8")
        if not below:
            return
        level = below
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def encode_json(value: object, *, indent: int | None = 2) -> bytes:
    """One JSON text and a newline; numbers that are not finite become null, half surrogates a question mark."""
    text = json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json_atomic(path: Path, value: object) -> None:
    """Create or replace a JSON file durably; see `encode_json` for what becomes of numbers that are not finite."""
    write_atomic(path, encode_json(value))
