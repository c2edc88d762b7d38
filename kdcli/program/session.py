"""One process's share of a training: what trains, on what, what it began with, and for how long already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdcli.build import Data
from kdcli.engine.fit import Fit
from kdcli.program.slots import Program


class Clock:
    """Wall-clock seconds of a training over all the processes that took part in it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.before = 0.0

    def seconds(self) -> float:
        """Seconds so far."""
        return self.before + time.monotonic() - self._started


@dataclass(frozen=True)
class Session:
    """A training under way in this process; ``began`` is what ``beginning`` says of it."""

    program: Program
    fit: Fit
    data: Data
    began: Mapping[str, Any]
    clock: Clock = field(default_factory=Clock)
