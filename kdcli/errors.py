"""Errors a user can meet, each with its exit code.

KDError                1   a bug of ours, when raised as such
├── UsageError         2   wrong usage or configuration
├── DataError          3   the data set
├── CheckpointError    4   a checkpoint or run directory that cannot be trusted or does not fit
├── DivergedError      5   a loss or gradient that is not finite
├── MachineError       6   environment or I/O: disk, permissions, device, a missing package
├── SweepError         7   a sweep that finished with failed jobs
└── Interrupted      130   Ctrl-C
    └── Terminated   143   SIGTERM, SIGUSR1
"""

from __future__ import annotations

import shlex


class KDError(Exception):
    """An error that is shown as one screen: what happened, where, and what to do.

    Args:
        what: What is wrong, with the value that was found.
        where: The configuration key or the path concerned.
        fix: What the user can do about it; left out, what usually helps against errors of this kind, if anything does.
    """

    exit_code = 1
    usual_fix: str | None = None

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = self.usual_fix if fix is None else fix

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild by keyword, so that an error crosses the process boundary of a launcher whole."""
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[KDError], what: str, where: str | None, fix: str | None) -> KDError:
    return kind(what, where=where, fix=fix)


class UsageError(KDError):
    """Wrong usage or configuration."""

    exit_code = 2


class DataError(KDError):
    """Data that is missing, damaged or does not fit."""

    exit_code = 3


class CheckpointError(KDError):
    """A checkpoint, or the record of a run, that is damaged, hostile or does not fit."""

    exit_code = 4
    usual_fix = "kd verify RUN says what is damaged: restore that from a copy, or run it again"


class DivergedError(KDError):
    """A loss, gradient or prediction that is not finite."""

    exit_code = 5


class MachineError(KDError):
    """The environment: disk, permissions, device, or a package that is not installed."""

    exit_code = 6


class SweepError(KDError):
    """A sweep in which some jobs failed while the others finished."""

    exit_code = 7


class Interrupted(KDError):  # noqa: N818  it is an answer to the user, not a fault
    """The run was asked to stop; what it had reached is saved."""

    exit_code = 130


class Terminated(Interrupted):
    """The run was asked to stop by SIGTERM or SIGUSR1."""

    exit_code = 143


class Stopped(KeyboardInterrupt):
    """A signal that ends a command wherever it is; no Exception, so that code which catches those does not go on.

    Args:
        reason: What to tell the user.
    """

    def __init__(self, reason: Interrupted) -> None:
        super().__init__(reason.what)
        self.reason = reason


def first_line(error: BaseException) -> str:
    """What another library's error says first, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def why_stopped(error: BaseException) -> Interrupted:
    """What to tell the user of an interruption, whatever form it came in."""
    if isinstance(error, Interrupted):
        return error
    return error.reason if isinstance(error, Stopped) else Interrupted("stopped by Ctrl-C", fix="start it again")


def going_on(stopped: Interrupted, home: str) -> Interrupted:
    """The same, with where it was and how to go on."""
    return type(stopped)(stopped.what, where=home, fix=f"kd resume {shlex.quote(home)}")
