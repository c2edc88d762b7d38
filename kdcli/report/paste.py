"""Command lines that can be pasted into a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

_BARE = re.compile(r"[A-Za-z0-9_./:@%+-]+")


def override(key: str, value: str | Sequence[str]) -> str:
    """``key=value`` as a shell hands it to Hydra whole: values that Hydra would take apart are quoted for it too.

    Args:
        key: The configuration key.
        value: A text, or a list of them (``key=[a,b]``).
    """
    values = _hydra_text(value) if isinstance(value, str) else f"[{','.join(map(_hydra_text, value))}]"
    return shlex.quote(f"{key}={values}") if not _BARE.fullmatch(values) else f"{key}={values}"


def _hydra_text(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value)
    return f'"{escaped}"'


def is_latest(run: str, command: str) -> bool:
    """Whether ``latest`` means the run: it lies in ``outputs/<command>``, and none there is newer."""
    path = Path(run)
    return path.parent == Path("outputs", command) and all(other.name <= path.name for other in path.parent.glob("2*"))
