"""What a display says of a course of training, whatever it looks like."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdcli.report.text import clean
from kdcli.report.units import count, short

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from kdcli.engine.results import Divergence, EpochResult, MemberResult, Stopped, Tick

_RECENT = 6
_NAMED = 3


@dataclass(frozen=True)
class Cohort:
    """What is known before the first epoch.

    Args:
        title: What is being trained.
        names: The networks, in the cohort's order.
        epochs: How many there will be at most.
        teacher_top1: The teacher's top-1 on validation, a fraction.
    """

    title: str
    names: Sequence[str]
    epochs: int
    teacher_top1: float | None


@dataclass(frozen=True)
class Place:
    """How far the training is: ``epoch`` counts from 1, ``step`` within it; ``speed`` is in images a second."""

    epoch: int
    step: int
    steps_per_epoch: int
    speed: float


def is_active(member: MemberResult | Stopped) -> TypeIs[MemberResult]:
    """Whether the network trained in this epoch."""
    return not hasattr(member, "divergence")


class Pace:
    """Foretells when the training ends, from the wall-clock time of the last epochs."""

    def __init__(self, epochs: int, now: float) -> None:
        self._epochs = epochs
        self._started = now
        self._ends: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._latest = (0.0, now)

    def tick(self, tick: Tick, now: float) -> None:
        """Take note of a place within an epoch."""
        self._reach(tick.epoch, tick.epoch + tick.step / tick.steps_per_epoch, now)

    def epoch(self, result: EpochResult, now: float) -> None:
        """Take note of the end of an epoch."""
        self._reach(result.epoch, result.epoch + 1.0, now)
        self._ends.append(self._latest)

    def _reach(self, epoch: int, position: float, now: float) -> None:
        if not self._ends:
            self._ends.append((float(epoch), self._started))
        self._latest = (position, now)

    def remaining(self, now: float) -> float | None:
        """Seconds to go, None at the end and before there is anything to judge by."""
        if not self._ends:
            return None
        (first, began), (last, reached) = self._ends[0], self._latest
        if last <= first or last >= self._epochs:
            return None
        to_go = (self._epochs - last) * (reached - began) / (last - first)
        return max(0.0, to_go - (now - reached))


class Leavers:
    """Says once of each network that it takes no further part."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._told: set[int] = set()

    def news(self, result: EpochResult) -> list[str]:
        """One line for those that diverged and one for those that stopped early, since the last call."""
        left = {k: m for k, m in enumerate(result.members) if not is_active(m) and k not in self._told}
        self._told |= left.keys()
        diverged = {k: m.divergence for k, m in left.items() if m.divergence is not None}
        lines = []
        if diverged:
            first = next(iter(diverged.values()))
            lines.append(f"{self._list(diverged)} diverged and trains no further: {_describe(first)}")
        if early := left.keys() - diverged.keys():
            lines.append(f"{self._list(sorted(early))} stopped early: no better on validation for some epochs")
        return lines

    def _list(self, members: Iterable[int]) -> str:
        names = [clean(self._names[k]) for k in members]
        rest = len(names) - _NAMED
        return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _describe(divergence: Divergence) -> str:
    values = {"lr": divergence.lr, "temperature": divergence.temperature, "alpha": divergence.alpha}
    values |= {"total": divergence.total, "hard": divergence.hard, "soft": divergence.soft}
    shown = ", ".join(f"{name} {short(value)}" for name, value in values.items() if value is not None)
    return f"not finite in epoch {divergence.epoch + 1}, step {count(divergence.step)} ({shown})"


def by_merit(members: Sequence[MemberResult | Stopped]) -> list[int]:
    """The networks that still train, the best first: by top-1, then NLL on validation, else in their own order."""
    active = [(k, member) for k, member in enumerate(members) if is_active(member)]
    return [k for k, _ in sorted(active, key=lambda pair: _merit(pair[1]))]


def _merit(member: MemberResult) -> tuple[float, float]:
    return (0.0, 0.0) if member.val is None else (-member.val.top1, member.val.nll)
