"""The progress of a training, on stderr: a live panel in a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from kdcli.report.course import Cohort
from kdcli.report.plain import PlainDisplay
from kdcli.report.stream import SafeStream

if TYPE_CHECKING:
    from kdcli.engine.results import EpochResult, Tick

Mode = Literal["auto", "rich", "plain", "none"]


class Display(Protocol):
    """A context manager that shows what the events of a training say."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was, with the last state on it."""
        ...

    def tick(self, tick: Tick) -> None:
        """A sign of life within an epoch."""
        ...

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over."""
        ...

    def saved(self) -> None:
        """A checkpoint is on the disk."""
        ...

    def note(self, text: str) -> None:
        """Say something beside the progress."""
        ...


class SilentDisplay:
    """Shows nothing."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def tick(self, tick: Tick) -> None:
        """Do nothing."""

    def epoch(self, result: EpochResult) -> None:
        """Do nothing."""

    def saved(self) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


def make_display(
    mode: Mode,
    *,
    title: str,
    names: list[str],
    epochs: int,
    teacher_top1: float | None,
    color: bool,
    quiet: bool,
) -> Display:
    """The display of a training.

    Args:
        mode: ``auto`` and ``rich`` draw a panel where stderr is a terminal that can move its cursor, whatever
            FORCE_COLOR says; else, and for ``plain``, there is one line an epoch. ``none`` shows nothing.
        title: What is being trained.
        names: The networks of the cohort.
        epochs: How many there will be at most.
        teacher_top1: The teacher's top-1 on validation, a fraction.
        color: The panel may be coloured.
        quiet: Show nothing.
    """
    if quiet or mode == "none" or sys.stderr is None:
        return SilentDisplay()
    stream, cohort = SafeStream(sys.stderr), Cohort(title, names, epochs, teacher_top1)
    if mode == "plain" or not _can_draw(stream):
        return PlainDisplay(stream, cohort)
    from kdcli.report.live import LiveDisplay

    return LiveDisplay(stream, cohort, color=color)


def _can_draw(stream: SafeStream) -> bool:
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
