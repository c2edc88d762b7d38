"""A limit on the memory that a part of the program may take, while it reads what others wrote."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATM = Path("/proc/self/statm")


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Let allocations inside fail, as MemoryError or the libraries' own errors, beyond ``extra`` more bytes.

    Address space is what is limited, which counts before it is used. Where the system does not tell how much of it a
    process has, as on macOS, there is no limit.
    """
    used = _address_space()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if used is None:
        yield
        return
    limit = used + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int | None:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return None
