"""How much memory there is to hold a dataset."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_bytes() -> int:
    """Bytes that can be taken without swapping, or the limit of this process's group where that is lower."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError, IndexError):  # where there is no /proc, all that is built in counts
        found.append(1024 * int(_MEMINFO.read_text().partition("MemAvailable:")[2].split()[0]))
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # "max": there is none
            found.append(int(Path(limit).read_text()))
    return min(found)
