"""Asked to stop by Ctrl-C, SIGTERM or SIGUSR1: a training finishes its step and saves, all else ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kdcli.errors import Interrupted, KDError, Stopped, Terminated, why_stopped

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
            raise Stopped(Interrupted(what, fix="start it again"))
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
    request.signal = _received()
    with _handled(dict.fromkeys(_SIGNALS, request.receive)):
        yield request


class _Ending:
    """A handler that ends the command by an exception, and remembers the signal.

    Libraries that are stopped while they are loaded may swallow the exception, or raise another: torch does the one
    while it loads numpy from C, matplotlib the other.
    """

    def __init__(self) -> None:
        self.received = _received()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        raise Stopped(_reason(number))


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end a command as Ctrl-C does, where no training listens to them."""
    ignored = {signal.SIGINT} if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else set()
    ending = _Ending()
    with _handled(dict.fromkeys(set(_SIGNALS) - ignored, ending)):
        try:
            yield
        except (KDError, OSError):
            raise
        except Exception as error:
            if ending.received is None:
                raise
            raise Stopped(_reason(ending.received)) from error


def asked_to_stop() -> Interrupted | None:
    """What a signal has asked of this command, should the exception that it raised have been swallowed."""
    number = _received()
    return None if number is None else _reason(number)


def _received() -> int | None:
    handlers = [signal.getsignal(number) for number in _SIGNALS]
    return next((each.received for each in handlers if isinstance(each, _Ending)), None)


def _reason(number: int) -> Interrupted:
    if number == signal.SIGINT:
        return why_stopped(KeyboardInterrupt())
    return Terminated(f"stopped by {signal.Signals(number).name}", fix="start it again")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a run that is ending write that down: it ends anyhow, whatever signal comes meanwhile."""
    with _handled(dict.fromkeys(_SIGNALS, lambda number, frame: None)):
        yield


class _Later:
    """A handler that keeps signals for the handlers before it."""

    def __init__(self) -> None:
        self.former = {number: signal.getsignal(number) for number in _SIGNALS}
        self._kept: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._kept.append(number)

    def deliver(self) -> None:
        if self._kept:
            signal.raise_signal(self._kept.pop())


@contextmanager
def undivided() -> Iterator[None]:
    """Let signals wait for the end of a short piece of work that does not survive to be cut off anywhere.

    Such are Hydra's and OmegaConf's: of one in twenty interruptions they made an error of their own, which kd then took
    for a mistake in the configuration.
    """
    later = _Later()
    try:
        with _handled(dict.fromkeys(_SIGNALS, later)):
            yield
    finally:
        later.deliver()


@contextmanager
def divisible() -> Iterator[None]:
    """Within what is undivided: let signals act at once again, and those that have waited first."""
    later = signal.getsignal(signal.SIGTERM)
    if not isinstance(later, _Later):
        yield
        return
    with _handled(later.former):
        later.deliver()
        yield


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
