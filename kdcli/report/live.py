"""The live display of a terminal: one panel, redrawn in place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from kdcli.report.course import Cohort, Leavers, Pace, Place
from kdcli.report.panel import draw_panel
from kdcli.report.stream import SafeStream
from kdcli.report.text import clean

if TYPE_CHECKING:
    from kdcli.engine.results import EpochResult, MemberResult, Stopped, Tick

_REFRESH = 0.25


class _Console(Console):
    """A console that leaves the cursor visible: a process that is killed outright could not bring it back."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class LiveDisplay:
    """One panel, at most four times a second.

    It is drawn by the calls of the training itself: a thread beside it could hold a lock while workers are forked.
    """

    def __init__(
        self, stream: SafeStream, cohort: Cohort, *, color: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._cohort, self._now = cohort, now
        self._console = _Console(
            file=cast(TextIO, stream),
            force_terminal=True,
            no_color=None if color else True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, vertical_overflow="crop", transient=False
        )
        self._place = Place(1, 0, 0, 0.0)
        self._members: Sequence[MemberResult | Stopped] = ()
        self._pace = Pace(cohort.epochs, now())
        self._leavers = Leavers(cohort.names)
        self._drawn = -_REFRESH
        self._saved: float | None = None

    def __enter__(self) -> Self:
        """Draw the empty panel."""
        self._live.start()
        self._draw(force=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the last state and leave it there."""
        try:
            self._live.update(self._panel())
        finally:
            self._live.stop()

    def tick(self, tick: Tick) -> None:
        """Show how far the epoch is."""
        self._place = Place(tick.epoch + 1, tick.step, tick.steps_per_epoch, tick.images_per_second)
        self._pace.tick(tick, self._now())
        self._draw()

    def epoch(self, result: EpochResult) -> None:
        """Show the epoch's results."""
        steps = self._place.steps_per_epoch
        self._place = Place(result.epoch + 1, steps, steps, result.images_per_second)
        self._members = result.members
        self._pace.epoch(result, self._now())
        for line in self._leavers.news(result):
            self.note(line)
        self._draw()

    def saved(self) -> None:
        """Show from now on how old the last checkpoint is."""
        self._saved = self._now()

    def note(self, text: str) -> None:
        """Print the text above the panel."""
        for line in text.split("\n"):
            self._console.print(Text(clean(line)))

    def _draw(self, *, force: bool = False) -> None:
        now = self._now()
        if force or now - self._drawn >= _REFRESH:
            self._drawn = now
            self._live.update(self._panel(), refresh=True)

    def _panel(self) -> Panel:
        now = self._now()
        age = None if self._saved is None else now - self._saved
        remaining = self._pace.remaining(now)
        return draw_panel(self._cohort, self._place, self._members, remaining, self._console.size, age)
