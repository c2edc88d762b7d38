"""How temperature, alpha, the learning rate and the momentum change while a network trains.

A :class:`Schedule` gives the value at every step: its first at step 0, its last at step ``num_steps - 1``. A
:class:`RateSchedule` gives the factor of the optimizer's learning rate for the update of every step.
:class:`Plateau` follows what is measured instead of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A value that depends on how much of the training is done."""

    def value(self, step: int, num_steps: int) -> float:
        """The value at ``step``, counted from 0, of ``num_steps``; ValueError outside of them."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value at every step."""

    constant: float

    def value(self, step: int, num_steps: int) -> float:
        """See :class:`Schedule`."""
        return self.constant


@dataclass(frozen=True, slots=True)
class Linear:
    """From ``start`` to ``end`` in equal steps."""

    start: float
    end: float

    def value(self, step: int, num_steps: int) -> float:
        """See :class:`Schedule`."""
        return _between(self.start, self.end, _position(step, num_steps))


@dataclass(frozen=True, slots=True)
class Cosine:
    """From ``start`` to ``end`` along half a cosine: flat at both ends."""

    start: float
    end: float

    def value(self, step: int, num_steps: int) -> float:
        """See :class:`Schedule`."""
        return _between(self.start, self.end, _half_cosine(_position(step, num_steps)))


@dataclass(frozen=True, slots=True)
class Exponential:
    """From ``start`` to ``end``, both positive, by a constant ratio from step to step."""

    start: float
    end: float

    def __post_init__(self) -> None:
        """Refuse ends that no ratio connects."""
        if not (self.start > 0 and self.end > 0):
            raise ValueError(f"start and end must be > 0, got {self.start} and {self.end}")

    def value(self, step: int, num_steps: int) -> float:
        """See :class:`Schedule`."""
        position = _position(step, num_steps)
        return self.end if position == 1 else self.start * (self.end / self.start) ** position


@dataclass(frozen=True, slots=True)
class Step:
    """``start`` before the fraction ``at`` of the steps, ``end`` from there on."""

    start: float
    end: float
    at: float

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        if not 0 <= self.at <= 1:
            raise ValueError(f"at must be in [0, 1], got {self.at}")

    def value(self, step: int, num_steps: int) -> float:
        """See :class:`Schedule`."""
        _check_step(step, num_steps)
        return self.start if step / num_steps < self.at else self.end


class RateSchedule(Protocol):
    """A factor of the optimizer's learning rate."""

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """The factor at ``step``, counted from 0, of ``num_steps``; ValueError outside of them."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantRate:
    """The optimizer's rate throughout."""

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        return 1.0


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """Multiplied by ``gamma`` after every epoch."""

    gamma: float

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        _check_step(step, num_steps)
        return self.gamma ** (step // steps_per_epoch)


@dataclass(frozen=True, slots=True)
class StepDecay:
    """Multiplied by ``gamma`` after every ``every`` epochs."""

    every: int
    gamma: float

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        _check_step(step, num_steps)
        return self.gamma ** (step // (self.every * steps_per_epoch))


@dataclass(frozen=True, slots=True)
class LinearDecay:
    """Up to 1 over the fraction ``warmup`` of the steps, then linearly down to ``end``.

    ``end`` would be reached one step after the last, so that no step is lost to a rate of 0.
    """

    warmup: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        _check_warmup(self.warmup)

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        return _warmed(step, num_steps, self.warmup, lambda progress: _between(1.0, self.end, progress))


@dataclass(frozen=True, slots=True)
class CosineDecay:
    """Up to 1 over the fraction ``warmup`` of the steps, then along half a cosine down to ``end``.

    ``end`` would be reached one step after the last, so that no step is lost to a rate of 0.

    Reference:
        Loshchilov, Hutter. "SGDR", equation 5, one cycle. arXiv:1608.03983.
    """

    warmup: float = 0.0
    end: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        _check_warmup(self.warmup)

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        return _warmed(step, num_steps, self.warmup, lambda progress: _between(1.0, self.end, _half_cosine(progress)))


@dataclass(frozen=True, slots=True)
class OneCycle:
    """From ``start`` up to 1 over the fraction ``warmup`` of the steps, down to ``end`` at the last, along cosines.

    Reference:
        Smith, Topin. "Super-convergence". arXiv:1708.07120; the form is that of torch's OneCycleLR.
    """

    warmup: float = 0.3
    start: float = 0.04
    end: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no fraction."""
        _check_warmup(self.warmup)

    def factor(self, step: int, steps_per_epoch: int, num_steps: int) -> float:
        """See :class:`RateSchedule`."""
        _check_step(step, num_steps)
        peak = max(self.warmup * num_steps - 1, 0)
        if step < peak:
            return _between(self.start, 1.0, _half_cosine(step / peak))
        return 1.0 if step == peak else _between(1.0, self.end, _half_cosine((step - peak) / (num_steps - 1 - peak)))


@dataclass(frozen=True, slots=True)
class Plateau:
    """Multiplied by ``factor`` when the measured value has not fallen for more than ``patience`` epochs in a row.

    A value has fallen when it is below the best so far by more than the fraction ``threshold`` of it. The factor of the
    optimizer's rate never goes below ``min_factor``.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    min_factor: float = 0.0


@dataclass(frozen=True, slots=True)
class PlateauState:
    """What :class:`Plateau` remembers: the factor of the rate, the best value, the epochs without a better one."""

    factor: float = 1.0
    best: float | None = None
    bad_epochs: int = 0


def plateau_step(config: Plateau, state: PlateauState, value: float) -> PlateauState:
    """The state after an epoch that measured ``value``, of which less is better; NaN counts as no improvement."""
    limit = math.inf if state.best is None else state.best * (1 - config.threshold)
    if value < limit:
        return PlateauState(state.factor, value, 0)
    if state.bad_epochs < config.patience:
        return PlateauState(state.factor, state.best, state.bad_epochs + 1)
    return PlateauState(max(state.factor * config.factor, config.min_factor), state.best, 0)


def momentum_ramp(epoch_position: float, start: float, end: float, ramp_epochs: float) -> float:
    """Momentum that rises linearly over the first ``ramp_epochs`` epochs and is ``end`` from there on.

    Args:
        epoch_position: Epochs done, with their fraction, from 0.
        start: Momentum at 0.
        end: Momentum from ``ramp_epochs`` on.
        ramp_epochs: Length of the ramp; 0 for none.

    Reference:
        Hinton et al. "Improving neural networks by preventing co-adaptation of feature detectors", appendix A.1.
        arXiv:1207.0580.
    """
    return end if epoch_position >= ramp_epochs else _between(start, end, epoch_position / ramp_epochs)


def _warmed(step: int, num_steps: int, warmup: float, decay: Callable[[float], float]) -> float:
    """A linear rise that would start from 0 one step before the first, then ``decay`` of the progress after it."""
    _check_step(step, num_steps)
    rising = round(warmup * num_steps)
    return (step + 1) / (rising + 1) if step < rising else decay((step - rising) / (num_steps - rising))


def _between(start: float, end: float, position: float) -> float:
    """``start`` at position 0, and ``end`` at position 1 to the last bit."""
    return end if position == 1 else start + (end - start) * position


def _half_cosine(position: float) -> float:
    return (1 - math.cos(math.pi * position)) / 2


def _position(step: int, num_steps: int) -> float:
    """How far ``step`` is from the first step, 0, to the last, 1."""
    _check_step(step, num_steps)
    return step / (num_steps - 1) if num_steps > 1 else 0.0


def _check_step(step: int, num_steps: int) -> None:
    if not 0 <= step < num_steps:
        raise ValueError(f"step must be in [0, num_steps), got {step} of {num_steps}")


def _check_warmup(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be in [0, 1), got {warmup}")
