"""A user's own model, loss or data, named as ``package.module:factory``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from kdcli.errors import UsageError
from kdcli.models.torchvision_shim import import_beside_torchvision

WHERE = "model.target"
SHOWN = 20
_NAME = r"[^\W\d]\w*"
_TARGET = re.compile(rf"(?P<module>{_NAME}(?:\.{_NAME})*):(?P<factory>{_NAME})")


def load_factory(target: str, where: str = WHERE) -> Callable[..., Any]:
    """The object that ``package.module:factory`` names, looked up in the current directory and among what is installed.

    Args:
        target: The name.
        where: The setting that holds it, for errors.

    Raises:
        UsageError: If the target is malformed, its module is missing or fails to import, or it has no such callable.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        raise UsageError(
            f"{target!r} does not name a factory",
            where=where,
            fix="write it as package.module:factory, e.g. mynet:build",
        )
    module, name = match["module"], match["factory"]
    found = getattr(_import(module, where), name, None)
    if found is None:
        raise UsageError(f"module {module!r} has no {name!r}", where=where, fix=_choices(sys.modules[module]))
    if not callable(found):
        raise UsageError(
            f"{target} is a {type(found).__name__}, which cannot be called",
            where=where,
            fix="name a class or a function",
        )
    return found  # type: ignore[no-any-return]


def _import(module: str, where: str) -> ModuleType:
    try:
        with _current_directory_importable():
            return import_beside_torchvision(module)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"there is no module {error.name!r}",
            where=where,
            fix=f"install it, or start kd from the directory that holds it (now {Path.cwd()})",
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"importing {module!r} failed: {type(error).__name__}: {error}",
            where=where,
            fix=f"python -c 'import {module}' shows where",
        ) from error


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _choices(module: ModuleType) -> str:
    public = sorted(name for name, value in vars(module).items() if callable(value) and not name.startswith("_"))
    if not public:
        return "it defines no public function or class"
    return f"it has {', '.join(public[:SHOWN])}{' and others' if len(public) > SHOWN else ''}"
