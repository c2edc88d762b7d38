"""What one epoch of a cohort yields: frozen values that the commands hand to their writers."""

from __future__ import annotations

from dataclasses import dataclass

from kdcli.metrics import Measures


@dataclass(frozen=True)
class Divergence:
    """Where a network's loss or gradient was first not finite; its weights were not touched by that step.

    Running statistics, which its forward pass has changed, are again as they were when the epoch began.
    """

    epoch: int
    step: int
    lr: float
    temperature: float | None
    alpha: float | None
    total: float
    hard: float | None
    soft: float | None


@dataclass(frozen=True)
class MemberResult:
    """One network's epoch. Losses are means over the examples of the epoch; None where a term took no part."""

    temperature: float | None
    alpha: float | None
    lr: float
    total: float
    hard: float | None
    soft: float | None
    val: Measures | None
    is_best: bool


@dataclass(frozen=True)
class Stopped:
    """A network that takes no further part: it diverged, or its validation stopped improving."""

    divergence: Divergence | None


@dataclass(frozen=True)
class EpochResult:
    """One epoch of the whole cohort.

    ``step`` counts from the start of training; ``seconds`` and ``images_per_second`` are of this epoch's training.
    """

    epoch: int
    step: int
    members: tuple[MemberResult | Stopped, ...]
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Tick:
    """A sign of life within an epoch, for a display; reading it waits for nothing on the device."""

    epoch: int
    step: int
    steps_per_epoch: int
    images_per_second: float
