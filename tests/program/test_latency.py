"""Latency of a network whose speed is known, because it sleeps."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from kdcli.program import latency
from kdcli.program.latency import measure_latency


class Sleeper:
    """Takes ``seconds[k]`` for its k-th answer, and the last of them from then on."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds
        self.calls = 0

    def __call__(self, raw: Tensor) -> Tensor:
        time.sleep(self.seconds[min(self.calls, len(self.seconds) - 1)])
        self.calls += 1
        return raw


def test_the_warm_up_is_not_counted() -> None:
    found = measure_latency(Sleeper([0.03] * 10 + [0.001]), torch.zeros(7, 2), brief=True)
    assert found.batch == 7
    assert 0.001 <= found.median < 0.02


def test_median_and_90th_percentile_of_uneven_passes() -> None:
    uneven = [0.0] * 10 + [0.002] * 8 + [0.05] * 2
    found = measure_latency(Sleeper(uneven), torch.zeros(1), brief=True)
    assert 0.002 <= found.median < 0.03
    assert found.p90 >= 0.05


def test_passes_go_on_until_the_time_is_up_or_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(latency, "SECONDS", 0.1)
    slow, fast = Sleeper([0.004]), Sleeper([0.0])
    measure_latency(slow, torch.zeros(1))
    assert 20 <= slow.calls <= 10 + 25
    monkeypatch.setattr(latency, "SECONDS", 10.0)
    measure_latency(fast, torch.zeros(1))
    assert fast.calls == 10 + 300


def test_no_graph_is_recorded() -> None:
    weight = torch.ones(1, requires_grad=True)
    recorded: list[bool] = []

    def classify(raw: Tensor) -> Tensor:
        logits = raw * weight
        recorded.append(logits.requires_grad)
        return logits

    measure_latency(classify, torch.zeros(1), brief=True)
    assert not any(recorded)
