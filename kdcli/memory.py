"""The memory that this process has, and a limit on it while a part of the program reads what others wrote."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STATM = Path("/proc/self/statm")
_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs")


def peak_bytes(work: Callable[[], None]) -> int | None:
    """The most memory that this process has during ``work``; None, and no work done, where none is told."""
    try:
        _FORGET_PEAK.write_text("5", encoding="ascii")
    except OSError:
        return None
    work()
    return _status("VmHWM")


def resident_bytes() -> int:
    """The memory that this process has, on a system that tells its peak."""
    return _status("VmRSS")


def _status(name: str) -> int:
    return 1024 * int(_STATUS.read_text(encoding="utf-8").partition(f"\n{name}:")[2].split()[0])


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
