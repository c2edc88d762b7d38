"""Experiment trackers of other projects, told what a run's own files hold; none of them can harm a run.

Each writer is small and imports its library when it is made. All are told of a network's training in the same way:
its settings at the start, the numbers of metrics.jsonl by their names after each epoch, its result at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kdcli.extras import need
from kdcli.schema.tracking import MlflowTracker, NoTracker, TensorboardTracker, WandbTracker

if TYPE_CHECKING:
    from kdcli.schema.tracking import Tracker as Section

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Tracked:
    """A network that trains.

    Args:
        name: Its run, as it is listed.
        path: Its run's directory.
        outputs: The directory of all runs.
        started: When its run began; with the name it tells the run from all others.
        settings: Its configuration, keys with dots.
        step: Where it goes on; 0 at the start.
    """

    name: str
    path: Path
    outputs: Path
    started: str
    settings: Mapping[str, Value]
    step: int


class Tracker(Protocol):
    """What a writer does; it is made from a `Tracked` when the training begins."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of numbers after ``step`` steps."""

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Take note of how it ended, and close."""


def check_installed(section: Section) -> None:
    """Refuse a tracker whose library is not there.

    Raises:
        MachineError: Its extra is not installed.
    """
    if section.kind != "none":
        need(f"tracker={section.kind}", section.kind, section.kind, where="tracker")


def open_tracker(section: Section, tracked: Tracked, say: Callable[[str], None]) -> Tracker:
    """The writer that a section names; one that fails is left out, with one line through ``say``."""
    match section:
        case NoTracker():
            return Guarded(section.kind, lambda: None, say)
        case TensorboardTracker():
            from kdcli.trackers.tensorboard import TensorboardWriter

            return Guarded(section.kind, lambda: TensorboardWriter(tracked), say)
        case MlflowTracker():
            from kdcli.trackers.mlflow import MlflowWriter

            return Guarded(section.kind, lambda: MlflowWriter(tracked, section), say)
        case WandbTracker():
            from kdcli.trackers.wandb import WandbWriter

            return Guarded(section.kind, lambda: WandbWriter(tracked, section), say)


class Guarded:
    """A writer whose failures are said once and harm nothing.

    Args:
        kind: The tracker's name.
        make: Makes the writer; None where there is none.
        say: Shows a line.
    """

    def __init__(self, kind: str, make: Callable[[], Tracker | None], say: Callable[[str], None]) -> None:
        self._kind, self._say = kind, say
        self._writer: Tracker | None = None
        self._try(lambda: self._make(make))

    def _make(self, make: Callable[[], Tracker | None]) -> None:
        self._writer = make()

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as problem:  # whatever a foreign library raises
            self._writer = None
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
            self._say(f"tracker={self._kind} failed and is told no more: {reason}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Pass numbers on."""
        writer = self._writer
        if writer is not None:
            self._try(lambda: writer.scalars(step, values))

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Pass the end on; a second one is not."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._try(lambda: writer.end(status, results))
