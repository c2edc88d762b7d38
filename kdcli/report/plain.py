"""One plain line an epoch, for log files and pipes: no control bytes, no colour."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kdcli.report.course import Cohort, Leavers, Pace, Place, by_merit, is_active
from kdcli.report.stream import SafeStream
from kdcli.report.text import clean
from kdcli.report.units import clock, count, decimals, percent

if TYPE_CHECKING:
    from kdcli.engine.results import EpochResult, MemberResult, Tick

HEARTBEAT = 60.0
_EACH = 2


class PlainDisplay:
    """Writes a line after each epoch, and a sign of life where an epoch takes long."""

    def __init__(self, stream: SafeStream, cohort: Cohort, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._cohort, self._now = stream, cohort, now
        self._written = now()
        self._pace = Pace(cohort.epochs, self._written)
        self._leavers = Leavers(cohort.names)

    def __enter__(self) -> Self:
        """Write what is being trained."""
        teacher = self._cohort.teacher_top1
        self._write(clean(self._cohort.title) + ("" if teacher is None else f"  teacher val {percent(teacher)} %"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to restore."""

    def tick(self, tick: Tick) -> None:
        """Write a sign of life when the last line is a minute old."""
        now = self._now()
        self._pace.tick(tick, now)
        if now - self._written >= HEARTBEAT:
            place = Place(tick.epoch + 1, tick.step, tick.steps_per_epoch, tick.images_per_second)
            self._write(self._line(place, [f"step {count(place.step)}/{count(place.steps_per_epoch)}"]))

    def epoch(self, result: EpochResult) -> None:
        """Write the epoch's line."""
        self._pace.epoch(result, self._now())
        place = Place(result.epoch + 1, 0, 0, result.images_per_second)
        self._write(self._line(place, _networks(result, self._cohort)))
        for line in self._leavers.news(result):
            self._write(line)

    def saved(self) -> None:
        """Nothing: a line for each would be too many."""

    def note(self, text: str) -> None:
        """Write the text, each of its lines as one."""
        for line in text.split("\n"):
            self._write(clean(line))

    def _line(self, place: Place, middle: list[str]) -> str:
        left = self._pace.remaining(self._now())
        parts = [f"epoch {place.epoch}/{self._cohort.epochs}", *middle, f"{count(place.speed)} images/s"]
        return "  ".join(parts if left is None else [*parts, f"ETA {clock(left)}"])

    def _write(self, line: str) -> None:
        self._written = self._now()
        self._stream.write(line + "\n")
        self._stream.flush()


def _networks(result: EpochResult, cohort: Cohort) -> list[str]:
    if len(result.members) > _EACH:
        return _summed_up(result, cohort)
    shown: list[str] = []
    for name, member in zip(cohort.names, result.members, strict=True):
        if is_active(member):
            shown.append(f"{clean(name)} {_details(member, losses=not shown)}")
    return shown or ["nothing trains any more"]


def _details(member: MemberResult, *, losses: bool) -> str:
    parts = []
    if losses or member.val is None:
        parts.append(f"total {decimals(member.total, 3)}")
        if member.hard is not None and member.soft is not None:
            parts.append(f"hard {decimals(member.hard, 3)} soft {decimals(member.soft, 3)}")
    if member.val is not None:
        parts.append(f"val {percent(member.val.top1)} %")
    return " ".join(parts)


def _summed_up(result: EpochResult, cohort: Cohort) -> list[str]:
    active = [member for member in result.members if is_active(member)]
    if not active:
        return ["nothing trains any more"]
    best = by_merit(result.members)[0]
    everyone = len(result.members)
    several = f"{everyone} networks" if len(active) == everyone else f"{len(active)} of {everyone} networks"
    vals = [member.val.top1 for member in active if member.val is not None]
    if len(vals) < len(active):
        totals = [member.total for member in active]
        return [several, f"total mean {decimals(statistics.fmean(totals), 3)} lowest {decimals(min(totals), 3)}"]
    mean = percent(statistics.fmean(vals))
    return [several, f"best {clean(cohort.names[best])} val {percent(max(vals))} %", f"mean {mean} %"]
