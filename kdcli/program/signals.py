"""Asked to stop by Ctrl-C, SIGTERM or SIGUSR1: a training finishes its step and saves, all else ends at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from kdcli.errors import Interrupted, Stopped, Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Whether a stop was asked for, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop now."""
        return self.signal is not None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; a second Ctrl-C ends at once, which the commit protocol survives."""
        if number == signal.SIGINT and self.signal is not None:
            what = "stopped at once by a second Ctrl-C; what the last checkpoint holds is saved"
            raise Stopped(Interrupted(what, fix="go on with: kd resume"))
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
    with _handled(_SIGNALS, request.receive):
        yield request


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end a command as Ctrl-C does, where no training listens to them."""
    with _handled(_SIGNALS[1:], _terminate):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a run that is ending write that down: it ends anyhow, whatever signal comes meanwhile."""
    with _handled(_SIGNALS, lambda number, frame: None):
        yield


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Stopped(Terminated(f"stopped by {signal.Signals(number).name}", fix="go on with: kd resume"))


@contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
