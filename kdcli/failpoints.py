"""Moments at which a test ends the process as SIGKILL would, without luck or waiting.

`KD_FAILPOINT=name[:count]` ends it at the count-th visit of that name (the first, by default). Every file written
has `<file>.25`, `<file>.50` and `<file>.75` (that share of its bytes is written) and `<file>.fsync` (all are, none
surely on the disk); one that is replaced has `<file>.replace` and `<file>.replaced` too. A checkpoint adds `commit.*`
and `prune.*`.
"""

from __future__ import annotations

import itertools
import os

_visits = itertools.count(1)


def reach(name: str) -> None:
    """Mark the moment `name`: nothing happens unless KD_FAILPOINT names it."""
    wanted = os.environ.get("KD_FAILPOINT")
    if wanted is None:
        return
    target, _, count = wanted.partition(":")
    if target == name and next(_visits) >= int(count or 1):
        os._exit(137)
