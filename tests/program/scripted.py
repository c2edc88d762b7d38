"""Trainings in which something happens at a chosen step: a signal to this very process, or a crash."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdcli.engine.results import Tick
from kdcli.program.run import Manner
from kdcli.report.display import SilentDisplay


class Scripted(SilentDisplay):
    """Does something after a step, counted from the start of the training."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self._at, self._act = at, act

    def tick(self, tick: Tick) -> None:
        """Act when it is time."""
        if tick.epoch * tick.steps_per_epoch + tick.step == self._at:
            self._act()


def scripted(manner: Manner, monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[], object]) -> Manner:
    """A manner whose trainings are disturbed after step ``at``."""
    monkeypatch.setattr("kdcli.engine.fit.TICK_SECONDS", -1.0)  # a sign of life after every step
    return dataclasses.replace(manner, display=lambda *_: Scripted(at, act))


def signalled(manner: Manner, monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> Manner:
    """A manner whose trainings get a signal after step ``at``."""
    return scripted(manner, monkeypatch, at, lambda: os.kill(os.getpid(), number))


class CrashError(Exception):
    """Something that nobody expected."""


def crashing(manner: Manner, monkeypatch: pytest.MonkeyPatch, at: int) -> Manner:
    """A manner whose trainings crash after step ``at``: nothing is saved on the way out."""

    def crash() -> None:
        raise CrashError("in the middle")

    return scripted(manner, monkeypatch, at, crash)


class FragileNet(torch.nn.Linear):
    """A network for digits: of any two that are built the second breaks, in the second epoch of 19 steps."""

    built = 0

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(784, classes)
        FragileNet.built += 1
        self._breaks, self._calls = FragileNet.built % 2 == 0, 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits; NaN once it is broken."""
        self._calls += self.training
        logits = super().forward(images.flatten(1))
        return logits * torch.nan if self._breaks and self._calls > 25 else logits
