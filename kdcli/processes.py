"""Which process is which: whether the one that wrote a file still runs."""

from __future__ import annotations

import math
import os
from pathlib import Path


def host() -> str:
    """The name of this machine; process numbers mean something on one machine only."""
    return os.uname().nodename


def is_alive(pid: int, *, since: float) -> bool:
    """Whether process `pid` of this machine still runs, and ran already at the time `since`.

    The second part tells a process from a later one that was given its number, as happens after a restart of the
    machine or of a container.

    Args:
        pid: The number it had.
        since: When it wrote what it left, in seconds since the epoch.
    """
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    # The kernel counts starts in hundredths of a second from a boot time in whole seconds.
    return _started(pid) <= since + 2


def _started(pid: int) -> float:
    """When a process started, in seconds since the epoch: 0 where the system does not say, never for a dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):  # it has ended, and its parent has not asked how
            return math.inf
        boot = Path("/proc/stat").read_text().partition("\nbtime ")[2].split()[0]
        return int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
