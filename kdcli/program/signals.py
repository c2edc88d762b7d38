"""Asked to stop: Ctrl-C, SIGTERM and SIGUSR1 set a flag that the training looks at after every step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kdcli.errors import Interrupted, Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop now."""
        return self.signal is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second Ctrl-C leaves at once, which the commit protocol survives."""
        if number == signal.SIGINT and self.signal is not None:
            os._exit(Interrupted.exit_code)
        self.signal = number

    def error(self, where: str, resume: str) -> Interrupted:
        """What to raise once everything is saved."""
        kind = Interrupted if self.signal == signal.SIGINT else Terminated
        name = signal.Signals(self.signal or signal.SIGINT).name
        return kind(f"stopped by {name}; everything up to the last step is saved", where=where, fix=resume)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Listen for the signals while a training runs; the former handlers come back afterwards."""
    request = StopRequest()
    former = {number: signal.signal(number, request.receive) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
